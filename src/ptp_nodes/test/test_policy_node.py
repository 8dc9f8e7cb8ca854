# SPDX-License-Identifier: Apache-2.0
"""The policy node acts as the library's agent does, and holds still when in doubt."""

import numpy as np
import pytest
import torch
from action_msgs.msg import GoalStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ptp_interfaces.msg import ErrorCode, Goal, Latent, SubgoalPlan
from rcl_interfaces.msg import Log
from std_msgs.msg import Float64

from ptp_core.agents.agent import AgentSeeds, LatentGoal, Observation
from ptp_core.agents.subgoal_agent import SubgoalAgent
from ptp_core.config import FollowerConfig
from ptp_core.data.trajectory import CARTESIAN
from ptp_core.practice.policy_library import FineTunedPolicies
from ptp_core.tiny_networks import tiny_checkpoint, tiny_finetuned
from ptp_core.training.checkpoint import load_checkpoint
from ptp_nodes.nodes.policy_node import SCALARS
from ptp_nodes.policy.agent_networks import weights_version
from ptp_robot.action import ActionScale
from ptp_ros.agent_messages import latent_message
from ptp_ros.topics import LATCHED

FIRST = 20  # number of the first observation
SEED = 77


@pytest.fixture
def start(start_policy):
    return start_policy


def is_hold(command):
    return (command.dx, command.dy, command.dz, command.dyaw) == (0.0, 0.0, 0.0, 0.0)


def decisions_of(agent, goal, plan, shown):
    """What the agent decides on codes ``shown`` while it pursues codes ``plan``, then ``goal``."""
    subgoals = [LatentGoal(codes) for codes in plan]
    agent.reset(Observation(), LatentGoal(goal), AgentSeeds(SEED, SEED), subgoals=subgoals)
    return [agent.act(Observation(latent=codes)) for codes in shown]


def test_commands_are_those_of_the_agent_to_the_bit(start):
    _, robot = start()
    plan = robot.draw(2)
    handle = robot.send(robot.request(max_steps=9, plan=plan))
    shown = robot.walk(9)
    answer = robot.graph.result(handle)
    decisions = decisions_of(SubgoalAgent(robot.checkpoint), robot.goal, plan, shown)
    scale = ActionScale()
    for command, decision in zip(robot.commands, decisions, strict=True):
        delta = scale.to_delta(decision.action)
        assert (command.dx, command.dy, command.dz) == (delta.dx, delta.dy, delta.dz)
        assert (command.dyaw, command.gripper) == (delta.dyaw, delta.gripper)
    assert not is_hold(robot.commands[0])
    assert [c.observation_seq for c in robot.commands] == list(range(FIRST, FIRST + 9))
    assert robot.commands[0].weights_version == weights_version(robot.checkpoint)
    assert (robot.commands[0].header.frame_id, robot.commands[0].source) == ("base", 0)
    result = answer.result
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert (result.steps, result.last_observation_seq, result.dropped) == (9, FIRST + 8, 0)
    # Both subgoals are behind, so the last target was the goal itself.
    assert result.distance == decisions[-1].distance
    assert sum(d.switched for d in decisions) == 2
    assert result.subgoals_timed_out == sum(d.timed_out for d in decisions)
    assert result.subgoals_reached + result.subgoals_timed_out == 2
    assert 0.0 < result.latency_p50 <= result.latency_p99


def test_a_goal_that_was_practised_is_pursued_with_the_policy_that_did(
    start, folder, tmp_path, graph
):
    node, robot = start()
    graph.remove(node)
    checkpoint = load_checkpoint(folder)
    goal = checkpoint.vqvae.lookup(torch.from_numpy(robot.goal.astype(np.int64)))
    path = tmp_path / "tuned" / "A.safetensors"
    tiny_finetuned(path, checkpoint, goal, 0.05)
    _, robot = start(finetuned=str(path.parent))
    robot.send(robot.request(max_steps=1))
    shown = robot.walk(1)
    policies = FineTunedPolicies(robot.checkpoint, path.parent)
    agent = SubgoalAgent(robot.checkpoint, policies=policies)
    (decision,) = decisions_of(agent, robot.goal, [], shown[:1])
    delta = ActionScale().to_delta(decision.action)
    assert (robot.commands[0].dx, robot.commands[0].dy) == (delta.dx, delta.dy)
    assert robot.commands[0].weights_version == policies.members[0].sha256[:12]


def test_every_step_is_reported_with_what_was_seen_pursued_and_done(start):
    _, robot = start()
    plan, feedback = robot.draw(1), []
    handle = robot.send(robot.request(max_steps=8, plan=plan), feedback)
    shown = robot.walk(8)
    robot.graph.result(handle)
    robot.graph.wait(lambda: len(robot.steps) == 8, "the steps")
    robot.graph.wait(lambda: feedback, "the feedback")
    assert [s.step for s in robot.steps] == list(range(8))
    assert [s.seq for s in robot.steps] == list(range(1, 9))
    # The tiny checkpoint gives a subgoal three steps; the policy sees the goal one step later.
    assert [s.subgoal_index for s in robot.steps] == [0] * 4 + [1] * 4
    for step, codes, command in zip(robot.steps, shown, robot.commands, strict=True):
        target = [plan[0], robot.goal][step.subgoal_index]
        assert step.latent == robot.latent(codes)
        assert step.target == robot.latent(target)
        assert step.action_names == list(CARTESIAN)
        assert step.command == command
        assert ActionScale().to_delta(step.action).dx == command.dx
        assert (step.subgoal_count, step.dropped) == (1, 0)
        assert 0.0 < step.inference_seconds < step.latency
    assert all(f.distance == robot.steps[f.step - 1].distance for f in feedback)
    assert [s.reward for s in robot.steps] == [
        0.0 if s.distance < robot.checkpoint.config.iql.reward_epsilon else -1.0
        for s in robot.steps
    ]


def test_figures_of_steps_are_number_topics(graph, start):
    _, robot = start()
    found = {name: graph.collect(Float64, f"policy/{name}", LATCHED) for name in SCALARS}
    handle = robot.send(robot.request(max_steps=1))
    robot.show(FIRST)
    graph.result(handle)
    graph.wait(lambda: robot.steps and all(found.values()), "the figures")
    (info,) = robot.steps
    assert {name: values[-1].data for name, values in found.items()} == {
        "latency_ms": pytest.approx(info.latency * 1e3),
        "inference_ms": pytest.approx(info.inference_seconds * 1e3),
        "distance": pytest.approx(info.distance),
        "subgoal": info.subgoal_index,
        "weights_version": 0.0,
    }


def test_an_observation_from_before_the_goal_counts_if_its_number_does(start):
    _, robot = start()
    robot.show(FIRST - 1)
    robot.show(FIRST)
    handle = robot.send(robot.request(max_steps=1))
    assert robot.graph.result(handle).result.last_observation_seq == FIRST


def test_repeated_and_skipped_observations_are_noticed(start):
    _, robot = start()
    handle = robot.send(robot.request(max_steps=2))
    robot.walk(1)
    robot.show(FIRST)  # again
    robot.show(FIRST + 3)
    result = robot.graph.result(handle).result
    assert result.last_observation_seq == FIRST + 3
    assert result.dropped == 2
    assert len(robot.commands) == 2


def test_the_arm_holds_still_when_nothing_new_is_seen_and_goes_on_when_it_is(start):
    _, robot = start(stale_after=0.1, give_up_after=30.0)
    logs = robot.graph.logs()
    handle = robot.send(robot.request(max_steps=2))
    robot.walk(1)
    logs.expect("holding still: no new observation for 0.1 s", Log.ERROR)
    robot.wait_for_commands(2)
    assert is_hold(robot.commands[1])
    assert robot.commands[1].gripper == robot.commands[0].gripper
    robot.show(FIRST + 1)
    assert robot.graph.result(handle).result.steps == 2
    assert not is_hold(robot.commands[2])


def fault_old(robot):
    stamp = robot.graph.client.get_clock().now().to_msg()
    stamp.sec -= 60
    latent = Latent()
    latent.header.stamp = stamp
    return {"header": latent.header}


FAULTS = [
    (
        lambda r: {"latent": r.latent(np.full(144, 400))},
        ErrorCode.BAD_LATENT,
        "index 400; the codebook ends at 31",
    ),
    (
        lambda r: {"latent": r.latent(np.zeros((12, 12), int))},
        ErrorCode.BAD_LATENT,
        "shape [12, 12]; a latent of this encoder has [144]",
    ),
    (
        lambda r: {"latent": latent_message(np.zeros(144, int), "other")},
        ErrorCode.WRONG_ENCODER,
        "encoder other",
    ),
    (fault_old, ErrorCode.STALE_OBSERVATION, "older than 0.1 s"),
    (
        lambda r: {"error_code": ErrorCode.BAD_IMAGE, "error_msg": "image is 5 x 5"},
        ErrorCode.BAD_IMAGE,
        "image is 5 x 5",
    ),
    (None, ErrorCode.STALE_OBSERVATION, "no new observation"),
]


@pytest.mark.parametrize(("fault", "code", "text"), FAULTS)
def test_what_cannot_be_acted_on_ends_the_goal_with_its_reason(start, fault, code, text):
    _, robot = start(stale_after=0.1, give_up_after=0.3)
    logs = robot.graph.logs()
    handle = robot.send(robot.request(max_steps=5))
    robot.walk(1)
    if fault is not None:
        robot.show(FIRST + 1, **fault(robot))
    answer = robot.graph.result(handle)
    assert (answer.status, answer.result.error_code) == (GoalStatus.STATUS_ABORTED, code)
    assert text in answer.result.error_msg
    assert answer.result.steps == 1
    logs.expect(text, Log.ERROR)
    assert all(is_hold(command) for command in robot.commands[1:])
    assert len(robot.commands) > 1
    # The node lives on.
    robot.commands.clear()
    handle = robot.send(robot.request(max_steps=1))
    robot.walk(1, first=FIRST + 5)
    assert robot.graph.result(handle).status == GoalStatus.STATUS_SUCCEEDED


def test_a_goal_that_makes_no_sense_is_refused_and_nothing_moves(start):
    _, robot = start()
    robot.show(FIRST)
    bad = [
        (
            "goal",
            Goal(latent=robot.latent(np.full(144, 400))),
            ErrorCode.BAD_LATENT,
            "goal's latent has index 400",
        ),
        (
            "goal",
            Goal(latent=latent_message(robot.goal, "other")),
            ErrorCode.WRONG_ENCODER,
            "goal's latent is of encoder other",
        ),
        ("goal", Goal(), ErrorCode.BAD_REQUEST, "the goal is empty"),
        (
            "goal",
            Goal(instruction="open the drawer"),
            ErrorCode.BAD_REQUEST,
            "takes image or latent goals, not a goal of kind language",
        ),
        (
            "goal",
            Goal(instruction="open the drawer", latent=robot.latent(robot.goal)),
            ErrorCode.BAD_REQUEST,
            "the goal is given as language and as latent",
        ),
        ("plan", SubgoalPlan(), ErrorCode.BAD_REQUEST, "the plan is empty"),
        (
            "plan",
            SubgoalPlan(count=2, subgoals=latent_message(robot.draw(2), "other")),
            ErrorCode.WRONG_ENCODER,
            "the plan is of encoder other",
        ),
        (
            "plan",
            SubgoalPlan(count=2),
            ErrorCode.BAD_REQUEST,
            "2 subgoals and has latents of 0",
        ),
        ("planning", 3, ErrorCode.BAD_REQUEST, "planning 3: see ReachGoal"),
        ("planning", 0, ErrorCode.BAD_REQUEST, "which only PURSUE_PLAN pursues"),
    ]
    for name, value, code, text in bad:
        request = robot.request(plan=robot.draw(2))
        setattr(request, name, value)
        answer = robot.graph.result(robot.send(request))
        assert (answer.status, answer.result.error_code) == (GoalStatus.STATUS_ABORTED, code)
        assert text in answer.result.error_msg
    assert not robot.commands


def test_a_second_goal_is_refused_while_one_runs(start):
    _, robot = start()
    first = robot.send(robot.request(max_steps=2))
    robot.walk(1)
    second = robot.graph.result(robot.send(robot.request()))
    assert second.result.error_code == ErrorCode.BUSY
    robot.show(FIRST + 1)
    assert robot.graph.result(first).result.steps == 2


def test_a_goal_whose_client_gives_no_signs_of_life_ends_after_the_steps_of_the_node(start):
    _, robot = start(max_steps=2)
    handle = robot.send(robot.request(max_steps=9))
    robot.walk(2)
    assert robot.graph.result(handle).result.steps == 2
    request = robot.request(max_steps=3)
    request.episode_id = "mine"
    request.first_observation_seq = FIRST + 2
    handle = robot.send(request)
    for number in range(3):
        robot.show(FIRST + 2 + number)
        robot.wait_for_commands(3 + number)
    assert robot.graph.result(handle).result.steps == 3


def test_a_canceled_goal_ends_with_a_command_that_holds_still(start):
    _, robot = start()
    handle = robot.send(robot.request())
    robot.walk(1)
    robot.graph.finish(handle.cancel_goal_async)
    answer = robot.graph.result(handle)
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert (answer.result.error_code, answer.result.steps) == (ErrorCode.CANCELED, 1)
    robot.wait_for_commands(2)
    assert is_hold(robot.commands[1])


def change(robot, what):
    request = ChangeState.Request(transition=Transition(id=what))
    return robot.graph.call(ChangeState, "policy/change_state", request).success


def test_deactivation_ends_the_goal_and_nothing_moves_until_activation(start):
    _, robot = start()
    handle = robot.send(robot.request())
    robot.walk(1)
    assert change(robot, Transition.TRANSITION_DEACTIVATE)
    answer = robot.graph.result(handle)
    assert answer.result.error_code == ErrorCode.NOT_ACTIVE
    robot.wait_for_commands(2)
    assert is_hold(robot.commands[1])
    refused = robot.graph.result(robot.send(robot.request()))
    assert refused.result.error_code == ErrorCode.NOT_ACTIVE
    assert "activate it first" in refused.result.error_msg
    assert len(robot.commands) == 2
    assert change(robot, Transition.TRANSITION_ACTIVATE)
    handle = robot.send(robot.request(max_steps=1))
    robot.show(FIRST + 1)
    assert robot.graph.result(handle).status == GoalStatus.STATUS_SUCCEEDED


def test_follower_settings_are_parameters(start):
    node, robot = start(**{"follower.timeout": 1, "follower.sample_actions": False})
    for name in FollowerConfig.__dataclass_fields__:
        assert node.has_parameter(f"follower.{name}")
    handle = robot.send(robot.request(max_steps=4, plan=robot.draw(1)))
    robot.walk(4)
    robot.graph.result(handle)
    robot.graph.wait(lambda: len(robot.steps) == 4, "the steps")
    assert [s.subgoal_index for s in robot.steps] == [0, 0, 1, 1]


def test_a_checkpoint_for_another_kind_of_arm_is_refused_with_its_actions(start, tmp_path):
    tiny_checkpoint(tmp_path / "seven", actions=[f"joint_{number}" for number in range(7)])
    _, robot = start(checkpoint=str(tmp_path / "seven"))
    answer = robot.graph.result(robot.send(robot.request()))
    assert answer.result.error_code == ErrorCode.BAD_REQUEST
    assert "joint_6, an arm takes dx, dy" in answer.result.error_msg


def test_without_a_checkpoint_the_reason_is_told(start, tmp_path):
    _, robot = start(checkpoint=str(tmp_path / "none"))
    answer = robot.graph.result(robot.send(robot.request()))
    assert answer.result.error_code == ErrorCode.BAD_CHECKPOINT
    assert "no checkpoint" in answer.result.error_msg
