# SPDX-License-Identifier: Apache-2.0
"""Messages as they come, boiled down to what the checks need."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
import zlib
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from ptp_interfaces.msg import (
    ArmState,
    DriverState,
    EpisodeStatus,
    ErrorCode,
    Latent,
    Observation,
    PolicyUpdate,
    RecorderStatus,
    StepInfo,
    SubgoalPlan,
)
from sensor_msgs.msg import Image

from ptp_nodes.doctor.facts import Driver, Recorder, Stream

NS = 1e-9
DRIVER_STATES = {
    getattr(DriverState, name): name
    for name in (
        *("DISCONNECTED", "DISABLED", "READY", "ACTIVE", "INTERVENTION", "HOLD", "RESETTING"),
        "FAULT",
    )
}
AT_ONCE = 1.0  # s: then a message that left earlier comes from a clock that is behind


class Heard:
    """The messages of one topic."""

    def __init__(self, name: str, type_name: str) -> None:
        self._name, self._type = name, type_name
        self._began, self._began_ns = time.monotonic(), time.time_ns()
        self._count = 0
        self._newest: int | None = None  # when the newest left, ns
        self._transfers: list[float] = []
        self._ages: list[float] = []
        self._picture: int | None = None  # checksum of the newest
        self._row = self._longest = self._pictures = 0

    def add(self, message: Any, left: int, arrived: int) -> None:
        """Count a message that left and arrived at these times, ns of the system clocks."""
        self._newest = left
        if self._is_old(left):
            return  # latched: it says what was, not how fast things come
        self._count += 1
        pictures = message.images if isinstance(message, Observation) else [message]
        for picture in pictures[:1]:  # a camera that stands still
            if isinstance(picture, Image):
                self._see(picture)
        self._transfers.append((arrived - left) * NS)
        header = getattr(message, "header", None)
        if header is not None and (header.stamp.sec or header.stamp.nanosec):
            stamp = header.stamp.sec * 10**9 + header.stamp.nanosec
            self._ages.append((arrived - stamp) * NS)

    def stream(self, stamps: bool) -> Stream:
        """The facts so far; without the age of stamps where time is simulated."""
        return Stream(
            name=self._name,
            type=self._type,
            seconds=time.monotonic() - self._began,
            count=self._count,
            newest_age=None if self._newest is None else (time.time_ns() - self._newest) * NS,
            # A clock that is behind delays every message, a busy machine only some.
            transfer=min(self._transfers) if self._transfers else None,
            stamp_age=statistics.median(self._ages) if self._ages and stamps else None,
            same=self._longest,
            pictures=self._pictures,
        )

    def _is_old(self, left: int) -> bool:
        """Whether a message was waiting for this reader. Those come first, and at once."""
        early = time.monotonic() - self._began < AT_ONCE
        return early and not self._count and left < self._began_ns

    def _see(self, picture: Image) -> None:
        content = zlib.crc32(memoryview(picture.data))
        self._row = self._row + 1 if content == self._picture else 1
        self._picture = content
        self._longest = max(self._longest, self._row)
        self._pictures += 1


class Reports:
    """What messages say about encoders, arm, episode, recorder and the nodes' health."""

    def __init__(self) -> None:
        self._encoders: dict[str, str] = {}
        self._errors: dict[str, str] = {}
        self._states: list[int] = []
        self._recorder: Recorder | None = None
        self._arm: ArmState | None = None
        self._travelled = 0.0
        self._driver: Driver | None = None

    def add(self, topic: str, message: Any) -> None:
        """Take a message in."""
        if encoder := _encoder(message):
            self._encoders[topic] = encoder
        if isinstance(message, (Latent, StepInfo, SubgoalPlan, PolicyUpdate)):
            return
        if isinstance(message, ArmState):
            self._travelled += math.hypot(
                message.executed_dx, message.executed_dy, message.executed_dz
            )
            self._arm = message
        elif isinstance(message, DriverState):
            names = (field.name for field in dataclasses.fields(Driver))
            values = {name: getattr(message, name) for name in names}
            self._driver = Driver(**{**values, "state": DRIVER_STATES[message.state]})
        elif isinstance(message, EpisodeStatus):
            self._states.append(message.state)
        elif isinstance(message, RecorderStatus):
            fault = message.state == RecorderStatus.FAULT
            self._recorder = Recorder(
                folder=message.folder,
                fault=(message.error_msg or "no reason given") if fault else "",
                dropped=message.dropped,
                bytes_free=message.bytes_free,
            )
        elif isinstance(message, DiagnosticArray):
            for status in message.status:
                bad = status.level == DiagnosticStatus.ERROR
                self._errors[status.name] = status.message if bad else ""

    def facts(self) -> dict[str, Any]:
        """Fields of `Graph`."""
        arm = self._arm
        wrong = arm is not None and arm.error_code != ErrorCode.NONE
        return {
            "encoders": tuple(sorted(self._encoders.items())),
            "acting": bool(self._states) and set(self._states) == {EpisodeStatus.ACTING},
            "taken_over": arm is not None and arm.taken_over,
            "arm_error": arm.error_msg if wrong else "",
            "travelled": self._travelled,
            "recorder": self._recorder,
            "driver": self._driver,
            "errors": tuple(sorted((n, text) for n, text in self._errors.items() if text)),
        }


def _encoder(message: Any) -> str:
    """Identity of the encoder whose latents a message has; empty for none."""
    if isinstance(message, PolicyUpdate):
        return message.encoder_id
    if isinstance(message, (Latent, StepInfo)):
        return message.latent.encoder_id
    if isinstance(message, SubgoalPlan):
        return message.goal.encoder_id
    return ""
