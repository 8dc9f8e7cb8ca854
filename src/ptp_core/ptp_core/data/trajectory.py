# SPDX-License-Identifier: Apache-2.0
"""Trajectories in memory: a demonstration with its metadata, and an episode of practice."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from ptp_core.errors import DatasetError

Source = Literal["", "scripted", "teleoperation", "practice"]
"""Who acted: a scripted expert, a person, a policy; "" where nobody knows."""

CHAIN = "chain"
"""The primitive of a trajectory that shows several, one after the other."""

Scalar = str | float | int | bool

CARTESIAN = ("dx", "dy", "dz", "dyaw", "gripper")
"""Names of the actions of an arm that is moved by its tool: also of data that name none."""

TRANSLATION = ("dx", "dy", "dz")
GRIPPER = "gripper"

CAMERA = "camera"
"""Name of the camera of an environment whose observation is one image."""


@dataclass(frozen=True)
class Channel:
    """One dimension of an action or of proprioception. A value of 1 means ``scale`` units."""

    name: str
    unit: str = ""  # "m", "rad", ...; "": dimensionless
    scale: float = 1.0


def action_names(channels: Sequence[Channel], count: int) -> tuple[str, ...]:
    """Names of an action's ``count`` dimensions; without ``channels`` CARTESIAN or "a0", ...

    Data of format version 1 have five dimensions without names.
    """
    if channels:
        return tuple(channel.name for channel in channels)
    if count == len(CARTESIAN):
        return CARTESIAN
    return tuple(f"a{number}" for number in range(count))


def speed_of(actions: np.ndarray, channels: Sequence[Channel] = ()) -> np.ndarray:
    """Speed of each of the actions (T, A): L2 norm (T,) of its translation.

    Without a translation, the norm of all dimensions but the gripper's.
    """
    names = action_names(channels, actions.shape[1])
    chosen = [name in TRANSLATION for name in names]
    if not any(chosen):
        chosen = [name != GRIPPER for name in names]
    return np.linalg.norm(actions[:, chosen], axis=1)


def cartesian_channels(translation: float, rotation: float) -> tuple[Channel, ...]:
    """Channels of dx, dy, dz, dyaw and gripper (-1 open, +1 closed).

    An action of 1 moves by ``translation`` [m] and turns by ``rotation`` [rad].
    """
    moves = (Channel(name, "m", translation) for name in TRANSLATION)
    return (*moves, Channel("dyaw", "rad", rotation), Channel(GRIPPER))


@dataclass(frozen=True)
class Target:
    """The state in which a primitive shall leave the object that it moves."""

    kind: str  # the quantity, as the environment calls it: "can_xy", "drawer_opening", ...
    values: tuple[float, ...]
    unit: str  # of every value
    place: str  # the same in words: "far left", "tray", "open"


@dataclass(frozen=True)
class Segment:
    """One primitive of a trajectory: its steps are [start, stop)."""

    start: int
    stop: int
    primitive: str
    target: Target | None = None
    instruction: str = ""
    success: bool | None = None  # success check at its end; None: unknown
    done: int | None = None  # first step after the task is done; the expert then only retreats


@dataclass(frozen=True)
class Metadata:
    """Metadata of one trajectory. An empty text, None or () means unknown."""

    instruction: str = ""
    primitive: str = ""
    target: Target | None = None
    success: bool | None = None
    source: Source = ""
    env: str = ""  # module:factory
    protocol: str = ""  # how its scene was drawn, as the environment calls it
    segments: tuple[Segment, ...] = ()
    # The arrangement that it began with, by the environment's own names; see `data.coverage`.
    scene: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, Scalar] = field(default_factory=dict)  # seed, label, ...

    def to_attributes(self) -> dict[str, Any]:
        """Plain scalars, lists and dicts by name, without unknown fields."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        extra = values.pop("extra")
        for name, value in extra.items():
            if name in values or not isinstance(value, Scalar):
                raise DatasetError(
                    f'"{name}" of a trajectory must be text, a number, true or false, and no '
                    f"field of its own, not {value!r}"
                )
        if self.target is not None:
            values["target"] = dataclasses.asdict(self.target)
        values["segments"] = [dataclasses.asdict(segment) for segment in self.segments]
        known = {name: value for name, value in values.items() if value not in ("", None, [], {})}
        return {**known, **extra}

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Metadata:
        """Inverse of ``to_attributes``. Raises DatasetError for damaged attributes."""
        names = {f.name for f in dataclasses.fields(cls)} - {"extra"}
        values = {name: value for name, value in attributes.items() if name in names}
        extra = {name: value for name, value in attributes.items() if name not in names}
        try:
            if values.get("target") is not None:
                values["target"] = read_target(values["target"])
            values["segments"] = tuple(
                Segment(**{**segment, "target": read_target(segment.get("target"))})
                for segment in values.get("segments", ())
            )
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise DatasetError(f"the description of a trajectory is damaged ({error})") from error
        if values.get("source", "") not in get_args(Source):
            sources = ", ".join(f'"{name}"' for name in get_args(Source))
            raise DatasetError(f'source is "{values["source"]}"; it must be one of {sources}')
        return cls(**values, extra=extra)

    def check(self, length: int) -> None:
        """Raise DatasetError unless the segments follow each other within ``length`` steps."""
        stop = 0
        for segment in self.segments:
            if not stop <= segment.start < segment.stop <= length:
                raise DatasetError(
                    f"the segment [{segment.start}, {segment.stop}) does not follow step {stop} "
                    f"within {length} steps"
                )
            if segment.done is not None and not segment.start <= segment.done < segment.stop:
                raise DatasetError(
                    f"the work of the segment [{segment.start}, {segment.stop}) is done at step "
                    f"{segment.done}, outside of it"
                )
            stop = segment.stop

    def of_segment(self, number: int) -> Metadata:
        """The same for one segment as a trajectory of its own."""
        segment = self.segments[number]
        done = None if segment.done is None else segment.done - segment.start
        alone = dataclasses.replace(segment, start=0, stop=segment.stop - segment.start, done=done)
        return dataclasses.replace(
            self,
            instruction=segment.instruction,
            primitive=segment.primitive,
            target=segment.target,
            success=segment.success,
            segments=(alone,),
            extra={**self.extra, "segment": number},
        )


def read_target(values: Mapping[str, Any] | None) -> Target | None:
    """The target of a plain dict, as `Target` lists its fields."""
    if values is None:
        return None
    numbers = tuple(float(value) for value in values["values"])
    return Target(str(values["kind"]), numbers, str(values["unit"]), str(values["place"]))


def in_sequence(instructions: Sequence[str]) -> str:
    """One instruction for several primitives, one after the other."""
    return ", then ".join(text for text in instructions if text)


@dataclass
class Trajectory:
    """One demonstration of T steps; images[camera][t] was taken before actions[t]."""

    index: int
    images: Mapping[str, np.ndarray]  # by camera: uint8 (T, H, W, 3) RGB; {}: states alone
    actions: np.ndarray  # float32 (T, A) in [-1, 1], as executed
    rewards: np.ndarray  # float32 (T,)
    metadata: Metadata = field(default_factory=Metadata)
    proprioception: np.ndarray | None = None  # float32 (T, P)
    action_channels: tuple[Channel, ...] = ()  # A of them; (): unknown
    proprioception_channels: tuple[Channel, ...] = ()  # P of them; (): unknown
    # Beside images and proprioception: name -> (T, ...), for example joint positions of a bag.
    observations: Mapping[str, np.ndarray] = field(default_factory=dict)
    # float32 (T, A), what the expert asked for before noise was added; None: nobody knows.
    expert_actions: np.ndarray | None = None

    def check(self) -> None:
        """Raise DatasetError unless shapes, types and values are as documented."""
        try:
            self._check()
            self.metadata.check(len(self.actions))
        except DatasetError as error:
            raise DatasetError(f"trajectory {self.index}: {error}") from None

    def _check(self) -> None:
        if self.actions.ndim != 2 or self.rewards.ndim != 1:
            raise DatasetError(
                f"actions must be (T, A) and rewards (T,), not {self.actions.shape} and "
                f"{self.rewards.shape}"
            )
        length = len(self.actions)
        if not self.images and self.proprioception is None:
            raise DatasetError("it has neither an image of any camera nor proprioception")
        for camera, images in self.images.items():
            if not camera or "/" in camera:
                raise DatasetError(f'"{camera}" is no name of a camera')
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
                raise DatasetError(
                    f"images of {camera} must be uint8 (T, H, W, 3), "
                    f"not {images.dtype} {images.shape}"
                )
            self._check_length(f"images of {camera}", images, length)
        self._check_length("rewards", self.rewards, length)
        for name, values in self.observations.items():
            self._check_length(name, values, length)
        if not np.isfinite(self.actions).all() or np.abs(self.actions).max(initial=0) > 1:
            raise DatasetError("an action is outside [-1, 1]")
        self._check_channels("action", self.action_channels, self.actions)
        if self.expert_actions is not None and self.expert_actions.shape != self.actions.shape:
            raise DatasetError(
                f"expert's actions are {self.expert_actions.shape}, actions {self.actions.shape}"
            )
        if self.proprioception is not None:
            self._check_length("proprioception", self.proprioception, length)
            if self.proprioception.ndim != 2 or not np.isfinite(self.proprioception).all():
                raise DatasetError("proprioception must be (T, P) and finite")
            self._check_channels(
                "proprioception", self.proprioception_channels, self.proprioception
            )

    @staticmethod
    def _check_length(what: str, values: np.ndarray, length: int) -> None:
        if len(values) != length:
            raise DatasetError(f"{length} actions, but {len(values)} {what}")

    @staticmethod
    def _check_channels(what: str, channels: tuple[Channel, ...], values: np.ndarray) -> None:
        if channels and len(channels) != values.shape[1]:
            raise DatasetError(f"{what} has {values.shape[1]} numbers, but {len(channels)} names")

    def content_hash(self) -> str:
        """SHA-256 of images, actions, rewards, proprioception and the expert's actions."""
        digest = hashlib.sha256()
        columns = {f"images/{camera}": self.images[camera] for camera in sorted(self.images)}
        numbers = {"actions": self.actions, "rewards": self.rewards}
        if self.proprioception is not None:
            numbers["proprioception"] = self.proprioception
        if self.expert_actions is not None:
            numbers["expert_actions"] = self.expert_actions
        columns |= {name: values.astype(np.float32) for name, values in numbers.items()}
        for name, values in columns.items():
            digest.update(f"{name} {values.dtype} {values.shape};".encode())
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class PracticeEpisode:
    """What an episode of n steps leaves to learn from."""

    codes: np.ndarray  # (n + 1, N) of the observations
    actions: np.ndarray  # (n, A) in [-1, 1], as executed
    targets: np.ndarray | None = None  # (n, N) pursued at each step; None: a demonstration
    proprioception: np.ndarray | None = None  # float32 (n + 1, P); None: the agent uses none
    instruction: str | None = None  # what the agent was told, where that was in words
    succeeded: bool | None = None  # by the success signal; None: not told, or no instruction

    @property
    def steps(self) -> int:
        """Return n."""
        return len(self.actions)

    def part(self, first: int, last: int) -> PracticeEpisode:
        """The steps from observation ``first`` to observation ``last``."""
        own = self.proprioception
        return PracticeEpisode(
            self.codes[first : last + 1],
            self.actions[first:last],
            None if self.targets is None else self.targets[first:last],
            None if own is None else own[first : last + 1],
        )
