# SPDX-License-Identifier: Apache-2.0
"""What a Sawyer may do to its driver: each ends with an arm at rest and a text with the cure."""

import numpy as np
import pytest

from ptp_robot.backends import sawyer_messages as topics
from ptp_robot.backends.backend import BackendError
from ptp_robot.fakes.sawyer_rig import SawyerRig

PERIOD = 0.01  # s
JOINT = 3
SPEED = 0.1  # rad/s


@pytest.fixture
def rig():
    """Enabled."""
    with SawyerRig() as rig:
        enabled(rig)
        yield rig


def enabled(rig):
    rig.backend.connect()
    rig.advance(0.1)
    rig.backend.enable()
    rig.advance(0.1)
    assert rig.backend.reading().enabled


def drive(rig, periods):
    """Move one joint evenly; the number of commands that were taken."""
    q, dq = rig.backend.reading().q, np.zeros(7)
    dq[JOINT] = SPEED
    for sent in range(periods):
        q = q + dq * PERIOD
        try:
            rig.backend.command(q, dq)
        except BackendError:
            return sent
        rig.advance(PERIOD)
    return periods


def stands_still(rig, seconds=0.5):
    before = rig.joints()
    rig.advance(seconds)
    np.testing.assert_array_equal(rig.joints(), before)


def sent(rig, topic):
    rig.settle()
    return [message for name, message in rig.intera.bridge.received if name == topic]


def somebody(rig, topic, message):
    """Another program, or a person at the robot's screen."""
    rig.intera.take(topic, message)


def test_a_pressed_emergency_stop_says_what_to_do_and_so_does_a_released_one(rig):
    drive(rig, 10)
    rig.fault("press_estop")
    assert drive(rig, 10) == 0
    stands_still(rig)
    reading = rig.backend.reading()
    assert "turn the button to release it" in reading.trouble and not reading.enabled
    with pytest.raises(BackendError, match="is pressed"):
        rig.backend.clear()
    rig.mend("press_estop")
    rig.advance(0.1)
    assert "released, but the robot is still stopped: clear" in rig.backend.reading().trouble
    assert sent(rig, topics.RESET) == []
    rig.backend.clear()
    rig.advance(0.2)
    reading = rig.backend.reading()
    assert (reading.trouble, reading.enabled) == ("", False)
    assert not rig.intera.enabled


def test_motors_that_were_asked_for_before_an_emergency_stop_stay_off_after_it():
    with SawyerRig() as rig:
        rig.backend.connect()
        rig.advance(0.1)
        rig.fault("refuse_enable")
        rig.backend.enable()
        rig.advance(0.3)
        rig.fault("press_estop")
        rig.advance(0.1)
        rig.mend("press_estop")
        rig.mend("refuse_enable")
        somebody(rig, topics.RESET, {})
        asked = len(sent(rig, topics.ENABLE))
        rig.advance(0.5)
        assert len(sent(rig, topics.ENABLE)) == asked
        assert not rig.intera.enabled


def test_an_arm_that_is_disabled_in_motion_stays_so_even_if_somebody_else_enables_it(rig):
    drive(rig, 10)
    rig.fault("disable_motors")
    rig.mend("disable_motors")
    assert drive(rig, 10) <= 1
    assert not rig.backend.reading().enabled
    somebody(rig, topics.ENABLE, {"data": True})
    rig.advance(0.1)
    assert rig.intera.enabled and not rig.backend.reading().enabled
    assert drive(rig, 10) == 0
    stands_still(rig)


def test_joint_states_that_stop_end_the_commands(rig):
    drive(rig, 5)
    rig.fault("freeze_joints")
    taken = drive(rig, 100)
    assert taken <= rig.backend.config.silence / PERIOD + 1
    with pytest.raises(BackendError, match=r"no joint states for 0\.2\d s"):
        rig.backend.command(rig.joints(), np.zeros(7))
    rig.backend.hold()  # standing still needs no joints
    rig.advance(0.3)
    stands_still(rig)
    rig.mend("freeze_joints")
    rig.advance(0.1)
    assert drive(rig, 5) == 5


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("repeat_joints", "no newer than the last"),
        ("miss_joint", "lack the position of right_j3"),
        ("nan_joints", "not finite"),
    ],
)
def test_joint_states_that_make_no_sense_are_dropped_counted_and_end_the_commands(
    rig, fault, problem
):
    rig.fault(fault)
    frozen = rig.backend.reading().stamp
    rig.advance(0.2)
    assert rig.backend.reading().stamp <= frozen + PERIOD
    ((text, count),) = rig.backend.problems().items()
    assert problem in text
    assert count >= 19
    assert drive(rig, 1) == 0
    rig.mend(fault)
    rig.advance(0.05)
    assert drive(rig, 5) == 5
    assert rig.backend.problems() == {text: count}


def test_a_robot_that_no_longer_says_how_it_is_counts_as_off(rig):
    rig.fault("silent_state")
    rig.advance(rig.backend.config.state_silence + 0.1)
    reading = rig.backend.reading()
    assert not reading.enabled
    assert "state is 1.1 s old" in reading.trouble
    assert drive(rig, 1) == 0
    with pytest.raises(BackendError, match="s old: check robot"):
        rig.backend.enable()
    rig.mend("silent_state")
    rig.advance(0.1)
    assert rig.backend.reading().trouble == ""


def test_an_error_that_lasts_cannot_be_cleared_and_says_so():
    with SawyerRig(patience=1.0) as rig:
        enabled(rig)
        drive(rig, 5)
        rig.fault("robot_error")
        rig.advance(0.1)
        assert "stopped by a fault of a joint: clear" in rig.backend.reading().trouble
        stands_still(rig, 0.2)
        rig.backend.clear()
        with pytest.raises(BackendError, match="not answered the last stop or reset"):
            rig.backend.enable()
        rig.advance(1.1)
        rig.mend("robot_error")
        rig.advance(0.1)
        assert "stopped by a fault" in rig.backend.reading().trouble  # nobody asked again
        rig.backend.clear()
        rig.advance(0.2)
        assert rig.backend.reading().trouble == ""
        rig.backend.enable()
        rig.advance(0.1)
        assert rig.backend.reading().enabled


def test_motors_that_do_not_come_on_are_given_up_and_named():
    with SawyerRig(patience=1.0) as rig:
        rig.backend.connect()
        rig.advance(0.1)
        rig.fault("refuse_enable")
        rig.backend.enable()
        rig.advance(0.9)
        assert rig.backend.reading().trouble == ""
        assert 9 <= len(sent(rig, topics.ENABLE)) <= 10  # every 0.1 s
        rig.advance(0.2)
        assert "did not turn its motors on within 1 s" in rig.backend.reading().trouble
        rig.mend("refuse_enable")
        asked = len(sent(rig, topics.ENABLE))
        rig.advance(0.3)
        assert len(sent(rig, topics.ENABLE)) == asked
        # Whoever enables it now, it was not us.
        somebody(rig, topics.ENABLE, {"data": True})
        rig.advance(0.1)
        assert not rig.backend.reading().enabled
        rig.backend.clear()
        assert rig.backend.reading().trouble == ""
        rig.backend.enable()
        assert rig.backend.reading().enabled


def test_a_stop_is_repeated_until_the_robot_says_so_and_needs_no_second(rig):
    drive(rig, 5)
    rig.backend.stop()
    rig.advance(0.5)
    assert len(sent(rig, topics.STOP)) == 1
    assert sent(rig, topics.COMMAND)[-1]["velocity"] == [0.0] * 7
    assert "stopped by an unknown source" in rig.backend.reading().trouble
    rig.fault("silent_state")  # the stop is obeyed, but nobody says so
    somebody(rig, topics.RESET, {})
    rig.backend.clear()
    rig.mend("silent_state")
    rig.advance(0.1)
    rig.fault("silent_state")
    rig.backend.stop()
    rig.advance(0.5)
    assert len(sent(rig, topics.STOP)) == 1 + 6


def test_a_stop_outlives_an_enable_that_was_pending():
    with SawyerRig() as rig:
        rig.backend.connect()
        rig.advance(0.1)
        rig.fault("slow_ack")
        rig.backend.enable()
        rig.advance(0.5)
        rig.backend.stop()
        rig.advance(2.0)
        assert not rig.intera.enabled
        assert not rig.backend.reading().enabled


def test_asking_for_motors_off_ends_asking_for_them_on(rig):
    rig.backend.disable()
    rig.advance(0.2)
    assert not rig.intera.enabled
    assert drive(rig, 1) == 0
    assert rig.backend.reading().trouble == ""
    rig.backend.clear()  # nothing to clear
    rig.advance(0.1)
    assert sent(rig, topics.RESET) == []


def test_a_collision_ends_the_commands_until_it_is_enabled_again(rig):
    drive(rig, 5)
    rig.fault("collide")
    assert drive(rig, 20) <= 6
    reading = rig.backend.reading()
    assert "feels a collision: free the arm" in reading.trouble and not reading.enabled
    rig.advance(0.3)
    stands_still(rig)
    with pytest.raises(BackendError, match="collision"):
        rig.backend.enable()
    rig.mend("collide")
    rig.advance(0.1)
    assert rig.backend.reading().trouble == ""
    assert drive(rig, 1) == 0
    rig.backend.enable()
    assert drive(rig, 5) == 5


def test_forces_of_the_hand_are_read_while_they_come(rig):
    rig.intera.push((1.0, 2.0, 3.0, 0.1, 0.2, 0.3))
    rig.advance(0.05)
    np.testing.assert_allclose(rig.backend.reading().wrench, (1, 2, 3, 0.1, 0.2, 0.3))
    rig.fault("drop_link")
    rig.mend("drop_link")
    while rig.backend.reading() is None:
        rig.advance(PERIOD)
    assert rig.backend.reading().wrench is not None
