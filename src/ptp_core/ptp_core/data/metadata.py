# SPDX-License-Identifier: Apache-2.0
"""What is known of a trajectory beside its columns: what it shows, in words and in numbers."""

from __future__ import annotations

import dataclasses
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


@dataclass(frozen=True)
class Channel:
    """One number of an action or of proprioception. A value of 1 stands for ``scale`` units."""

    name: str
    unit: str = ""  # "m", "rad", ...; "": a plain number
    scale: float = 1.0


CARTESIAN = ("dx", "dy", "dz", "dyaw", "gripper")
"""Names of the actions of an arm that is moved by its tool: also of data that name none."""

TRANSLATION = ("dx", "dy", "dz")
GRIPPER = "gripper"


def action_names(channels: Sequence[Channel], count: int) -> tuple[str, ...]:
    """Names of ``count`` numbers of an action; where ``channels`` has none, CARTESIAN or "a0", ...

    Data of format version 1 have five numbers without names.
    """
    if channels:
        return tuple(channel.name for channel in channels)
    if count == len(CARTESIAN):
        return CARTESIAN
    return tuple(f"a{number}" for number in range(count))


def speed_of(actions: np.ndarray, channels: Sequence[Channel] = ()) -> np.ndarray:
    """How fast each of the actions (T, A) moves the arm: L2 norm (T,) of its translation.

    Where no number is one, that of all but the gripper.
    """
    names = action_names(channels, actions.shape[1])
    chosen = [name in TRANSLATION for name in names]
    if not any(chosen):
        chosen = [name != GRIPPER for name in names]
    return np.linalg.norm(actions[:, chosen], axis=1)


def cartesian_channels(translation: float, rotation: float) -> tuple[Channel, ...]:
    """Names of dx, dy, dz, dyaw and gripper (-1 open, +1 closed).

    An action of 1 moves by ``translation`` [m] and turns by ``rotation`` [rad].
    """
    moves = (Channel(name, "m", translation) for name in TRANSLATION)
    return (*moves, Channel("dyaw", "rad", rotation), Channel(GRIPPER))


@dataclass(frozen=True)
class Target:
    """How a primitive leaves the object that it moves."""

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
    success: bool | None = None  # judged at its end; None: nobody did
    done: int | None = None  # first step after the work, from which the expert only retreats


@dataclass(frozen=True)
class Metadata:
    """What is known of one trajectory. An empty text, None or () stands for "not known"."""

    instruction: str = ""
    primitive: str = ""
    target: Target | None = None
    success: bool | None = None
    source: Source = ""
    env: str = ""  # module:factory
    protocol: str = ""  # how its scene was drawn, as the environment calls it
    segments: tuple[Segment, ...] = ()
    extra: Mapping[str, Scalar] = field(default_factory=dict)  # seed, label, ...

    def to_attributes(self) -> dict[str, Any]:
        """Plain scalars, lists and dicts by name, without what is not known."""
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
        known = {name: value for name, value in values.items() if value not in ("", None, [])}
        return {**known, **extra}

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Metadata:
        """Inverse of ``to_attributes``. Raises DatasetError for what is damaged."""
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
