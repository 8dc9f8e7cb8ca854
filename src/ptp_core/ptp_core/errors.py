# SPDX-License-Identifier: Apache-2.0
"""Error types of this project. Each message is one line that names cause and cure."""

import errno

LONGEST_NAME = 100  # characters that an error or a log line shows of a name


def quoted(name: object) -> str:
    """A name from outside for an error or a log line: quoted, on one line, cut where it is long.

    (empty) for a name without a character that can be seen.
    """
    text = " ".join(str(name).split())
    if len(text) > LONGEST_NAME:
        text = f"{text[:LONGEST_NAME]}…"
    return f'"{text}"' if text else "(empty)"


class PtpError(Exception):
    """Base of all errors that this project raises on purpose."""


class ConfigError(PtpError):
    """A configuration has an unknown key, a wrong type or a value out of range."""


class CheckpointError(PtpError):
    """A checkpoint is missing, truncated, altered, of another encoder or of another format."""


class DatasetError(PtpError):
    """A data set is missing, truncated, or does not match what was asked for."""


class EpisodeError(PtpError):
    """A recorded episode cannot be written or read: disk, lock, truncated bag, other version."""


class StorageError(PtpError, OSError):
    """A file cannot be written. Takes the arguments of OSError: errno, its text, path."""

    def __str__(self) -> str:
        full = self.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return (
            f"{self.filename}: cannot be written ({self.strerror}): "
            f"{'make room, or ' if full else ''}name another folder, and repeat the command; "
            "what was finished before is kept"
        )


class InputError(PtpError):
    """An image, latent, goal or action has a wrong shape, type or value."""


class SpecError(InputError):
    """An environment does not fit an agent: its actions, cameras, proprioception or goals."""


class GoalError(InputError):
    """An agent does not accept goals of this kind, or the goal lacks what the agent needs."""


class ObservationError(InputError):
    """An observation lacks a camera or proprioception that the agent needs."""


class GuestError(PtpError):
    """A guest environment is not installed, fails, died, hangs or breaks the protocol."""


class DecisionError(PtpError):
    """An agent gave an action that is not what its spec says."""


class PlanCancelled(PtpError):
    """A plan was cancelled before it finished."""
