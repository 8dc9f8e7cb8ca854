# SPDX-License-Identifier: Apache-2.0
"""Test rig: an arm driver on a fake arm, with time set by hand and checks of all commands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ptp_robot.arm_driver import ArmDriver
from ptp_robot.backends.backend import Interface, JointReading
from ptp_robot.backends.fake_backend import FakeBackend, FakeConfig
from ptp_robot.command import Command
from ptp_robot.driver_core import ArmDriverState
from ptp_robot.robot_file import HomingConfig, Limits, RobotConfig, read_kinematics
from ptp_robot.safety import SafetyFilter

__all__ = ["CheckedBackend", "DriverRig"]

POLICY, TELEOP, SCRIPT = 0, 1, 2
ROUNDING = 1e-9
COUNTER = 2e-7  # rad or m that differences of rounded numbers may be off


class CheckedBackend(FakeBackend):
    """A fake arm that fails the test on any command beyond the limits."""

    limits: Limits
    safety: SafetyFilter  # for its kinematics and box alone

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sent: list[tuple[float, str]] = []  # when, and what: "command" or "hold"
        self.noise = 0.0  # added to the joints that are measured, rad
        self.before: tuple[float, np.ndarray, np.ndarray] | None = None  # time, q, dq

    def reading(self) -> JointReading | None:
        """The fake arm's reading, with noise."""
        reading = super().reading()
        return None if reading is None else replace(reading, q=reading.q + self.noise)

    def hold(self) -> None:
        """Hold position: the next motion starts from the measured joints."""
        super().hold()
        self.before = None
        self.sent.append((self._clock(), "hold"))

    def command(self, q: np.ndarray, dq: np.ndarray) -> None:
        """Compare with the command before, or with the arm at rest."""
        super().command(q, dq)
        now = self._clock()
        self.sent.append((now, "command"))
        start = (now - self.limits.period, self.reading().q, np.zeros_like(q))
        self._compare(*(start if self.before is None else self.before), now, q)
        top = self.safety.arm.velocity * self.limits.joint_speed_ratio
        assert (np.abs(dq) <= top + ROUNDING).all(), "a joint is sent too fast"
        if self.before is not None or now > 0:
            before = start if self.before is None else self.before
            dt = min(max(now - before[0], 1e-9), self.limits.period)
            self.before = now, q.copy(), (q - before[1]) / dt

    def _compare(self, then, q_before, dq_before, now: float, q: np.ndarray) -> None:
        limits, arm = self.limits, self.safety.arm
        dt = min(max(now - then, 0.0), limits.period) + ROUNDING
        step = q - q_before
        assert (np.abs(step) <= limits.joint_step + ROUNDING).all(), "a joint's step is too large"
        speed = arm.velocity * limits.joint_speed_ratio
        assert (np.abs(step) <= speed * dt + COUNTER).all(), "a joint is too fast"
        faster = np.abs(step) / dt - np.abs(dq_before)
        most = np.array(limits.joint_acceleration) * dt
        assert (faster <= most + 1e-3).all(), "a joint speeds up too much"
        low, high = arm.lower + limits.joint_margin, arm.upper - limits.joint_margin
        assert (q >= np.minimum(low, q_before) - ROUNDING).all(), "a joint is at its end"
        assert (q <= np.maximum(high, q_before) + ROUNDING).all(), "a joint is at its end"
        moved = np.linalg.norm(arm.forward(q)[0] - arm.forward(q_before)[0])
        assert moved <= limits.speed * dt + COUNTER, "the tool is too fast"
        out, was = self.safety.outside(q), self.safety.outside(q_before)
        assert out <= was + COUNTER, f"the tool leaves the box: {was * 1e3} to {out * 1e3} mm"


class DriverRig:
    """A driver, its robot, and a person's requests."""

    def __init__(
        self,
        interface: Interface = "velocity",
        reference: str = "setpoint",
        start: tuple[float, ...] | None = None,
        wrench: bool = False,
        homing: HomingConfig | None = None,
        **limits: Any,
    ) -> None:
        self.time = 1000.0
        self.robot = RobotConfig(
            reference=reference, limits=Limits(**limits), homing=homing or HomingConfig()
        )
        self.arm = read_kinematics(self.robot)
        fake = FakeConfig(interface=interface, wrench=wrench, speed_ratio=1.0)
        if start is not None:
            fake = replace(fake, start=tuple(start))
        self.backend = CheckedBackend(self.now, config=fake)
        self.backend.limits = self.robot.limits
        self.backend.safety = SafetyFilter(self.arm, self.robot.limits)
        self.driver = ArmDriver(self.backend, self.arm, self.robot)
        self.count = self.images = 0
        self.backend.connect()
        self.run(0.03)

    def now(self) -> float:
        """Time [s]."""
        return self.time

    def run(self, seconds: float, period: float = 0.01) -> None:
        """Step the driver for so long."""
        for _ in range(max(1, round(seconds / period))):
            self.time += period
            self.driver.step(self.time)

    def enable(self) -> DriverRig:
        """Motors on."""
        self.driver.enable(self.time)
        self.run(0.02)
        assert self.state is ArmDriverState.READY, self.driver.reason
        return self

    @property
    def state(self) -> ArmDriverState:
        """Of the driver."""
        return self.driver.state

    def send(self, source: int = POLICY, **changes: Any) -> str:
        """A command, due now: the answer to the newest image where it is a policy's."""
        self.count += 1
        values = {"dx": 0.0, "dy": 0.0, "dz": 0.0, "dyaw": 0.0, "gripper": -1.0, **changes}
        values = {"seq": self.count, "frame": "base", "age": 0.01, **values}
        values.setdefault("dead_man", source == TELEOP)
        values.setdefault("observation_seq", self.images if source == POLICY else 0)
        return self.driver.command(Command(source, **values), self.time)

    def image(self) -> Any:
        """Take an image; return the driver's report of the time since the last one."""
        self.images += 1
        return self.driver.observed(self.images, self.time)

    def drive(self, commands: int, source: int = POLICY, **values: float) -> None:
        """Send ten commands a second, each the answer to an image."""
        for _ in range(commands):
            self.image()
            text = self.send(source, **values)
            assert not text, text
            self.run(0.1)

    def tool(self) -> np.ndarray:
        """True position of the tool (3,) [m]."""
        return self.arm.forward(self.backend.joints())[0]

    def holds_within(self, seconds: float) -> None:
        """Fail unless the arm is told to hold position, and does, within ``seconds``."""
        self.run(seconds)
        assert self.backend.sent[-1][1] == "hold"
        before = self.backend.joints()
        self.run(0.3)
        np.testing.assert_allclose(self.backend.joints(), before, atol=1e-9)
