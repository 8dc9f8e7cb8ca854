# SPDX-License-Identifier: Apache-2.0
"""A Sawyer's messages: read by name, in ROS 1 JSON, and never believed when they make no sense."""

import copy
import json
import math

import numpy as np
import pytest

from ptp_robot.backends import sawyer_messages as topics
from ptp_robot.backends.sawyer_messages import (
    BadMessage,
    RobotState,
    acknowledged,
    gripper_command,
    joint_command,
    joints_of,
    limits_of,
    ros_time,
    seconds_of,
    signals_of,
    wrench_of,
)
from ptp_robot.backends.sawyer_state import Gripper, Handshakes, Problems, SawyerState
from ptp_robot.fakes import fake_sawyer_robot as fake
from ptp_robot.kinematics import ARM_JOINTS

Q, DQ = np.arange(7) / 10.0, -np.arange(7) / 100.0
HEADER = {"seq": 1, "stamp": ros_time(12.5), "frame_id": ""}
STATE = {
    "homed": True,
    "ready": True,
    "enabled": True,
    "stopped": False,
    "error": False,
    "lowVoltage": False,
    "estop_button": 0,
    "estop_source": 0,
}
MESSAGES = {
    topics.JOINTS: fake.joint_states(HEADER, ARM_JOINTS, Q, DQ),
    topics.STATE: STATE,
    topics.LIMITS: fake.joint_limits(ARM_JOINTS, Q - 1.0, Q + 1.0, np.ones(7)),
    topics.ENDPOINT: fake.endpoint_state(HEADER, Q[:3], np.eye(3), np.arange(6.0)),
    topics.COLLISION: {"header": HEADER, "collision_state": True},
    topics.GRIPPER_STATE: fake.device_status(
        ros_time(1.0), {"position_response_m": 0.02, "is_calibrated": True}, [ros_time(0.5)]
    ),
}


def heard():
    return SawyerState(1, ARM_JOINTS, Gripper(Handshakes(0.1), 2.0))


def test_joints_are_found_by_name_whatever_their_order_and_company():
    message = copy.deepcopy(MESSAGES[topics.JOINTS])
    order = np.random.default_rng(0).permutation(len(message["name"]))
    for key in ("name", "position", "velocity", "effort"):
        message[key] = [message[key][i] for i in order]
    stamp, q, dq = joints_of(message, ARM_JOINTS)
    assert stamp == 12.5
    np.testing.assert_array_equal(q, Q)
    np.testing.assert_array_equal(dq, DQ)


def test_what_only_the_head_lacks_does_not_matter():
    message = copy.deepcopy(MESSAGES[topics.JOINTS])
    message["position"][message["name"].index("head_pan")] = None
    np.testing.assert_array_equal(joints_of(message, ARM_JOINTS)[1], Q)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"position": []}, "lack the position of right_j0, right_j1"),
        ({"velocity": [0.0] * 5}, "lack the velocity of right_j4"),
        ({"position": [None] * 9}, "not finite"),
        ({"velocity": [math.inf] * 9}, "not finite"),
        ({"position": ["x"] * 9}, "no number"),
        ({"position": [[1.0]] * 9}, "not finite|no number"),
        ({"name": None}, "lack name"),
        ({"name": [[]] * 9}, "name that is none"),
        ({"header": None}, "ROS 1"),
        ({"header": {"stamp": {"sec": 1, "nanosec": 2}}}, "ROS 1"),
    ],
)
def test_joint_states_that_make_no_sense_are_refused(change, reason):
    with pytest.raises(BadMessage, match=reason):
        joints_of({**MESSAGES[topics.JOINTS], **change}, ARM_JOINTS)


def test_whatever_a_message_holds_it_is_either_refused_or_finite():
    rng = np.random.default_rng(5)
    junk = [None, True, -1, 1e308, math.nan, "", "[", "{}", [], [None], {}, {"a": 1}, "x" * 50]

    def spoil(value):
        """Replace or remove something in a dict or list at random."""
        key = rng.integers(len(value))
        if isinstance(value, dict):
            key = list(value)[key]
            if rng.random() < 0.2:
                del value[key]
                return value
        if isinstance(value[key], (dict, list)) and value[key] and rng.random() < 0.8:
            spoil(value[key])
        else:
            value[key] = junk[rng.integers(len(junk))]
        return value

    refused = 0
    for topic, message in MESSAGES.items():
        for _ in range(600):
            robot = heard()
            try:
                robot.take(topic, spoil(copy.deepcopy(message)), 1.0)
            except BadMessage:
                refused += 1
            assert np.isfinite(robot.q).all() and np.isfinite(robot.dq).all()
            opening = robot.gripper.opening()
            assert opening is None or -1.0 <= opening <= 1.0
            wrench = robot.wrench(1.0, 0.2)
            assert wrench is None or np.isfinite(wrench).all()
            if robot.state is not None:
                assert isinstance(robot.state.trouble(), str)
    assert refused > 500


def test_a_robot_whose_clock_is_set_back_is_heard_again():
    robot = heard()
    message = copy.deepcopy(MESSAGES[topics.JOINTS])
    for stamp, now, accepted in ((12.5, 1.0, True), (12.49, 2.0, False), (3.0, 3.0, True)):
        message["header"]["stamp"] = ros_time(stamp)
        if accepted:
            robot.take(topics.JOINTS, message, now)
            assert robot.joints_at == now
        else:
            with pytest.raises(BadMessage, match="no newer"):
                robot.take(topics.JOINTS, message, now)
    message["header"]["stamp"] = ros_time(0.0)  # who sends no stamps cannot repeat one
    robot.take(topics.JOINTS, message, 4.0)
    robot.take(topics.JOINTS, message, 5.0)
    assert robot.joints_at == 5.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"stopped": True, "estop_button": 1, "estop_source": 1}, "turn the button"),
        ({"stopped": True, "estop_button": 3, "estop_source": 1}, "was released"),
        ({"stopped": True, "estop_button": 2, "estop_source": 3}, "by a fault of a joint"),
        ({"stopped": True, "estop_source": 99}, "stopped by software"),
        ({"error": True}, "reports an error"),
        ({"lowVoltage": True}, "low voltage"),
    ],
)
def test_each_state_that_keeps_the_robot_from_moving_has_its_cure(change, words):
    trouble = RobotState.of({**STATE, **change}).trouble()
    assert words in trouble
    assert bool(trouble) == bool(words)
    assert not words or any(cure in trouble for cure in ("clear", "restart"))


def test_limits_and_wrenches_that_say_nothing_are_refused_or_none():
    limits = MESSAGES[topics.LIMITS]
    with pytest.raises(BadMessage, match="empty"):
        limits_of({**limits, "velocity": [0.0] * 8}, ARM_JOINTS)
    with pytest.raises(BadMessage, match="empty"):
        limits_of({**limits, "position_lower": [9.0] * 8}, ARM_JOINTS)
    endpoint = MESSAGES[topics.ENDPOINT]
    np.testing.assert_array_equal(wrench_of(endpoint), np.arange(6))
    assert wrench_of({**endpoint, "valid": False}) is None
    with pytest.raises(BadMessage, match="lacks its wrench"):
        wrench_of({**endpoint, "wrench": {"force": {}}})


def test_times_keep_their_nanoseconds():
    assert ros_time(1763000000.25) == {"secs": 1763000000, "nsecs": 250000000}
    assert ros_time(0.9999999999) == {"secs": 1, "nsecs": 0}
    assert seconds_of(ros_time(1234.5)) == 1234.5


def test_commands_are_json_of_the_robots_own_types():
    command = joint_command(1, ARM_JOINTS, Q, 2.5)
    assert json.loads(json.dumps(command)) == command
    assert set(command) == fake.FIELDS["intera_core_msgs/JointCommand"]
    stamp = ros_time(2.5)
    order = gripper_command(stamp, "position_m", "float", 0.04)
    assert set(order) == fake.FIELDS["intera_core_msgs/IOComponentCommand"]
    assert json.loads(order["args"])["signals"]["position_m"]["data"] == [0.04]
    assert acknowledged({"commands": [ros_time(1.0), stamp]}, stamp)
    assert not acknowledged({"commands": [ros_time(1.0)]}, stamp)
    assert not acknowledged({}, stamp)


def test_signals_of_the_gripper_are_read_out_of_their_json():
    signals = signals_of(MESSAGES[topics.GRIPPER_STATE])
    assert signals == {"position_response_m": 0.02, "is_calibrated": True}
    empty = {"signals": [{"name": "a", "data": "[]"}]}
    assert signals_of(empty) == {"a": None}
    with pytest.raises(BadMessage, match="gripper state"):
        signals_of({"signals": [{"name": "a", "data": "no JSON"}]})


def test_problems_keep_to_a_number_of_kinds():
    problems = Problems()
    for number in range(1000):
        problems.count(f"problem {number}")
        problems.count("problem 3")
    counts = problems.so_far()
    assert len(counts) == 50
    assert counts["problem 3"] >= 997


def test_a_handshake_is_dropped_done_or_failed_but_never_two_of_these():
    handshakes = Handshakes(0.1)
    done = []
    for name in ("a", "b", "c"):
        handshakes.ask(name, f"/{name}", {}, lambda n=name: n in done, 0.0, 1.0, f"{name} failed")
    assert [topic for topic, _ in handshakes.due(0.0)[0]] == ["/a", "/b", "/c"]
    assert handshakes.due(0.05) == ([], {})
    done.append("a")
    handshakes.drop("b")
    assert [topic for topic, _ in handshakes.due(0.1)[0]] == ["/c"]
    assert handshakes.pending("c") and not handshakes.pending("a")
    assert handshakes.due(1.0) == ([], {"c": "c failed"})
    assert handshakes.due(2.0) == ([], {})
