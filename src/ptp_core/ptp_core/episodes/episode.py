# SPDX-License-Identifier: Apache-2.0
"""Recorded episodes: the episode, its steps, and the message rows that they are built from.

`step_message` makes a StepRecord.msg of a step, for bags and for the graph.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ptp_core.episodes import message_definitions
from ptp_core.episodes.latent_fields import NO_LATENT, latent_array, latent_lists
from ptp_core.episodes.message_definitions import LATENT_ARRAY, STEP_RECORD, Definitions
from ptp_core.errors import EpisodeError, InputError

POLICY, TELEOP, SCRIPT = 0, 1, 2  # CartesianDelta source
FORMAT = 2  # of new bags; `upgrade_format_1` reads the previous one
LABELS = ("unlabelled", "success", "failure")  # numbered as in EpisodeRecord

ROW_KINDS = (
    *(message_definitions.OBSERVATION, message_definitions.LATENT),
    *(message_definitions.ARM_STATE, message_definitions.STEP_INFO, message_definitions.PLAN),
)


@dataclass(frozen=True)
class EpisodeInfo:
    """Settings of a recording. Stored in the bag as text."""

    session_id: str = ""
    episode_id: str = ""
    task: str = ""
    protocol: str = ""
    first_observation_seq: int = 0  # earlier observations are left out
    translation: float = 0.05  # m, motion of an action of 1
    rotation: float = np.radians(5.0)  # rad, rotation of an action of 1
    instruction: str = ""  # the task in words; since format 2
    format: int = FORMAT  # of the bag

    def to_text(self) -> dict[str, str]:
        """Key and text of each field."""
        return {f.name: str(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_text(cls, text: dict[str, str], where: str) -> EpisodeInfo:
        """Inverse of ``to_text``; EpisodeError names ``where`` and the missing or wrong field."""
        text = {"instruction": "", "format": "1", **text}
        try:
            info = cls(**{f.name: type(f.default)(text[f.name]) for f in fields(cls)})
        except (KeyError, ValueError, TypeError) as error:
            raise EpisodeError(f"{where}: not an episode of ours ({error!r})") from None
        if not 1 <= info.format <= FORMAT:
            raise EpisodeError(
                f"{where}: a recording of format {info.format}, this program reads up to "
                f"{FORMAT}: use the program that wrote it"
            )
        return info


def instructed(info: EpisodeInfo, instruction: str | None) -> EpisodeInfo:
    """The settings with what a person said afterwards that the episode shows; None: nothing."""
    return info if instruction is None else replace(info, instruction=instruction)


@dataclass(frozen=True)
class ObservedRow:
    """An observation: its latent where an encoder made one, and the robot's own state."""

    seq: int
    stamp: int  # ns
    latent: np.ndarray  # uint32 or float32 of any shape
    encoder_id: str
    usable: bool  # whether it could be encoded
    proprioception: np.ndarray  # float32 (P,)
    proprioception_names: tuple[str, ...] = ()


class LatentRow(ObservedRow):
    """An observation from the encoder."""


class ObservationRow(ObservedRow):
    """An observation from the cameras, for agents without an encoder. Its latent is empty."""


@dataclass(frozen=True)
class StateRow:
    """The motion that led to observation ``seq``: command and measurement, (4,) each, in SI."""

    seq: int
    stamp: int  # ns
    moved: bool
    command: Any  # CartesianDelta message
    executed: np.ndarray  # float64 (dx, dy, dz, dyaw)
    gripper: float
    position: np.ndarray  # float64 (3,) of the tool, m


@dataclass(frozen=True)
class StepInfoRow:
    """The policy's target and action at observation ``seq``."""

    seq: int
    subgoal_index: int
    subgoal_count: int
    target: np.ndarray  # a latent; empty where the agent has no latents
    reward: float
    action: np.ndarray  # float32 (A,)
    action_names: tuple[str, ...]


@dataclass(frozen=True)
class PlanRow:
    """The goal latent of a plan."""

    episode_id: str
    goal: np.ndarray
    encoder_id: str


Row = ObservedRow | StateRow | StepInfoRow | PlanRow


@dataclass
class Step:
    """One transition; the fields are those of StepRecord.msg."""

    step: int
    stamp: int  # ns
    observation_seq: int
    observation_stamp: int  # ns
    next_seq: int
    command: Any  # CartesianDelta message
    action_names: tuple[str, ...]
    action: np.ndarray  # float32 (A,)
    intervention: bool
    executed: np.ndarray  # float64 (4,): m, m, m, rad
    executed_gripper: float
    pursued: bool  # by a policy
    target: np.ndarray  # a latent; empty without a target, or where the agent has no latents
    encoder_id: str = ""  # of the target
    subgoal_index: int = 0
    subgoal_count: int = 0
    reward: float = float("nan")
    end_reason: str = ""
    broken: bool = False  # not used for learning


@dataclass
class Episode:
    """A finished episode; the fields are those of EpisodeRecord.msg, n + 1 observations.

    Latents are uint32 indices or float32 values of the encoder's shape, (...).
    """

    info: EpisodeInfo
    encoder_id: str
    latents: np.ndarray  # (n + 1, ...), or (0,) where nothing was encoded
    observation_seqs: np.ndarray  # uint32 (n + 1,)
    proprioception_names: tuple[str, ...]
    proprioception: np.ndarray  # float32 (n + 1, P)
    action_names: tuple[str, ...]
    actions: np.ndarray  # float32 (n, A)
    sources: np.ndarray  # uint8 (n,)
    breaks: np.ndarray  # bool (n,)
    weights_versions: list[str]
    goal: np.ndarray  # (...), or (0,) where it is unknown
    targets: np.ndarray  # (n, ...), or (0,) for a demonstration
    rewards: np.ndarray  # float32 (n,)
    interventions: int  # steps commanded by a person while a policy was running
    end_reason: str = ""
    number: int = 0
    label: int = 0  # index into LABELS

    @property
    def count(self) -> int:
        """Transitions, n."""
        return len(self.actions)


def nanoseconds(time: Any) -> int:
    """builtin_interfaces/Time in nanoseconds."""
    return time.sec * 10**9 + time.nanosec


def make_row(kind: str, message: Any) -> Row | None:
    """Row of a decoded message; None for a type that no step is built from.

    Raises EpisodeError for fields that contradict each other.
    """
    try:
        return _row(kind, message)
    except InputError as error:
        raise EpisodeError(f"{kind}: {error}") from None


def to_action(command: Any, info: EpisodeInfo) -> np.ndarray:
    """Convert a command in SI units into an action float32 (5,) in [-1, 1]."""
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


def step_fields(episode_id: str, step: Step) -> dict[str, Any]:
    """Every field of StepRecord.msg but header, observation_stamp, command and target."""
    dx, dy, dz, dyaw = (float(value) for value in step.executed)
    return {
        "episode_id": episode_id,
        "step": step.step,
        "observation_seq": step.observation_seq,
        "action_names": list(step.action_names),
        "action": step.action,
        "intervention": step.intervention,
        "executed_dx": dx,
        "executed_dy": dy,
        "executed_dz": dz,
        "executed_dyaw": dyaw,
        "executed_gripper": float(step.executed_gripper),
        "has_target": step.pursued,
        "subgoal_index": step.subgoal_index,
        "subgoal_count": step.subgoal_count,
        "reward": float(step.reward),
        "end_reason": step.end_reason,
    }


def step_message(definitions: Definitions, episode_id: str, step: Step) -> Any:
    """StepRecord of the types in ``definitions``."""
    types = definitions.store.types

    def time(nanoseconds: int) -> Any:
        seconds, rest = divmod(nanoseconds, 10**9)
        return types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=rest)

    frame = step.command.header.frame_id
    return types[STEP_RECORD](
        header=types["std_msgs/msg/Header"](stamp=time(step.stamp), frame_id=frame),
        observation_stamp=time(step.observation_stamp),
        command=step.command,
        target=types[LATENT_ARRAY](encoder_id=step.encoder_id, **latent_lists(step.target)),
        **step_fields(episode_id, step),
    )


def _row(kind: str, message: Any) -> Row | None:
    if kind == message_definitions.OBSERVATION:
        return ObservationRow(
            message.seq,
            nanoseconds(message.header.stamp),
            NO_LATENT,
            "",
            True,
            *_proprioception(message),
        )
    if kind == message_definitions.LATENT:
        return LatentRow(
            message.seq,
            nanoseconds(message.header.stamp),
            latent_array(message.latent),
            message.latent.encoder_id,
            message.error_code == 0,
            *_proprioception(message),
        )
    if kind == message_definitions.ARM_STATE:
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
    if kind == message_definitions.STEP_INFO:
        action = np.asarray(message.action, np.float32)
        if len(action) != len(message.action_names):
            raise InputError(f"{len(message.action_names)} names for {len(action)} actions")
        return StepInfoRow(
            message.observation_seq,
            message.subgoal_index,
            message.subgoal_count,
            latent_array(message.target),
            message.reward,
            action,
            tuple(message.action_names),
        )
    if kind == message_definitions.PLAN:
        goal = latent_array(message.goal)
        return PlanRow(message.episode_id, goal, message.goal.encoder_id)
    return None


def _proprioception(message: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    values = np.asarray(message.proprioception, np.float32)
    names = tuple(message.proprioception_names)
    if len(values) != len(names):
        raise InputError(f"{len(names)} names for {len(values)} numbers of proprioception")
    return values, names
