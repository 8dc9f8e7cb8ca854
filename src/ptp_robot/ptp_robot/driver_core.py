# SPDX-License-Identifier: Apache-2.0
"""The driver's state machine and control cycle: read the robot, decide, send or hold."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np

from ptp_core.errors import PtpError
from ptp_robot.backends.backend import Backend, BackendError, JointReading, NoGripper
from ptp_robot.command import Arbiter, Command, CommandSource
from ptp_robot.homing import Homing, HomingPhase
from ptp_robot.kinematics import SawyerKinematics
from ptp_robot.robot_file import RobotConfig
from ptp_robot.safety import Accepted, ContactReaction, ForceGuard, Motion, SafetyFilter

__all__ = [
    "ON",
    "ArmDriverState",
    "Counts",
    "DriverCore",
    "DriverError",
    "Interval",
    "LoopMeter",
    "News",
    "RobotLink",
]

REPEAT = 1.0  # s between two hold commands, as one may be lost
KEEPS = 0.9  # share of its cycles below which a loop misses its rate


class DriverError(PtpError):
    """The driver cannot do a request now; the text names cause and cure."""


class RobotLink:
    """Sends to one back-end. A hold command that could not be sent is repeated.

    ``top_speed`` (n,) [rad/s] is what a velocity interface is never sent more than; ``gain``
    [1/s] is how fast it makes up for what the arm lags behind.
    """

    def __init__(self, backend: Backend, top_speed: np.ndarray, gain: float) -> None:
        self.backend = backend
        self._top_speed = top_speed
        self._gain = gain
        self._still: float | None = None  # time of the last hold command; None: it moves
        self._owed = False
        self.gripper = -1.0  # opening sent last
        self._sent = False  # and it was

    def ask(self, call: Callable[[], None]) -> None:
        """Run a person's request; BackendError becomes DriverError."""
        try:
            call()
        except BackendError as error:
            raise DriverError(str(error)) from error

    def send(self, motion: Motion, reading: JointReading) -> None:
        """Move. BackendError: the link is down."""
        self._still, self._owed = None, False
        speed = motion.dq + self._gain * (motion.q - reading.q)
        self.backend.command(motion.q, np.clip(speed, -self._top_speed, self._top_speed))

    def hold(self, now: float) -> None:
        """Hold position from now on."""
        self._still = now
        try:
            self.backend.hold()
            self._owed = False
        except BackendError:
            self._owed = True  # a robot without its link stops by itself; `keep` tells it again

    def keep(self, now: float, repeat: bool) -> None:
        """Repeat a failed hold command; with ``repeat`` also others, every `REPEAT` s."""
        if self._still is None:
            return
        if self._owed or (repeat and now - self._still > REPEAT):
            self.hold(now)

    def grip(self, opening: float) -> None:
        """Send an opening if it is new; do nothing without a gripper.

        Every command has an opening, also for an arm without a gripper. BackendError: no link, or
        a gripper that does not answer.
        """
        if not self._sent or opening != self.gripper:
            with contextlib.suppress(NoGripper):
                self.backend.grip(opening)
            self.gripper, self._sent = opening, True

    def forget_gripper(self) -> None:
        """Send the next opening in any case: the gripper may have been moved otherwise."""
        self._sent = False


class ArmDriverState(IntEnum):
    """States of the driver, numbered as in the DriverState message."""

    DISCONNECTED = 0
    DISABLED = 1
    READY = 2
    ACTIVE = 3
    INTERVENTION = 4
    HOLD = 5
    RESETTING = 6
    FAULT = 7


@dataclass
class Counts:
    """Commands since the start."""

    accepted: int = 0
    refused: int = 0
    clamped: int = 0
    late: int = 0  # answers to images that are answered already, too old or unknown
    held_off: int = 0  # commands of a source that had to wait for another


@dataclass
class News:
    """Commands since the last image."""

    command: Command | None = None  # the last that was executed
    latency: float = 0.0  # s, of that one
    clamped: bool = False
    error: str = ""  # why another was refused


@dataclass(frozen=True)
class Interval:
    """Motion and commands since the previous image: see the ArmState message."""

    reading: JointReading | None  # newest measured joints; None: none yet
    position: np.ndarray  # tool point (3,), m
    yaw: float  # rad
    setpoint: tuple[np.ndarray, float]
    command: Command | None  # the last that was executed; None: none was
    latency: float  # s
    holding: bool
    taken_over: bool
    clamped: bool
    error: str  # of the last command or input that was refused; empty: none


class LoopMeter:
    """Rate and worst period of the last second."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._began: float | None = None  # of what `missed` looks at
        self._cycles, self._longest, self._last = 0, 0.0, 0.0

    def tick(self, now: float) -> None:
        """A cycle begins."""
        self._times.append(now)
        while self._times[0] < now - 1.0:
            self._times.popleft()
        if self._began is None:
            self._began = now
        else:
            self._cycles += 1
            self._longest = max(self._longest, now - self._last)
        self._last = now

    def missed(self, period: float) -> str:
        """Describe how a loop of this period [s] misses its rate; empty while it keeps it.

        Checks once a second, or once in two slow cycles.
        """
        if self._began is None or self._last - self._began < max(1.0, 2.0 * period):
            return ""
        seconds, cycles, longest = self._last - self._began, self._cycles, self._longest
        self._began, self._cycles, self._longest = self._last, 0, 0.0
        if cycles >= KEEPS * seconds / period:
            return ""
        return (
            f"{cycles / seconds:.1f} cycles a second instead of {1.0 / period:.1f}, the longest "
            f"took {longest * 1e3:.0f} ms: the machine is too busy, see ptp doctor"
        )

    @property
    def rate(self) -> float:
        """Hz; 0 before the second cycle."""
        if len(self._times) < 2:
            return 0.0
        return (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9)

    @property
    def worst(self) -> float:
        """Longest period [s]; 0 before the second cycle."""
        times = list(self._times)
        return max((b - a for a, b in pairwise(times)), default=0.0)


ON = (
    ArmDriverState.READY,
    ArmDriverState.ACTIVE,
    ArmDriverState.INTERVENTION,
    ArmDriverState.HOLD,
    ArmDriverState.RESETTING,
)


class DriverCore:
    """The control cycle of an arm driver; `ArmDriver` adds commands and requests."""

    def __init__(self, backend: Backend, kinematics: SawyerKinematics, robot: RobotConfig) -> None:
        self.backend = backend
        self.name = robot.name  # of the back-end
        self.limits = limits = robot.limits
        self.safety = SafetyFilter(kinematics, limits, robot.reference)
        self._link = RobotLink(backend, self.safety.gate.top_speed, limits.gain)
        self.arbiter = Arbiter(limits.command_timeout)
        self.forces = ForceGuard(limits)
        self.meter = LoopMeter()
        self.state, self.reason = ArmDriverState.DISCONNECTED, "the robot was not heard yet"
        self.reading: JointReading | None = None  # the newest one, even of a lost link
        self.changes: list[
            tuple[ArmDriverState, ArmDriverState, str]
        ] = []  # transitions that were not fetched yet
        self._homing_config = robot.homing
        self._linked = False
        self._time: float | None = None  # of the last step
        self._asked: float | None = None  # when motors on was requested
        self._following = False  # the arm is commanded towards the setpoint
        self._source = CommandSource.POLICY  # whose setpoint it is
        self._commanded = 0.0  # when the last command was accepted
        self._homing: Homing | None = None
        self._home_outside = 0.0  # m, how far out of the box the way home began
        self._retreating: float | None = None  # since when
        # A person's command, for the next image: it, its motion, when it arrived.
        self._waiting: tuple[Command, Accepted, float] | None = None

    @property
    def gripper(self) -> float:
        """The last commanded opening: -1 open .. +1 closed; open by default."""
        return self._link.gripper

    def step(self, now: float) -> None:
        """Run one cycle: read the robot, decide, send."""
        period = 0.0 if self._time is None else now - self._time
        self._time = now
        self.meter.tick(now)
        reading = self._read()
        touch = self.forces.update(reading.wrench if reading else None, now)
        self._look(reading, now)
        if self.state in ON and period > self.limits.overrun:
            self._fault(
                f"{period * 1e3:.0f} ms passed between two cycles; at most "
                f"{self.limits.overrun * 1e3:.0f} ms are allowed: give the driver a core"
            )
        if self.state in ON:
            self._feel(touch, now)
        if self.state in ON:
            self._due(now)
            try:
                self._move(reading, now, max(period, 0.0))
            except BackendError as error:
                self._fault(f"the link was lost: {error}")
        self._link.keep(now, repeat=self.state in ON)

    def _read(self) -> JointReading | None:
        """The newest reading whose joints are numbers, however old."""
        reading = self.backend.reading()
        self._linked = reading is not None
        if reading is None:
            return None
        if math.isfinite(float(np.sum(reading.q) + np.sum(reading.dq))):
            self.reading = reading
        return self.reading

    def _due(self, now: float) -> None:
        """Execute a command that waited for this cycle."""

    def _look(self, reading: JointReading | None, now: float) -> None:
        """Check the robot's own state."""
        if reading is None:
            if self.state in ON:
                self._fault("the link to the robot was lost: check it, clear the fault, enable")
            elif self.state is ArmDriverState.DISABLED:
                self._asked = None
                self._set(
                    ArmDriverState.DISCONNECTED, "the robot is not heard: check power and cable"
                )
            return
        if self.state is ArmDriverState.DISCONNECTED:
            self._set(ArmDriverState.DISABLED, reading.trouble or "enable to go on")
        if self.state is ArmDriverState.DISABLED:
            self._wait_for_motors(reading, now)
        if self.state not in ON:
            return
        age = now - reading.stamp
        if reading.trouble:
            self._fault(reading.trouble)
        elif not reading.enabled:
            self._fault("the robot's motors went off: clear the fault, then enable")
        elif age > self.limits.lost_after or (self._homing and not self._fresh(reading, now)):
            self._fault(f"joint positions are {age:.2f} s old: check the robot and the network")
        elif not self._fresh(reading, now):
            self._pause(f"joint positions are {age:.2f} s old")
        else:
            self._watch(reading)

    def _wait_for_motors(self, reading: JointReading, now: float) -> None:
        if reading.trouble:
            self._asked = None
            self._set(ArmDriverState.DISABLED, reading.trouble)
        elif self._asked is not None and reading.enabled and self._fresh(reading, now):
            self._asked = None
            self.safety.seed(reading.q)
            self._hold()
            self._link.forget_gripper()
            self.forces.tare()
            taken = self.arbiter.taken_over
            self._set(ArmDriverState.INTERVENTION if taken else ArmDriverState.READY, "")
        elif self._asked is not None and now - self._asked > self.limits.enable_timeout:
            self._asked = None
            seconds = self.limits.enable_timeout
            self._set(ArmDriverState.DISABLED, f"the motors did not come on within {seconds:g} s")

    def _watch(self, reading: JointReading) -> None:
        """Check that the commanded arm stays in its limits and follows."""
        if not (self._following or self._homing):
            return
        outside = self.safety.outside(reading.q)
        allowed = self.limits.leave + (self._home_outside if self._homing else 0.0)
        behind = np.abs(reading.q - self.safety.q)
        if outside > allowed:
            self._fault(f"the tool is {outside * 1e3:.0f} mm outside of the workspace")
        elif behind.max() > self.limits.tracking:
            self._fault(
                f"joint {int(behind.argmax())} is {behind.max():.2f} rad from where it was sent: "
                "look what holds the arm"
            )

    def _feel(self, touch: ContactReaction, now: float) -> None:
        if touch is ContactReaction.STOP:
            self.backend.stop()
            self._fault(f"the tool was pressed with {self.forces.force:.0f} N")
        elif self._retreating is not None:
            if now - self._retreating > self.limits.retreat_time:
                self._retreating = None
                if touch is ContactReaction.RETREAT:
                    self._fault(f"{self.forces.force:.0f} N press the tool, also after a retreat")
                else:
                    self._pause("went up after a contact: waits for a command")
        elif touch is ContactReaction.RETREAT and self.reading is not None:
            force = self.forces.force
            if self._homing is not None:
                self._fault(f"{force:.0f} N press the tool on its way home")
                return
            self._hold()
            self.safety.seed(self.reading.q)
            position, yaw = self.safety.pose(self.reading.q)
            up = np.array((0.0, 0.0, self.limits.retreat))
            self.safety.setpoint.anchor(position + up, yaw)
            self._following, self._retreating = True, now
            self._set(
                self._state_of(ArmDriverState.HOLD), f"{force:.0f} N press the tool: goes up"
            )

    def _move(self, reading: JointReading | None, now: float, dt: float) -> None:
        if reading is None or not self._fresh(reading, now):
            return
        if self._homing is not None:
            self._go_home(reading, now, dt)
        elif self._following:
            timeout = self.limits.command_timeout
            if self._retreating is None and now - self._commanded > timeout:
                self._pause(f"no command for {timeout:g} s")
                return
            pressed = self.forces.force > self.limits.force_warn
            motion = self.safety.follow(dt, self.forces.into_contact if pressed else None)
            self._link.send(motion, reading)
            self.reason = motion.reason or ("" if self._retreating is None else self.reason)

    def _go_home(self, reading: JointReading, now: float, dt: float) -> None:
        try:
            motion = self._homing.step(reading, now, dt)
        except TimeoutError as error:
            self._fault(str(error))
            return
        if motion is not None:
            self._link.send(motion, reading)
            self.reason = motion.reason
        elif self._homing.phase is HomingPhase.DONE:
            self._hold()
            self.forces.tare()
            self._set(self._state_of(ArmDriverState.READY), "")

    def _hold(self) -> None:
        """Hold position; the next motion starts from the measured joints."""
        self._following, self._homing, self._retreating = False, None, None
        self._link.hold(self._time or 0.0)

    def _pause(self, reason: str) -> None:
        """Hold position until a command arrives."""
        if self._following or self._homing or self.state is ArmDriverState.READY:
            self._hold()
        self._set(self._state_of(ArmDriverState.HOLD), reason)

    def _fault(self, reason: str) -> None:
        """Hold position until a person clears the fault and enables."""
        self._waiting = self._asked = None
        self._hold()
        if (
            self.state is not ArmDriverState.FAULT
        ):  # keep the first reason, which caused the later ones
            self._set(ArmDriverState.FAULT, reason)

    def _state_of(self, state: ArmDriverState) -> ArmDriverState:
        return ArmDriverState.INTERVENTION if self.arbiter.taken_over else state

    def _set(self, state: ArmDriverState, reason: str) -> None:
        if state is not self.state:
            self.changes.append((self.state, state, reason))
        self.state, self.reason = state, reason

    def _fresh(self, reading: JointReading, now: float) -> bool:
        # Refuse readings from the future, too: they would stay fresh for too long.
        return abs(now - reading.stamp) <= self.limits.joints_timeout
