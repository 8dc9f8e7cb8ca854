# SPDX-License-Identifier: Apache-2.0
"""The arm driver: checks commands, selects their source, and serves requests of a person.

It is not thread-safe: callers from several threads must hold a lock.
"""

from __future__ import annotations

import math
from typing import Any

from ptp_core.data.file_limits import parse_json
from ptp_core.errors import InputError
from ptp_robot.backends.backend import Backend, BackendError, JointReading
from ptp_robot.command import Command, CommandSource, ObservationWindow
from ptp_robot.driver_core import (
    ON,
    ArmDriverState,
    Counts,
    DriverCore,
    DriverError,
    Interval,
    News,
)
from ptp_robot.homing import Homing
from ptp_robot.kinematics import SawyerKinematics
from ptp_robot.robot_file import RobotConfig
from ptp_robot.safety import Accepted

__all__ = ["PREFLIGHT_AGE", "ArmDriver", "DriverError", "PreflightGate"]

PREFLIGHT_AGE = 600.0  # s that a preflight is valid: what it checked may change
AHEAD = 1.0  # s: clocks of two machines differ, and the preflight has found by how much
LONGEST = 256 * 1024  # characters of a report; ours have some thousand
LONGEST_TEXT = 4096  # characters of one text in it
RUN = "run ptp doctor --real"


class ArmDriver(DriverCore):
    """Moves one arm through its back-end. Call `step` 100 times a second.

    It never enables by itself: after a fault, a person clears it and enables again. A lost link,
    motors that went off, and errors of the robot are faults. While an input is missing or stale,
    the arm holds position.
    """

    def __init__(self, backend: Backend, kinematics: SawyerKinematics, robot: RobotConfig) -> None:
        super().__init__(backend, kinematics, robot)
        self.counts = Counts()
        limits = self.limits
        self._window = ObservationWindow(
            limits.observation_age, patience=limits.observation_patience
        )
        self._news = News()

    def enable(self, now: float) -> str:
        """Request motors on; READY follows when the robot reports it. Returns a hint."""
        if self.state is ArmDriverState.FAULT:
            raise DriverError(f"a fault is latched ({self.reason}): clear it first")
        reading = self._require_link()
        if self.state in ON:
            return "is enabled already"
        if reading.trouble:
            raise DriverError(reading.trouble)
        if not self._fresh(reading, now):
            raise DriverError("joint positions are stale: wait for them, then enable")
        self._link.ask(self.backend.enable)
        self._asked = now
        self._set(ArmDriverState.DISABLED, "waits for the robot's motors")
        return "asked for motors on: READY follows on arm/driver_state"

    def disable(self) -> str:
        """Hold position, then turn the motors off."""
        self._waiting = self._asked = None
        if self.state in ON:
            self._hold()
        if self.state in (*ON, ArmDriverState.DISABLED):
            self._set(ArmDriverState.DISABLED, "disabled: enable to go on")
        self._require_link()
        self._link.ask(self.backend.disable)
        return "asked for motors off"

    def stop(self) -> str:
        """Stop with the robot's hardest stop, and latch it as a fault."""
        self.backend.stop()
        self._fault("stopped by a person: clear the fault, then enable")
        return "stopped"

    def fail(self, reason: str) -> None:
        """Hold position for the caller's ``reason``, and latch it as a fault."""
        self._fault(reason)

    def clear_fault(self) -> str:
        """Clear the fault, the robot's too; the arm stays disabled."""
        if self.state in ON:
            raise DriverError("there is no fault to clear")
        self._require_link()
        self._link.ask(self.backend.clear)
        if self.state is ArmDriverState.FAULT:
            self._set(ArmDriverState.DISABLED, "the fault was cleared: enable to go on")
        return "cleared: enable to go on"

    def reset_pose(self, now: float) -> str:
        """Go home; RESETTING ends as READY, or as FAULT."""
        if self.state not in ON:
            raise DriverError(f"the arm is {self.state.name}: {self.reason or 'enable it'}")
        if self._homing is not None:
            return "is on its way home"
        reading = self._require_link()
        if self.arbiter.held(now):
            raise DriverError("a person holds the arm: let go of the dead-man switch first")
        if not self._fresh(reading, now):
            raise DriverError("joint positions are stale: wait for them")
        self._hold()
        self.safety.seed(reading.q)
        self._home_outside = self.safety.outside(reading.q)
        self._homing = Homing(self._homing_config, self.safety, now)
        self._link.ask(lambda: self._link.grip(-1.0))
        self._set(ArmDriverState.RESETTING, "")
        return "on its way home: READY follows on arm/driver_state"

    def rearm(self, now: float) -> None:
        """Let policies move the arm again; DriverError while a person holds it."""
        if not self.arbiter.rearm(now):
            raise DriverError("a person holds the arm: let go of the dead-man switch first")
        if self.state is ArmDriverState.INTERVENTION:
            self._hold()
            self._set(ArmDriverState.HOLD, "rearmed: waits for a command")

    def observed(self, seq: int, now: float) -> Interval:
        """An image was taken: return what happened since the last. A waiting command is due."""
        interval = self._interval()
        self._news = News()
        self._window.observed(seq, now)
        self._due(now)
        return interval

    def command(self, command: Command, now: float, arrived: float | None = None) -> str:
        """Handle a command. Returns why it is refused; empty: it runs now or at the next image.

        It is validated before it replaces its source's older command. ``arrived``: time of
        arrival, where that was before ``now``.
        """
        arrived = now if arrived is None else arrived
        try:
            source = CommandSource(command.source)
        except ValueError:
            return self._refuse(f"the command's source is {command.source}; see its message", None)
        if command.heard_from not in (None, source):
            whose = CommandSource(command.heard_from).name.lower()
            return self._refuse(f"a command of a {source.name.lower()} came as a {whose}'s", None)
        if source is CommandSource.TELEOP:
            self._waiting = None  # replaced by a newer command, or the switch was released
            if not command.dead_man:  # it moves nothing, so it is accepted whatever else is wrong
                return self._held_off(command, source, now)
        elif self.state not in ON:
            return self._off()
        try:
            motion = self.safety.check(command, now)
        except InputError as error:
            return self._refuse(str(error), source)
        if self._answers(command) and not command.holds:
            late = self._window.arrived(command.observation_seq, arrived)
            if late:
                self.counts.late += 1
                return late
        before = self.arbiter.taken_over
        if not self.arbiter.admits(source, command.dead_man, now):
            return self._held_off(command, source, now)
        takes = source is CommandSource.TELEOP
        if takes and self.state in ON and (not before or self._homing is not None):
            self._hold()  # at once, whatever source moved it
            self._set(ArmDriverState.INTERVENTION, "a person took over: policies wait for rearm")
        if self.state not in ON:
            return self._off()
        if self._homing is not None:
            return "the arm is on its way home"
        if command.holds:
            self._pause("the policy asks to hold")
            return ""
        if not self._window.is_open(now):
            if source is CommandSource.TELEOP:
                self._waiting = command, motion, arrived
                return ""
            self.counts.late += 1
            return "a command was carried out since the newest observation"
        return self._carry_out(command, motion, now, arrived)

    @staticmethod
    def _answers(command: Command) -> bool:
        """Whether the age limit applies: to every policy, and to commands that name an image."""
        return command.source == CommandSource.POLICY or command.observation_seq != 0

    def _held_off(self, command: Command, source: CommandSource, now: float) -> str:
        if source is CommandSource.TELEOP:
            self.arbiter.admits(source, command.dead_man, now)
            person = self._source is CommandSource.TELEOP
            if person and self._following and self._retreating is None:
                self._hold()  # switch released: drop the rest of the motion
        self.counts.held_off += 1
        return f"held off: {source.name.lower()} may not move the arm now"

    def _off(self) -> str:
        self._news.error = f"the arm is {self.state.name.lower()}: {self.reason}"
        return self._news.error

    def _carry_out(self, command: Command, motion: Accepted, now: float, arrived: float) -> str:
        reading = self.reading
        if reading is None or not self._linked or not self._fresh(reading, now):
            return "joint positions are stale"
        if self.forces.taring or self._retreating is not None:
            return "the arm is not ready: " + (self.reason or "it measures the tool's weight")
        if self._answers(command):
            late = self._window.refusal(command.observation_seq, now)
            if late:
                self.counts.late += 1
                return late
        if not self._following:
            self.safety.seed(reading.q)
        elif command.source != self._source:
            self.safety.setpoint.anchor(*self.safety.pose(self.safety.q))
        try:
            accepted = self.safety.accept(motion, reading.q)
        except InputError as error:
            return self._refuse(str(error), CommandSource(command.source))
        self._following, self._source = True, CommandSource(command.source)
        self._commanded = now
        latency = self._window.age(command.observation_seq, arrived)
        self._news = News(command, latency, accepted.clamped, self._news.error)
        self._window.moved(command.observation_seq, now)
        self.counts.accepted += 1
        self.counts.clamped += accepted.clamped
        self._set(self._state_of(ArmDriverState.ACTIVE), "")
        try:
            self._link.grip(accepted.delta.gripper)
        except BackendError as error:
            self._fault(f"the gripper cannot be moved: {error}")
        return ""

    def _due(self, now: float) -> None:
        if self._waiting is None or not self._window.is_open(now):
            return
        (command, motion, arrived), self._waiting = self._waiting, None
        if self.state in ON and self._homing is None and self.arbiter.held(now):
            self._carry_out(command, motion, now, arrived)

    def _refuse(self, text: str, source: CommandSource | None) -> str:
        """Count the refusal. The arm holds position, unless it follows another source."""
        self.counts.refused += 1
        self._news.error = text
        others = self._following and source is not self._source
        busy = self._homing is not None or self._retreating is not None
        if self.state in ON and not busy and not others:
            self._pause(f"a command was refused: {text}")
        return text

    def _require_link(self) -> JointReading:
        if not self._linked or self.reading is None:
            raise DriverError("the robot is not connected: check power, cable and address")
        return self.reading

    def _interval(self) -> Interval:
        reading, news = self.reading, self._news
        q = self.safety.q if reading is None else reading.q
        pose = self.safety.pose(q)
        told = self.safety.setpoint
        return Interval(
            reading=reading,
            position=pose[0],
            yaw=pose[1],
            setpoint=(told.position.copy(), told.yaw) if self._following else pose,
            command=news.command,
            latency=news.latency,
            holding=not self._following and self._homing is None,
            taken_over=self.arbiter.taken_over,
            clamped=news.clamped,
            error=news.error,
        )


class PreflightGate:
    """Keeps the newest report, as `ptp doctor --real` writes it (JSON).

    A report has ``ok``, ``stamp`` [s since 1970], ``limits`` (digest, as in DriverState),
    ``backend`` and ``findings``. A report that cannot be read replaces the one before: the arm
    stays disabled rather than enabled with an unreadable report.
    """

    def __init__(self) -> None:
        self._report: dict | None = None
        self._problem = "no preflight was made"

    def take(self, text: str) -> None:
        """A report came."""
        try:
            report = parse_json(text, LONGEST)
            if not isinstance(report["findings"], list):
                raise ValueError("findings are a list")
            findings = [_text(finding) for finding in report["findings"]]
            self._report = {
                "ok": report["ok"] is True and not findings,
                "stamp": float(report["stamp"]),
                "limits": _text(report["limits"]),
                "backend": _text(report["backend"]),
                "findings": findings,
            }
        # Any fault refuses the report: it must not end the driver.
        except Exception as error:
            self._report = None
            self._problem = f"the preflight's report cannot be read ({str(error)[:200]})"

    def refusal(self, now: float, limits: str, backend: str) -> str:
        """Why the arm must not be enabled now [s since 1970]; empty: it may."""
        report = self._report
        if report is None:
            return f"{self._problem}: {RUN}"
        age = now - report["stamp"]
        if not (math.isfinite(age) and -AHEAD <= age <= PREFLIGHT_AGE):
            return (
                f"the preflight is {age / 60.0:.0f} min old, at most {PREFLIGHT_AGE / 60.0:.0f} "
                f"count: {RUN} again"
            )
        if (report["limits"], report["backend"]) != (limits, backend):
            return (
                f"the preflight was of limits {report['limits']} of {report['backend']}, in force "
                f"are {limits} of {backend}: {RUN} again"
            )
        if not report["ok"]:
            first = report["findings"][0] if report["findings"] else "it does not say why"
            return f"the preflight did not pass: {first}"
        return ""


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise ValueError(f"{type(value).__name__} where a text belongs")
    return value
