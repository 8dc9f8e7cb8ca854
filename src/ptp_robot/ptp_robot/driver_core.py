# SPDX-License-Identifier: Apache-2.0
"""The driver's states and its cycle: look at the robot, decide, send, or stand still.

Pure: it is stepped with the time of a steady clock, 100 times a second, and never looks at one.
"""

from __future__ import annotations

import math

import numpy as np

from ptp_robot.arbiter import Arbiter, Source
from ptp_robot.backends.base import Backend, BackendError, Reading
from ptp_robot.command import Command
from ptp_robot.driver_report import LoopMeter, State
from ptp_robot.forces import ForceGuard, Touch
from ptp_robot.homing import Homing, Phase
from ptp_robot.kinematics import SawyerKinematics
from ptp_robot.robot_file import RobotConfig
from ptp_robot.robot_link import RobotLink
from ptp_robot.safety import Accepted, SafetyFilter

__all__ = ["ON", "DriverCore"]

ON = (State.READY, State.ACTIVE, State.INTERVENTION, State.HOLD, State.RESETTING)


class DriverCore:
    """What an arm driver does in each cycle; `ArmDriver` adds what is asked of it."""

    def __init__(self, backend: Backend, kinematics: SawyerKinematics, robot: RobotConfig) -> None:
        self.backend = backend
        self.name = robot.name  # of the back-end
        self.limits = limits = robot.limits
        self.safety = SafetyFilter(kinematics, limits, robot.reference)
        self._link = RobotLink(backend, self.safety.gate.top_speed, limits.gain)
        self.arbiter = Arbiter(limits.command_timeout)
        self.forces = ForceGuard(limits)
        self.meter = LoopMeter()
        self.state, self.reason = State.DISCONNECTED, "the robot was not heard yet"
        self.reading: Reading | None = None  # the newest, also of a link that was lost
        self.changes: list[tuple[State, State, str]] = []  # transitions that nobody fetched yet
        self._homing_config = robot.homing
        self._linked = False
        self._time: float | None = None  # of the last step
        self._asked: float | None = None  # when motors on was asked for
        self._following = False  # the arm is under command, towards the setpoint
        self._source = Source.POLICY  # whose setpoint it is
        self._commanded = 0.0  # when the last command was accepted
        self._homing: Homing | None = None
        self._home_outside = 0.0  # m, how far out of the box the way home began
        self._retreating: float | None = None  # since when
        # A person's command, for the next picture: it, its motion, when it arrived.
        self._waiting: tuple[Command, Accepted, float] | None = None

    @property
    def gripper(self) -> float:
        """Opening that was sent last: -1 open .. +1 closed; open where none was."""
        return self._link.gripper

    def step(self, now: float) -> None:
        """One cycle: look at the robot, decide, send."""
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

    def _read(self) -> Reading | None:
        """The newest reading whose joints are numbers, however old."""
        reading = self.backend.reading()
        self._linked = reading is not None
        if reading is None:
            return None
        if math.isfinite(float(np.sum(reading.q) + np.sum(reading.dq))):
            self.reading = reading
        return self.reading

    def _due(self, now: float) -> None:
        """Carry out what waited for this cycle."""

    def _look(self, reading: Reading | None, now: float) -> None:
        """What the robot says of itself."""
        if reading is None:
            if self.state in ON:
                self._fault("the link to the robot was lost: check it, clear the fault, enable")
            elif self.state is State.DISABLED:
                self._asked = None
                self._set(State.DISCONNECTED, "the robot is not heard: check power and cable")
            return
        if self.state is State.DISCONNECTED:
            self._set(State.DISABLED, reading.trouble or "enable to go on")
        if self.state is State.DISABLED:
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

    def _wait_for_motors(self, reading: Reading, now: float) -> None:
        if reading.trouble:
            self._asked = None
            self._set(State.DISABLED, reading.trouble)
        elif self._asked is not None and reading.enabled and self._fresh(reading, now):
            self._asked = None
            self.safety.seed(reading.q)
            self._hold()
            self._link.forget_gripper()
            self.forces.tare()
            taken = self.arbiter.taken_over
            self._set(State.INTERVENTION if taken else State.READY, "")
        elif self._asked is not None and now - self._asked > self.limits.enable_timeout:
            self._asked = None
            seconds = self.limits.enable_timeout
            self._set(State.DISABLED, f"the motors did not come on within {seconds:g} s")

    def _watch(self, reading: Reading) -> None:
        """Whether the arm is where it may be, and follows, while it is under command."""
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

    def _feel(self, touch: Touch, now: float) -> None:
        if touch is Touch.STOP:
            self.backend.stop()
            self._fault(f"the tool was pressed with {self.forces.force:.0f} N")
        elif self._retreating is not None:
            if now - self._retreating > self.limits.retreat_time:
                self._retreating = None
                if touch is Touch.RETREAT:
                    self._fault(f"{self.forces.force:.0f} N press the tool, also after a retreat")
                else:
                    self._pause("went up after a contact: waits for a command")
        elif touch is Touch.RETREAT and self.reading is not None:
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
            self._set(self._state_of(State.HOLD), f"{force:.0f} N press the tool: goes up")

    def _move(self, reading: Reading | None, now: float, dt: float) -> None:
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

    def _go_home(self, reading: Reading, now: float, dt: float) -> None:
        try:
            motion = self._homing.step(reading, now, dt)
        except TimeoutError as error:
            self._fault(str(error))
            return
        if motion is not None:
            self._link.send(motion, reading)
            self.reason = motion.reason
        elif self._homing.phase is Phase.DONE:
            self._hold()
            self.forces.tare()
            self._set(self._state_of(State.READY), "")

    def _hold(self) -> None:
        """Stand still; whatever moves the arm next starts from its measured joints."""
        self._following, self._homing, self._retreating = False, None, None
        self._link.hold(self._time or 0.0)

    def _pause(self, reason: str) -> None:
        """Stand still until a command comes."""
        if self._following or self._homing or self.state is State.READY:
            self._hold()
        self._set(self._state_of(State.HOLD), reason)

    def _fault(self, reason: str) -> None:
        """Stand still until a person clears the fault and enables."""
        self._waiting = self._asked = None
        self._hold()
        if self.state is not State.FAULT:  # the first reason is the cause of those after it
            self._set(State.FAULT, reason)

    def _state_of(self, state: State) -> State:
        return State.INTERVENTION if self.arbiter.taken_over else state

    def _set(self, state: State, reason: str) -> None:
        if state is not self.state:
            self.changes.append((self.state, state, reason))
        self.state, self.reason = state, reason

    def _fresh(self, reading: Reading, now: float) -> bool:
        # Also none from the future: it would count as fresh for too long.
        return abs(now - reading.stamp) <= self.limits.joints_timeout
