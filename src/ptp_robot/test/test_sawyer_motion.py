# SPDX-License-Identifier: Apache-2.0
"""The last limits before a Sawyer, in both modes, and its gripper."""

import json

import numpy as np
import pytest

from ptp_core.config.loading import from_dict
from ptp_core.errors import ConfigError
from ptp_robot.backends import sawyer_messages as topics
from ptp_robot.backends.backend import BackendError, NoGripper
from ptp_robot.backends.sawyer import SawyerBackend, SawyerConfig
from ptp_robot.backends.sawyer_messages import JointLimits
from ptp_robot.backends.sawyer_state import STROKE, bounded_target, bounded_velocity
from ptp_robot.fakes.sawyer_rig import SawyerRig

PERIOD = 0.01  # s
LIMITS = JointLimits(np.full(7, -2.0), np.full(7, 2.0), np.full(7, 1.5))
STILL = np.zeros(7)


def enabled(rig):
    rig.backend.connect()
    rig.advance(0.1)
    rig.backend.enable()
    rig.advance(0.1)
    assert rig.backend.reading().enabled


def sent(rig, topic):
    rig.settle()
    return [message for name, message in rig.intera.bridge.received if name == topic]


def test_whatever_is_asked_no_joint_is_sent_faster_than_its_share_or_beyond_its_limit():
    rng = np.random.default_rng(3)
    config = SawyerConfig(speed_ratio=0.3)
    for _ in range(2000):
        scale = 10.0 ** rng.uniform(-3, 3)
        dq = rng.normal(size=7) * scale
        here = rng.uniform(-2.1, 2.1, 7)
        velocity = bounded_velocity(dq, here, LIMITS, config)
        assert np.abs(velocity).max() <= 0.3 * 1.5 + 1e-12
        assert not (velocity[here >= 2.0] > 0).any() and not (velocity[here <= -2.0] < 0).any()


def test_whatever_is_asked_a_target_is_a_small_step_near_the_arm_within_its_limits():
    rng = np.random.default_rng(4)
    config = SawyerConfig(interface="position", step=0.02, leash=0.1)
    last = np.zeros(7)
    for _ in range(2000):
        here = np.clip(last + rng.uniform(-0.05, 0.05, 7), -2.0, 2.0)
        q = rng.normal(size=7) * 10.0 ** rng.uniform(-3, 3)
        target, short = bounded_target(q, last, here, LIMITS, config)
        assert np.abs(target - last).max() <= 0.02 + 1e-12
        assert np.abs(target - here).max() <= 0.1 + 1e-12
        assert np.abs(target).max() <= 2.0
        assert short == (np.abs(target - q).max() > 1e-9)
        last = target


def test_a_target_comes_back_to_an_arm_that_was_moved_by_hand():
    config = SawyerConfig(interface="position")
    target, _ = bounded_target(STILL, STILL, np.full(7, 0.5), LIMITS, config)
    np.testing.assert_allclose(target, 0.4)


def test_the_robots_own_limits_hold_where_they_are_narrower():
    with SawyerRig(robot={"narrower": 0.5}) as rig:
        urdf = rig.backend.limits
        enabled(rig)
        limits = rig.backend.limits
        np.testing.assert_allclose(limits.lower, urdf.lower + 0.5)
        np.testing.assert_allclose(limits.upper, urdf.upper - 0.5)
        np.testing.assert_array_equal(limits.velocity, urdf.velocity)
        assert rig.backend.problems() == {}


def test_limits_of_the_urdf_hold_where_the_robot_names_wider_ones_or_none():
    with SawyerRig(robot={"narrower": -0.5}) as rig:
        urdf = rig.backend.limits
        enabled(rig)
        np.testing.assert_array_equal(rig.backend.limits.lower, urdf.lower)


def test_a_velocity_goes_out_by_joint_name_at_the_rate_of_the_driver():
    with SawyerRig() as rig:
        enabled(rig)
        here, dq = rig.joints(), np.linspace(-0.1, 0.1, 7)
        for number in range(1, 4):
            rig.backend.command(here, dq)
            assert len(sent(rig, topics.COMMAND)) == number
        message = sent(rig, topics.COMMAND)[-1]
        assert message["mode"] == 2
        assert dict(zip(message["names"], message["velocity"])) == pytest.approx(
            {f"right_j{i}": dq[i] for i in range(7)}
        )
        assert message["position"] == message["acceleration"] == message["effort"] == []
        assert set(message["header"]["stamp"]) == {"secs", "nsecs"}


def test_position_mode_is_slow_goes_in_steps_and_holds_where_it_was_told():
    with SawyerRig(interface="position", speed_ratio=0.2) as rig:
        enabled(rig)
        assert rig.intera.arm.speed_ratio == 0.2
        start = rig.joints()
        far = start.copy()
        far[3] += 0.5
        rig.backend.command(far, STILL)
        (first,) = sent(rig, topics.COMMAND)
        assert first["mode"] == 1
        assert first["position"][3] == pytest.approx(start[3] + 0.02)
        assert "cut to a step" in next(iter(rig.backend.problems()))
        rig.advance(1.0)  # nothing more is said: it finishes its way, and that is short
        assert rig.joints()[3] == pytest.approx(start[3] + 0.02)
        for _ in range(10):
            rig.backend.command(far, STILL)
            rig.advance(PERIOD)
        # Faster than the arm can follow: the leash keeps the target near.
        assert sent(rig, topics.COMMAND)[-1]["position"][3] - rig.joints()[3] <= 0.1
        rig.backend.hold()
        held = sent(rig, topics.COMMAND)[-1]["position"]
        rig.advance(0.1)
        rig.backend.hold()
        assert sent(rig, topics.COMMAND)[-1]["position"] == held  # it does not creep
        rig.advance(0.5)
        assert rig.joints()[3] == pytest.approx(held[3])


def test_the_gripper_is_told_until_it_says_that_it_heard():
    with SawyerRig() as rig:
        enabled(rig)
        rig.fault("slow_ack")
        rig.backend.grip(1.0)
        rig.advance(0.55)
        orders = sent(rig, topics.GRIPPER_COMMAND)
        assert len(orders) == 6  # at once, then every 0.1 s
        assert all(order == orders[0] for order in orders)  # the stamp is its number
        assert json.loads(orders[0]["args"]) == {
            "signals": {"position_m": {"format": {"type": "float"}, "data": [0.0]}}
        }
        rig.advance(2.0)
        assert 10 <= len(sent(rig, topics.GRIPPER_COMMAND)) <= 12
        assert rig.intera.opening == pytest.approx(0.0)
        assert rig.backend.reading().gripper == pytest.approx(1.0)
        assert rig.backend.problems() == {}


def test_a_newer_wish_takes_the_place_of_an_older():
    with SawyerRig() as rig:
        enabled(rig)
        rig.backend.grip(1.0)
        rig.backend.grip(0.0)
        rig.advance(1.0)
        assert rig.intera.opening == pytest.approx(STROKE / 2)
        assert rig.backend.reading().gripper == pytest.approx(0.0, abs=1e-6)
        stamps = [json.dumps(m["time"]) for m in sent(rig, topics.GRIPPER_COMMAND)]
        assert len(set(stamps)) == 2


def test_a_gripper_that_does_not_answer_is_counted_and_given_up():
    with SawyerRig() as rig:
        enabled(rig)
        rig.fault("deaf_gripper")
        rig.backend.grip(1.0)
        rig.advance(2.5)
        assert rig.backend.problems() == {"gripper commands that were not acknowledged": 1}
        assert len(sent(rig, topics.GRIPPER_COMMAND)) == 20
        assert rig.backend.reading().enabled  # the arm goes on


def test_a_wish_for_the_gripper_does_not_outlive_its_connection():
    with SawyerRig() as rig:
        enabled(rig)
        rig.fault("deaf_gripper")
        rig.backend.grip(1.0)
        rig.advance(0.2)
        asked = len(sent(rig, topics.GRIPPER_COMMAND))
        rig.fault("drop_link")
        rig.advance(0.1)
        rig.mend("drop_link")
        rig.mend("deaf_gripper")
        rig.advance(0.5)
        assert len(sent(rig, topics.GRIPPER_COMMAND)) == asked
        assert rig.intera.opening == pytest.approx(STROKE)


def test_a_gripper_without_end_stops_is_calibrated_only_where_that_was_asked_for():
    with SawyerRig(robot={"gripper": "uncalibrated"}) as rig:
        enabled(rig)
        with pytest.raises(BackendError, match="not calibrated: take away what it holds"):
            rig.backend.grip(1.0)
    with SawyerRig(robot={"gripper": "uncalibrated"}, calibrate_gripper=True) as rig:
        enabled(rig)
        rig.advance(0.2)
        rig.backend.grip(1.0)
        rig.advance(1.0)
        assert rig.backend.reading().gripper == pytest.approx(1.0)


def test_a_robot_without_gripper_says_so():
    with SawyerRig(robot={"gripper": "none"}) as rig:
        enabled(rig)
        assert rig.backend.reading().gripper is None
        with pytest.raises(BackendError, match="says nothing: check that it is mounted"):
            rig.backend.grip(1.0)
    with SawyerRig(gripper="none") as rig:
        enabled(rig)
        assert rig.backend.reading().gripper is None
        with pytest.raises(NoGripper, match="no gripper"):
            rig.backend.grip(1.0)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"host": "http://robot"}, "a name or an IP address alone"),
        ({"host": ""}, "a name"),
        ({"port": 0}, "port is 0"),
        ({"speed_ratio": 0.6}, "at most 0.5"),
        ({"speed_ratio": 0.4, "interface": "position"}, "at most 0.3"),
        ({"speed_ratio": 0.05, "interface": "position"}, "at least 0.1"),
        ({"step": 0.05}, "at most 0.02"),
        ({"leash": 0.001}, "leash is 0.001"),
        ({"command_timeout": 2.0}, "at most 0.5"),
        ({"reconnect_longest": 60.0}, "at most 10"),
        ({"gripper": "vacuum"}, 'one of "electric", "none"'),
        ({"speed": 1.0}, 'did you mean "backend.speed_ratio"'),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(values, reason):
    with pytest.raises(ConfigError, match=reason):
        from_dict(SawyerConfig, values, prefix="backend.")


@pytest.mark.parametrize(
    ("q", "dq"),
    [(np.zeros(6), np.zeros(7)), (np.zeros(7), np.zeros(8)), (np.zeros((7, 1)), np.zeros(7))],
)
def test_a_command_of_another_shape_is_refused(q, dq):
    with pytest.raises(BackendError, match="a command is"):
        SawyerBackend(SawyerConfig()).command(q, dq)
