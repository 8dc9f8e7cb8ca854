# SPDX-License-Identifier: Apache-2.0
"""Select the steps of an episode that go into a data set, with reasons for those left out."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptp_core.data.trajectory import CARTESIAN, Channel, Metadata, Trajectory, cartesian_channels

LEAST_STEPS = 2  # of a piece: a step without a next image is no transition
OVERSHOOT = 0.01  # tolerance beyond 1, for rounding


@dataclass(frozen=True)
class Selection:
    """Settings of the selection of steps."""

    min_steps: int = 10  # of a piece without a refused step
    idle: float = 0.02  # norm of an action below which the step is idle
    idle_margin: int = 2  # idle steps kept at each end


@dataclass
class Candidate:
    """T steps of one episode. ``refused`` has a reason for each step, or None."""

    name: str
    images: dict[str, np.ndarray]  # by camera: uint8 (N, H, W, 3) in the order they were taken
    actions: np.ndarray  # (T, A)
    refused: list[str | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    observations: dict[str, np.ndarray] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)  # for the report
    translation: float = 0.05  # m, motion of an action of 1
    rotation: float = 0.0  # rad, rotation of an action of 1
    shown: np.ndarray | None = None  # int (T,), image index of each step; None: step t has image t
    starts: tuple[int, ...] = ()  # steps at which a new take begins; no piece crosses one
    frame: str = ""  # of the commands
    proprioception: np.ndarray | None = None  # float32 (T, P)
    proprioception_names: tuple[str, ...] = ()
    action_names: tuple[str, ...] = CARTESIAN

    def __post_init__(self) -> None:
        if self.shown is None:
            self.shown = np.arange(len(self.actions))

    def without_images(self) -> Candidate:
        """A copy without images, small enough to keep in memory."""
        images = {camera: images[:0] for camera, images in self.images.items()}
        return dataclasses.replace(self, images=images)


def select(
    candidate: Candidate, selection: Selection, first_index: int
) -> tuple[list[Trajectory], dict[str, Any]]:
    """Usable pieces of an episode, and its entry in the report.

    Idle ends are trimmed. A refused step and a new take split the episode. A single step has no
    next image, so a piece has two or more. Rewards are 0, and 1 at the last step of a success, as
    in robomimic.
    """
    _check_values(candidate)
    actions = np.clip(candidate.actions, -1.0, 1.0).astype(np.float32)
    start, stop = busy_range(np.nan_to_num(actions), selection.idle, selection.idle_margin)
    usable = np.array([reason is None for reason in candidate.refused], bool)
    inside = np.zeros(len(usable), bool)
    inside[start:stop] = True
    pieces, short = [], 0
    for a, b in _cut(runs(usable & inside), candidate.starts):
        if b - a < max(selection.min_steps, LEAST_STEPS):
            short += b - a
            continue
        pieces.append(_piece(candidate, actions, a, b, first_index + len(pieces)))
    kept = sum(len(piece.actions) for piece in pieces)
    refusals = Counter(reason for reason in candidate.refused[start:stop] if reason is not None)
    report = {
        "name": candidate.name,
        "accepted": bool(pieces),
        "reason": "" if pieces else _why(candidate, start, stop, refusals, selection),
        "steps": len(actions),
        "kept": kept,
        "pieces": len(pieces),
        "trimmed_idle": len(actions) - (stop - start),
        "too_short": short,
        "refused": dict(refusals),
        # The camera with the most duplicates.
        "duplicate_images": max(
            (duplicates(images, candidate.shown) for images in candidate.images.values()),
            default=0,
        ),
        "action_range": _action_range(candidate.actions),
        **candidate.figures,
    }
    return pieces, report


def runs(usable: np.ndarray) -> list[tuple[int, int]]:
    """Ranges [start, stop) of successive usable steps."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], usable.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def busy_range(actions: np.ndarray, idle: float, margin: int) -> tuple[int, int]:
    """Range [start, stop) of ``actions`` (T, A), gripper last, without idle ends.

    ``margin`` idle steps are kept at each end. Idle: the norm of the motion is below ``idle``, and
    the gripper's command does not change. The range is empty if all steps are idle. With ``idle``
    of 0 no step is idle.
    """
    if idle == 0.0:
        return 0, len(actions)
    moving = np.linalg.norm(actions[:, :4], axis=1) >= idle
    gripper = np.abs(np.diff(actions[:, 4], prepend=actions[:1, 4])) > 1e-3
    busy = np.flatnonzero(moving | gripper)
    if not len(busy):
        return 0, 0
    return max(int(busy[0]) - margin, 0), min(int(busy[-1]) + 1 + margin, len(actions))


def duplicates(images: np.ndarray, shown: np.ndarray | None = None) -> int:
    """Count steps whose image is byte-identical to the previous step's, as of a frozen camera.

    ``shown`` (T,) is the image index of each step; None: step t has image t.
    """
    shown = np.arange(len(images)) if shown is None else shown
    return sum(
        bool(a == b or np.array_equal(images[a], images[b])) for a, b in itertools.pairwise(shown)
    )


def _cut(pieces: list[tuple[int, int]], starts: tuple[int, ...]) -> list[tuple[int, int]]:
    """Split ranges [start, stop) at ``starts``."""
    found = []
    for a, b in pieces:
        edges = [a, *(start for start in starts if a < start < b), b]
        found += list(itertools.pairwise(edges))
    return found


def _check_values(candidate: Candidate) -> None:
    for step, action in enumerate(candidate.actions):
        reason = None
        if not np.isfinite(action).all():
            reason = "the action is not finite"
        elif np.abs(action).max() > 1.0 + OVERSHOOT:
            reason = "the action is outside [-1, 1]"
        else:
            numbers = dict(candidate.observations)
            if candidate.proprioception is not None:
                numbers["proprioception"] = candidate.proprioception
            for name, values in numbers.items():
                if not np.isfinite(values[step]).all():
                    reason = f"{name} is not finite"
        candidate.refused[step] = candidate.refused[step] or reason


def _piece(candidate: Candidate, actions: np.ndarray, a: int, b: int, index: int) -> Trajectory:
    rewards = np.zeros(b - a, np.float32)
    if candidate.attributes.get("success") and b == len(actions):
        rewards[-1] = 1.0
    return Trajectory(
        index=index,
        images={
            camera: images[candidate.shown[a:b]] for camera, images in candidate.images.items()
        },
        actions=actions[a:b],
        rewards=rewards,
        metadata=Metadata.from_attributes(
            {**candidate.attributes, "recording": candidate.name, "first_step": a}
        ),
        action_channels=_channels(candidate),
        proprioception=None if candidate.proprioception is None else candidate.proprioception[a:b],
        proprioception_channels=tuple(map(Channel, candidate.proprioception_names)),
        observations={name: values[a:b] for name, values in candidate.observations.items()},
    )


def _channels(candidate: Candidate) -> tuple[Channel, ...]:
    if candidate.action_names == CARTESIAN:
        return cartesian_channels(candidate.translation, candidate.rotation)
    return tuple(map(Channel, candidate.action_names))


def _why(
    candidate: Candidate, start: int, stop: int, refusals: Counter, selection: Selection
) -> str:
    if not len(candidate.actions):
        return "it has no step"
    if start == stop:
        return "nothing moves in it"
    if refusals:
        reason, count = refusals.most_common(1)[0]
        return f"{count} of {stop - start} steps are refused: {reason}"
    return f"{stop - start} steps are too few; {selection.min_steps} are needed"


def _action_range(actions: np.ndarray) -> list[list[float]] | None:
    finite = actions[np.isfinite(actions).all(axis=1)]
    if not len(finite):
        return None
    return [
        [round(float(v), 4) for v in finite.min(0)],
        [round(float(v), 4) for v in finite.max(0)],
    ]
