# SPDX-License-Identifier: Apache-2.0
"""An episode and its steps as plain values, and the rows they are put together from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ptp_core.data.episodes import definitions
from ptp_core.data.metadata import CARTESIAN
from ptp_core.errors import EpisodeError

POLICY, TELEOP, SCRIPT = 0, 1, 2  # CartesianDelta source
CODES = 144  # of a latent in the messages: uint16[144]
LABELS = ("unlabelled", "success", "failure")  # numbered as in EpisodeRecord


@dataclass(frozen=True)
class EpisodeInfo:
    """What a recording was asked for. Kept in the bag as text."""

    session_id: str = ""
    episode_id: str = ""
    task: str = ""
    protocol: str = ""
    first_observation_seq: int = 0  # what came before is left out
    translation: float = 0.05  # m that an action of 1 asks for
    rotation: float = np.radians(5.0)  # rad that an action of 1 asks for

    def to_text(self) -> dict[str, str]:
        """Key and text of each field."""
        return {f.name: str(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_text(cls, text: dict[str, str], where: str) -> EpisodeInfo:
        """Inverse of ``to_text``; EpisodeError names ``where`` a field is missing or broken."""
        try:
            return cls(**{f.name: type(f.default)(text[f.name]) for f in fields(cls)})
        except (KeyError, ValueError, TypeError) as error:
            raise EpisodeError(f"{where}: not an episode of ours ({error!r})") from None


@dataclass(frozen=True)
class LatentRow:
    """An encoded observation; ``codes`` is uint16 (144,)."""

    seq: int
    stamp: int  # ns
    codes: np.ndarray
    encoder_id: str
    usable: bool  # it could be encoded


@dataclass(frozen=True)
class StateRow:
    """What led to observation ``seq``: command (SI) and motion measured (SI), (4,) each."""

    seq: int
    stamp: int  # ns
    moved: bool
    command: Any  # CartesianDelta message
    executed: np.ndarray  # float64 (dx, dy, dz, dyaw)
    gripper: float
    position: np.ndarray  # float64 (3,) of the tool, m


@dataclass(frozen=True)
class StepInfoRow:
    """What the policy pursued at observation ``seq``; ``target`` is uint16 (144,)."""

    seq: int
    subgoal_index: int
    subgoal_count: int
    target: np.ndarray
    reward: float
    encoder_id: str


@dataclass(frozen=True)
class PlanRow:
    """Goal of a plan, uint16 (144,)."""

    episode_id: str
    goal: np.ndarray
    encoder_id: str


@dataclass
class Step:
    """One transition; the fields are those of StepRecord.msg."""

    step: int
    stamp: int  # ns
    observation_seq: int
    observation_stamp: int  # ns
    next_seq: int
    command: Any  # CartesianDelta message
    action: np.ndarray  # float32 (5,)
    intervention: bool
    executed: np.ndarray  # float64 (4,): m, m, m, rad
    executed_gripper: float
    target: np.ndarray | None  # uint16 (144,)
    subgoal_index: int = 0
    subgoal_count: int = 0
    reward: float = float("nan")
    end_reason: str = ""
    broken: bool = False  # must not be learned from


@dataclass
class Episode:
    """A finished episode; the fields are those of EpisodeRecord.msg, n + 1 observations."""

    info: EpisodeInfo
    encoder_id: str
    codes: np.ndarray  # uint16 (n + 1, 144)
    observation_seqs: np.ndarray  # uint32 (n + 1,)
    actions: np.ndarray  # float32 (n, 5)
    sources: np.ndarray  # uint8 (n,)
    breaks: np.ndarray  # bool (n,)
    weights_versions: list[str]
    goal_codes: np.ndarray | None  # uint16 (144,)
    target_codes: np.ndarray  # uint16 (n, 144), or (0, 144) for a demonstration
    rewards: np.ndarray  # float32 (n,)
    end_reason: str = ""
    number: int = 0
    label: int = 0  # index into LABELS

    @property
    def count(self) -> int:
        """Transitions, n."""
        return len(self.actions)

    @property
    def interventions(self) -> int:
        """Steps that a person did while a policy was running."""
        return int((self.sources == TELEOP).sum()) if len(self.target_codes) else 0


Row = LatentRow | StateRow | StepInfoRow | PlanRow


ROW_KINDS = (definitions.LATENT, definitions.ARM_STATE, definitions.STEP_INFO, definitions.PLAN)


def nanoseconds(time: Any) -> int:
    """builtin_interfaces/Time in nanoseconds."""
    return time.sec * 10**9 + time.nanosec


def make_row(kind: str, message: Any) -> Row | None:
    """Row of a decoded message; None for a type that no step is made of."""
    if kind == definitions.LATENT:
        stamp = nanoseconds(message.header.stamp)
        usable = message.error_code == 0
        return LatentRow(message.seq, stamp, message.codes, message.encoder_id, usable)
    if kind == definitions.ARM_STATE:
        executed = (
            *(message.executed_dx, message.executed_dy),
            *(message.executed_dz, message.executed_dyaw),
        )
        point = message.pose.position
        return StateRow(
            message.observation_seq,
            nanoseconds(message.header.stamp),
            message.moved,
            message.command,
            np.array(executed),
            message.gripper,
            np.array([point.x, point.y, point.z]),
        )
    if kind == definitions.STEP_INFO:
        return StepInfoRow(
            message.observation_seq,
            message.subgoal_index,
            message.subgoal_count,
            message.target_codes,
            message.reward,
            message.encoder_id,
        )
    if kind == definitions.PLAN:
        return PlanRow(message.episode_id, message.goal_codes, message.encoder_id)
    return None


def to_action(command: Any, info: EpisodeInfo) -> np.ndarray:
    """Action float32 (5,) in [-1, 1] of a command in SI units."""
    values = np.array(
        [
            command.dx / info.translation,
            command.dy / info.translation,
            command.dz / info.translation,
            command.dyaw / info.rotation,
            command.gripper,
        ]
    )
    return np.clip(values, -1.0, 1.0).astype(np.float32)


def empty_codes() -> np.ndarray:
    """No latent, uint16 (0, 144)."""
    return np.empty((0, CODES), np.uint16)


def empty_actions() -> np.ndarray:
    """No action, float32 (0, 5)."""
    return np.empty((0, len(CARTESIAN)), np.float32)
