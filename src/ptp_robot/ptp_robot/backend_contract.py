# SPDX-License-Identifier: Apache-2.0
"""Contract tests that every back-end must pass: subclass them, and provide a fixture ``rig``.

A rig offers::

    rig.backend            the back-end, not connected yet
    rig.now()              time of its clock [s]: of the stamps of its readings
    rig.advance(seconds)   let that much time pass, for robot and back-end
    rig.joints()           true joints of the arm, (7,) rad, whatever the back-end reports
    rig.fault(name), rig.mend(name)

`BackendContract` needs the faults drop_link, freeze_joints and nan_joints. `MotorContract` is for
robots that report motors on and off; it needs press_estop, disable_motors, refuse_enable and
slow_ack (see `ptp_robot.backends.fake_backend.FAULTS` for what each means).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ptp_robot.backends.backend import BackendError, JointReading

__all__ = ["BackendContract", "MotorContract"]

PERIOD = 0.01  # s, of the driver's loop
JOINT = 3
SPEED = 0.1  # rad/s


class _Steps:
    """Steps shared by the contract tests."""

    settle = 5.0  # s that a connection, an answer or a stop may take
    stop_within = 0.5  # s after the last command until the arm is at rest
    still = 1e-3  # rad that an arm at rest may move
    accuracy = 0.02  # rad between commanded and reached joints

    def until(self, rig: Any, condition: Callable[[], bool], what: str) -> None:
        """Let time pass until the condition holds."""
        passed = 0.0
        while not condition():
            assert passed < self.settle, f"waited {self.settle} s for {what}"
            rig.advance(PERIOD)
            passed += PERIOD

    def connected(self, rig: Any) -> JointReading:
        """Connect, and wait for the first reading."""
        rig.backend.connect()
        self.until(rig, lambda: rig.backend.reading() is not None, "a reading")
        return rig.backend.reading()

    def enabled(self, rig: Any) -> JointReading:
        """Connect, enable, wait for it."""
        self.connected(rig)
        rig.backend.enable()
        self.until(rig, lambda: rig.backend.reading().enabled, "motors on")
        return rig.backend.reading()

    def drive(self, rig: Any, seconds: float, joint: int = JOINT) -> np.ndarray:
        """Move one joint at constant speed; return the joints that the arm should reach."""
        q = rig.backend.reading().q.copy()
        dq = np.zeros_like(q)
        dq[joint] = SPEED
        for _ in range(round(seconds / PERIOD)):
            q = q + dq * PERIOD
            rig.backend.command(q, dq)
            rig.advance(PERIOD)
        return q

    def raises(self, call: Callable[[], Any]) -> str:
        """The text of the BackendError that the call raises."""
        try:
            call()
        except BackendError as error:
            text = str(error)
        else:
            raise AssertionError("no BackendError")
        assert text, "an error without text"
        return text

    def stands_still(self, rig: Any, seconds: float = 1.0) -> None:
        """Fail if the arm moves in the next seconds."""
        before = rig.joints()
        rig.advance(seconds)
        assert np.abs(rig.joints() - before).max() <= self.still


class BackendContract(_Steps):
    """For every back-end."""

    def test_says_what_it_is(self, rig):
        assert rig.backend.name
        assert rig.backend.interface in ("position", "velocity")
        assert len(rig.backend.joint_names) == len(rig.joints())

    def test_before_a_connection_there_is_no_reading_and_nothing_can_be_sent(self, rig):
        backend, q = rig.backend, rig.joints()
        assert backend.reading() is None
        self.raises(lambda: backend.command(q, q * 0))
        self.raises(backend.hold)
        self.raises(lambda: backend.grip(1.0))
        backend.stop()  # never raises

    def test_a_reading_is_whole_and_of_now(self, rig):
        reading = self.connected(rig)
        for values in (reading.q, reading.dq):
            assert values.dtype == np.float64
            assert values.shape == rig.joints().shape
        assert np.abs(reading.q - rig.joints()).max() <= self.accuracy
        assert np.abs(reading.dq).max() <= 0.01
        for _ in range(10):
            rig.advance(0.1)
            assert abs(rig.now() - rig.backend.reading().stamp) <= 0.1

    def test_goes_where_it_is_sent_and_says_so(self, rig):
        before = self.enabled(rig).q
        wanted = self.drive(rig, 1.0)
        rig.backend.hold()
        rig.advance(0.3)
        assert np.abs(rig.joints() - wanted).max() <= self.accuracy
        assert rig.joints()[JOINT] - before[JOINT] > 0.5 * SPEED
        assert np.abs(rig.backend.reading().q - rig.joints()).max() <= self.accuracy

    def test_reports_its_speed_while_it_moves(self, rig):
        self.enabled(rig)
        self.drive(rig, 0.5)
        dq = rig.backend.reading().dq
        assert abs(dq[JOINT] - SPEED) <= 0.5 * SPEED
        assert np.abs(np.delete(dq, JOINT)).max() <= 0.2 * SPEED

    def test_holds_when_told(self, rig):
        self.enabled(rig)
        self.drive(rig, 0.3)
        rig.backend.hold()
        rig.advance(self.stop_within)
        self.stands_still(rig)

    def test_stands_still_once_commands_end(self, rig):
        self.enabled(rig)
        wanted = self.drive(rig, 0.3)
        rig.advance(self.stop_within)
        self.stands_still(rig)
        # A velocity may continue until the robot's command timeout.
        assert np.abs(rig.joints() - wanted).max() <= self.accuracy + SPEED * self.stop_within

    def test_stops_hard_from_any_state_and_raises_never(self, rig):
        self.enabled(rig)
        self.drive(rig, 0.3)
        rig.backend.stop()
        rig.advance(self.stop_within)
        self.stands_still(rig)
        rig.fault("drop_link")
        rig.backend.stop()

    def test_numbers_that_are_none_are_never_sent(self, rig):
        self.enabled(rig)
        before = rig.joints()
        q = before.copy()
        q[0] = np.nan
        for bad_q, bad_dq in ((q, before * 0), (before, before * np.inf), (q, q)):
            self.raises(lambda q=bad_q, dq=bad_dq: rig.backend.command(q, dq))
        rig.advance(self.stop_within)
        assert np.abs(rig.joints() - before).max() <= self.still

    def test_a_link_that_drops_is_noticed_and_nothing_is_queued_for_later(self, rig):
        self.enabled(rig)
        self.drive(rig, 0.2)
        rig.backend.hold()
        rig.fault("drop_link")
        self.until(rig, lambda: rig.backend.reading() is None, "the link to be missed")
        rig.advance(self.stop_within)
        before = rig.joints()
        far = before.copy()
        far[JOINT] += 0.5
        dq = np.zeros_like(before)
        dq[JOINT] = SPEED
        for _ in range(20):
            self.raises(lambda: rig.backend.command(far, dq))
            rig.advance(PERIOD)
        self.raises(rig.backend.hold)
        self.raises(lambda: rig.backend.grip(1.0))
        rig.mend("drop_link")
        self.until(rig, lambda: rig.backend.reading() is not None, "the link to come back")
        rig.advance(self.stop_within)
        assert np.abs(rig.joints() - before).max() <= self.still
        assert rig.now() - rig.backend.reading().stamp <= 0.1

    def test_joints_that_stop_coming_are_never_given_a_new_stamp(self, rig):
        self.connected(rig)
        rig.fault("freeze_joints")
        rig.advance(0.2)  # messages under way have arrived
        frozen = rig.backend.reading()
        rig.advance(0.5)
        reading = rig.backend.reading()
        assert reading is None or reading.stamp == frozen.stamp
        rig.mend("freeze_joints")
        self.until(
            rig,
            lambda: (r := rig.backend.reading()) is not None and rig.now() - r.stamp <= 0.1,
            "joints again",
        )

    def test_joints_that_are_no_numbers_are_dropped_and_counted(self, rig):
        self.connected(rig)
        rig.fault("nan_joints")
        rig.advance(0.2)
        frozen = rig.backend.reading()
        rig.advance(0.3)
        reading = rig.backend.reading()
        if reading is not None:
            assert np.isfinite(reading.q).all() and np.isfinite(reading.dq).all()
            assert reading.stamp == frozen.stamp
        assert sum(rig.backend.problems().values()) > 0

    def test_the_gripper_moves_where_it_is_measured(self, rig):
        self.enabled(rig)
        for opening in (1.0, -1.0):
            rig.backend.grip(opening)
            if rig.backend.reading().gripper is not None:
                self.until(
                    rig,
                    lambda o=opening: abs(rig.backend.reading().gripper - o) <= 0.2,
                    f"the gripper at {opening}",
                )

    def test_closing_leaves_the_arm_still_and_twice_is_once(self, rig):
        self.enabled(rig)
        self.drive(rig, 0.3)
        rig.backend.close()
        rig.backend.close()
        rig.advance(self.stop_within)
        self.stands_still(rig)
        q = rig.joints()
        self.raises(lambda: rig.backend.command(q, q * 0))


class MotorContract(_Steps):
    """For back-ends whose robot says whether its motors are on."""

    def test_is_never_enabled_by_itself(self, rig):
        reading = self.connected(rig)
        assert not reading.enabled
        rig.advance(1.0)
        assert not rig.backend.reading().enabled
        q = rig.joints()
        try:
            rig.backend.command(q + 0.2, q * 0 + SPEED)
        except BackendError:
            return
        rig.advance(0.5)
        assert np.abs(rig.joints() - q).max() <= self.still

    def test_motors_go_on_and_off(self, rig):
        self.enabled(rig)
        rig.backend.disable()
        self.until(rig, lambda: not rig.backend.reading().enabled, "motors off")
        self.stands_still(rig)

    def test_an_emergency_stop_needs_clearing_and_enabling_and_says_so(self, rig):
        self.enabled(rig)
        self.drive(rig, 0.2)
        rig.fault("press_estop")
        self.until(rig, lambda: bool(rig.backend.reading().trouble), "the e-stop to be seen")
        assert not rig.backend.reading().enabled
        rig.advance(self.stop_within)
        self.stands_still(rig)
        self.raises(rig.backend.enable)
        self.raises(rig.backend.clear)
        rig.mend("press_estop")
        rig.advance(0.5)
        assert rig.backend.reading().trouble, "released is not cleared"
        assert not rig.backend.reading().enabled
        self.raises(rig.backend.enable)
        rig.backend.clear()
        self.until(rig, lambda: not rig.backend.reading().trouble, "the stop to be forgotten")
        assert not rig.backend.reading().enabled
        rig.backend.enable()
        self.until(rig, lambda: rig.backend.reading().enabled, "motors on")

    def test_a_software_stop_needs_clearing_too(self, rig):
        self.enabled(rig)
        rig.backend.stop()
        self.until(rig, lambda: not rig.backend.reading().enabled, "motors off")
        self.until(rig, lambda: bool(rig.backend.reading().trouble), "the reason")
        rig.backend.clear()
        self.until(rig, lambda: not rig.backend.reading().trouble, "the stop to be forgotten")
        rig.backend.enable()
        self.until(rig, lambda: rig.backend.reading().enabled, "motors on")

    def test_motors_that_somebody_turned_off_are_seen_to_be_off(self, rig):
        self.enabled(rig)
        rig.fault("disable_motors")
        self.until(rig, lambda: not rig.backend.reading().enabled, "motors off")
        rig.mend("disable_motors")
        rig.advance(0.5)
        assert not rig.backend.reading().enabled

    def test_a_robot_that_does_not_enable_is_not_said_to_be(self, rig):
        self.connected(rig)
        rig.fault("refuse_enable")
        rig.backend.enable()
        rig.advance(1.0)
        assert not rig.backend.reading().enabled

    def test_a_late_answer_is_waited_for(self, rig):
        self.connected(rig)
        rig.fault("slow_ack")
        rig.backend.enable()
        assert not rig.backend.reading().enabled
        self.until(rig, lambda: rig.backend.reading().enabled, "motors on")
