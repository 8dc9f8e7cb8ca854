# SPDX-License-Identifier: Apache-2.0
"""The simulated table on a real graph: lock-step, real time, refused commands, judging."""

import math
import time

import numpy as np
import pytest
from ptp_interfaces.msg import ArmState, CartesianDelta, ErrorCode, Observation
from ptp_interfaces.srv import JudgeEpisode, ResetScene
from rcl_interfaces.msg import Log
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState

from ptp_robot.action import ActionScale
from ptp_ros.graph_testing import Graph, parameters
from ptp_ros.image_messages import image_to_array
from ptp_ros.topics import (
    ARM_STATE,
    COMMANDS,
    IMAGE_RAW,
    LATCHED,
    OBSERVATION,
    POLICY_COMMAND,
    RECORDS,
    SENSOR,
)
from ptp_sim.env import make_env
from ptp_sim.goal_images import PlanFailed
from ptp_sim.long_env import LongTableEnv
from ptp_sim.sim_bridge_node import SimBridgeNode

SEED = 11


@pytest.fixture
def graph():
    with Graph() as graph:
        yield graph


def start(graph, mode, **values):
    options = parameters({"mode": mode, **values})
    graph.add(SimBridgeNode(context=graph.context, parameter_overrides=options))


def reset(graph, task="A", seed=SEED):
    request = ResetScene.Request(task=task, protocol="paper", seed=seed)
    return graph.call(ResetScene, "reset_scene", request)


def judge(graph, seq):
    return graph.call(JudgeEpisode, "judge_episode", JudgeEpisode.Request(observation_seq=seq))


def command(action, seq, **changes):
    delta = ActionScale().to_delta(np.asarray(action, np.float32))
    changes = {"observation_seq": seq, **changes}
    message = CartesianDelta(seq=seq, **{**vars(delta), **changes})
    message.header.frame_id = "base"
    return message


@pytest.fixture
def actions():
    return np.random.default_rng(5).uniform(-1, 1, (6, 5)).astype(np.float32)


def test_the_table_of_the_long_tasks_sets_them_up_with_their_words(graph):
    start(graph, "lock_step", table="long_table")
    seen = graph.collect(Observation, OBSERVATION, LATCHED)
    response = reset(graph, "long_2")
    assert (response.error_msg, response.error_code) == ("", ErrorCode.NONE)
    env = LongTableEnv()
    image, info = env.reset(seed=SEED, options={"task": "long_2", "protocol": "paper"})
    assert response.instruction == info["instruction"] == env.instructions["long_2"]
    graph.wait(lambda: seen, "the first picture")
    assert np.array_equal(image_to_array(seen[0].images[0]), image)


def test_lock_step_shows_the_same_pictures_as_the_environment(graph, actions):
    start(graph, "lock_step")
    seen = graph.collect(Observation, OBSERVATION, LATCHED)
    states = graph.collect(ArmState, ARM_STATE, RECORDS)
    clock = graph.collect(Clock, "/clock", COMMANDS)
    commands = graph.publisher(CartesianDelta, POLICY_COMMAND, COMMANDS)
    response = reset(graph)
    assert (response.error_code, response.control_rate) == (ErrorCode.NONE, 0.0)
    first = response.observation_seq
    for step, action in enumerate(actions):
        graph.wait(lambda: len(seen) == step + 1, "the next picture")  # noqa: B023
        commands.publish(command(action, first + step))
    graph.wait(lambda: len(seen) == len(actions) + 1, "the last picture")

    env = make_env()
    image, info = env.reset(seed=SEED, options={"task": "A", "protocol": "paper"})
    assert np.array_equal(image_to_array(response.goal.images[0]), info["goal_image"])
    assert (response.goal.cameras, response.goal.instruction) == (["camera"], "")
    assert response.instruction == info["instruction"] != ""
    expected = [(image, info)]
    for action in actions:
        image, *_, info = env.step(action)
        expected.append((image, info))
    names = [channel["name"] for channel in env.dataset_attributes()["proprioception_channels"]]
    for message, (picture, info) in zip(seen, expected, strict=True):
        assert message.cameras == ["camera"]
        assert np.array_equal(image_to_array(message.images[0]), picture)
        assert message.proprioception_names == names
        assert np.array_equal(message.proprioception, info["proprioception"])
    assert [m.seq for m in seen] == list(range(first, first + len(seen)))
    graph.wait(lambda: states[-1].observation_seq == seen[-1].seq, "the last state")
    tcp = env.world.state().tcp
    pose = states[-1].pose
    assert (pose.position.x, pose.position.y, pose.position.z) == tuple(tcp)
    assert states[-1].command_seq == seen[-1].seq - 1
    # Simulated time: one control step a picture; every fourth is on the clock.
    step_ns = round(env.world.step_seconds * 1e9)
    stamps = [m.header.stamp for m in seen]
    expected_times = stamps[:: len(stamps) // 2 + 1]
    graph.wait(lambda: len(clock) >= len(expected_times), "the clock")
    assert [c.clock for c in clock] == expected_times
    before, after = (Time.from_msg(stamp).nanoseconds for stamp in stamps[:2])
    assert after - before == pytest.approx(step_ns, abs=2)
    env.close()


def test_the_judge_agrees_with_the_environment_and_does_not_look_ahead(graph):
    start(graph, "lock_step")
    assert judge(graph, 0).error_code == ErrorCode.BAD_REQUEST
    first = reset(graph).observation_seq
    verdict = judge(graph, first)
    env = make_env()
    info = env.reset(seed=SEED, options={"task": "A", "protocol": "paper"})[1]
    env.close()
    assert (verdict.error_code, verdict.success) == (ErrorCode.NONE, info["success"])
    assert verdict.first_success == -1
    assert dict(zip(verdict.check_names, verdict.check_values, strict=True)) == info["parts"]
    early = judge(graph, first + 1)
    assert early.error_code == ErrorCode.BAD_REQUEST
    assert "yet to come" in early.error_msg


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (ResetScene.Request(task="G", protocol="paper"), "G"),
        (ResetScene.Request(task="A", protocol="loose"), "loose"),
        (ResetScene.Request(task="demonstration", protocol="paper"), "goal"),
        (ResetScene.Request(task="A", protocol="paper", seed=2**40), "too large"),
    ],
)
def test_a_scene_that_does_not_exist_is_refused_and_the_node_lives_on(graph, request_, text):
    start(graph, "lock_step")
    response = graph.call(ResetScene, "reset_scene", request_)
    assert response.error_code == ErrorCode.BAD_REQUEST
    assert text in response.error_msg
    # Nor does it take the scene that stands there.
    states = graph.collect(ArmState, ARM_STATE, RECORDS)
    commands = graph.publisher(CartesianDelta, POLICY_COMMAND, COMMANDS)
    first = reset(graph).observation_seq
    assert graph.call(ResetScene, "reset_scene", request_).error_code == ErrorCode.BAD_REQUEST
    commands.publish(command([1, 0, 0, 0, 0], first))
    graph.wait(lambda: any(state.moved for state in states), "a motion in that scene")
    verdict = judge(graph, first + 1)
    assert (verdict.error_code, verdict.steps) == (ErrorCode.NONE, 1)


def test_a_scene_that_cannot_be_set_up_leaves_none_and_nothing_moves(graph, monkeypatch):
    start(graph, "lock_step")
    logs = graph.logs()
    commands = graph.publisher(CartesianDelta, POLICY_COMMAND, COMMANDS)
    first = reset(graph).observation_seq

    def fails(*arguments):
        raise PlanFailed("no scene could be solved")

    monkeypatch.setattr("ptp_sim.env.make_goal", fails)
    request = ResetScene.Request(task="A", protocol="varied", seed=1)
    assert graph.call(ResetScene, "reset_scene", request).error_code == ErrorCode.UNAVAILABLE
    commands.publish(command([1, 0, 0, 0, 0], first))
    logs.expect("holding still: an answer to observation", Log.WARN)
    assert judge(graph, first).error_code == ErrorCode.BAD_REQUEST
    monkeypatch.undo()
    assert reset(graph).error_code == ErrorCode.NONE


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"dx": math.nan}, "not finite"), ({"dy": 0.2}, "at most 0.05 m")],
)
def test_a_mad_command_moves_nothing_and_is_named(graph, changes, text):
    start(graph, "lock_step")
    logs = graph.logs()
    seen = graph.collect(Observation, OBSERVATION, LATCHED)
    states = graph.collect(ArmState, ARM_STATE, RECORDS)
    commands = graph.publisher(CartesianDelta, POLICY_COMMAND, COMMANDS)
    first = reset(graph).observation_seq
    graph.wait(lambda: len(states) == 1, "the first state")
    commands.publish(command([1, 0, 0, 0, 0], first, **changes))
    logs.expect(text, Log.ERROR)
    graph.wait(lambda: len(states) == 2, "the refusal")
    assert states[1].error_code == ErrorCode.BAD_COMMAND
    assert states[1].holding
    assert states[1].pose == states[0].pose
    assert len(seen) == 1
    commands.publish(command([1, 0, 0, 0, 0], first))
    graph.wait(lambda: len(seen) == 2, "the picture after a good command")


def test_the_state_tells_where_the_tool_was_told_to_be_and_where_it_is(graph):
    start(graph, "lock_step")
    states = graph.collect(ArmState, ARM_STATE, RECORDS)
    commands = graph.publisher(CartesianDelta, POLICY_COMMAND, COMMANDS)
    first = reset(graph).observation_seq
    graph.wait(lambda: len(states) == 1, "the first state")
    asked = command([0, -1, 0, 0, 0], first)
    commands.publish(asked)
    graph.wait(lambda: len(states) == 2, "the second state")
    before, after = states
    at, told_before = before.pose.position, before.setpoint.position
    assert (told_before.x, told_before.y) == pytest.approx((at.x, at.y), abs=1e-3)
    told = before.pose.position.y + asked.dy
    assert after.setpoint.position.y == pytest.approx(told)
    assert told < after.pose.position.y < before.pose.position.y


def test_an_answer_to_an_old_picture_moves_nothing(graph):
    start(graph, "lock_step")
    seen = graph.collect(Observation, OBSERVATION, LATCHED)
    commands = graph.publisher(CartesianDelta, POLICY_COMMAND, COMMANDS)
    first = reset(graph).observation_seq
    commands.publish(command([1, 0, 0, 0, 0], first))
    graph.wait(lambda: len(seen) == 2, "the second picture")
    commands.publish(command([1, 0, 0, 0, 0], first))
    commands.publish(command([0, 1, 0, 0, 0], first + 1))
    graph.wait(lambda: len(seen) == 3, "the third picture")
    assert judge(graph, first).steps == 2


@pytest.mark.process
def test_an_answer_that_is_too_old_moves_nothing_and_another_picture_of_the_scene_follows(graph):
    start(graph, "lock_step", age_limit=0.05)
    seen = graph.collect(Observation, OBSERVATION, LATCHED)
    states = graph.collect(ArmState, ARM_STATE, RECORDS)
    commands = graph.publisher(CartesianDelta, POLICY_COMMAND, COMMANDS)
    first = reset(graph).observation_seq
    graph.wait(lambda: len(states) == len(seen) == 1, "the first picture")
    time.sleep(0.06)  # the fault itself: whoever answers stalls
    commands.publish(command([1, 0, 0, 0, 0], first))
    graph.wait(lambda: len(states) == len(seen) == 2, "another picture")
    assert states[1].error_code == ErrorCode.STALE_OBSERVATION
    assert "s old, at most 0.05 s is allowed" in states[1].error_msg
    assert (states[1].moved, states[1].observation_seq) == (False, first + 1)
    assert states[1].pose == states[0].pose
    assert np.array_equal(*(image_to_array(message.images[0]) for message in seen))
    assert judge(graph, first).steps == 0


def test_whoever_asks_to_hold_gets_another_picture_in_lock_step(graph):
    start(graph, "lock_step")
    seen = graph.collect(Observation, OBSERVATION, LATCHED)
    states = graph.collect(ArmState, ARM_STATE, RECORDS)
    commands = graph.publisher(CartesianDelta, POLICY_COMMAND, COMMANDS)
    first = reset(graph).observation_seq
    commands.publish(command([0, 0, 0, 0, 0], first, observation_seq=0, gripper=0.0))
    graph.wait(lambda: len(states) == len(seen) == 2, "another picture")
    assert states[1].error_code == ErrorCode.NONE
    assert judge(graph, first).steps == 0


@pytest.mark.parametrize("mode", ["lock_step", "real_time"])
@pytest.mark.parametrize("seq", [0, 1, 2**32 - 1])
def test_an_answer_to_no_or_an_unknown_observation_moves_nothing_and_locks_nobody_out(
    graph, mode, seq
):
    start(graph, mode, rate=20.0, age_limit=5.0, patience=100)
    states = graph.collect(ArmState, ARM_STATE, RECORDS)
    commands = graph.publisher(CartesianDelta, POLICY_COMMAND, COMMANDS)
    logs = graph.logs()
    first = reset(graph).observation_seq
    commands.publish(command([1, 0, 0, 0, 0], seq=1, observation_seq=seq))
    logs.expect("holding still: ", Log.WARN)
    assert judge(graph, first).steps == 0
    commands.publish(command([1, 0, 0, 0, 0], first))
    graph.wait(lambda: any(state.moved for state in states), "the real policy's motion")


@pytest.mark.process
def test_in_real_time_pictures_come_on_their_own_and_commands_move_the_arm(graph):
    start(graph, "real_time", rate=50.0)
    seen = graph.collect(Observation, OBSERVATION, LATCHED)
    states = graph.collect(ArmState, ARM_STATE, RECORDS)
    joints = graph.collect(JointState, "joint_states", COMMANDS)
    pictures = graph.collect(Image, IMAGE_RAW, SENSOR)
    commands = graph.publisher(CartesianDelta, POLICY_COMMAND, COMMANDS)
    response = reset(graph)
    assert response.control_rate == 50.0
    graph.wait(lambda: len(seen) >= 3, "pictures")
    still = states[-1]
    assert still.holding
    assert still.executed_dx == 0.0
    commands.publish(command([-1, 0, 0, 0, 0], seen[-1].seq))
    graph.wait(lambda: states[-1].command_seq or any(s.command_seq for s in states), "motion")
    moved = next(s for s in states if s.command_seq)
    assert moved.executed_dx < -0.005
    assert not moved.holding
    assert moved.latency > 0.0
    assert joints[-1].name == [*moved.joint_names, "gripper_l_finger_joint"]
    assert 0.0 < joints[-1].position[7] < 0.039  # closing half way, metres
    graph.wait(lambda: pictures, "a picture for people")
    assert (pictures[-1].width, pictures[-1].encoding) == (240, "rgb8")


def test_a_restarted_bridge_never_repeats_a_number(graph):
    numbers = []
    for _ in range(2):
        node = SimBridgeNode(
            context=graph.context, parameter_overrides=parameters({"mode": "lock_step"})
        )
        graph.add(node)
        numbers.append(reset(graph).observation_seq)
        graph.remove(node)
    assert numbers[1] > numbers[0]
