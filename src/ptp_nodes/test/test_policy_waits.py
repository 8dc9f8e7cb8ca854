# SPDX-License-Identifier: Apache-2.0
"""The policy node waits: for a person who has the arm, and for images of the present."""

import time

import numpy as np
from builtin_interfaces.msg import Time
from ptp_interfaces.action import ReachGoal
from ptp_interfaces.msg import ArmState, ErrorCode, Goal
from rcl_interfaces.msg import Log
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Header

from ptp_core.training.checkpoint import load_checkpoint
from ptp_nodes.nodes.policy_node import PolicyNode
from ptp_ros.agent_messages import latent_message
from ptp_ros.graph_testing import parameters
from ptp_ros.topics import ARM_STATE, COMMANDS, REACH_GOAL, RECORDS


def test_while_a_person_has_the_arm_it_waits_and_says_that_it_lives(start_policy):
    _, robot = start_policy(stale_after=0.1, give_up_after=0.3)
    states, feedback = robot.graph.publisher(ArmState, ARM_STATE, RECORDS), []
    handle = robot.send(robot.request(max_steps=5), feedback)
    robot.walk(1)
    states.publish(ArmState(taken_over=True))
    robot.graph.wait(lambda: len(feedback) > 2, "signs of life beyond the one step")
    assert {f.step for f in feedback} == {1}
    states.publish(ArmState(taken_over=False))
    answer = robot.graph.result(handle).result  # now it misses the next image
    assert (answer.steps, answer.error_code) == (1, ErrorCode.STALE_OBSERVATION)


def test_no_step_is_taken_before_an_arm_is_there(graph, start_policy, folder):
    options = parameters({"checkpoint": str(folder), "give_up_after": 0.3, "keep_alive": 0.0})
    graph.add(PolicyNode(context=graph.context, parameter_overrides=options))
    latent = latent_message(np.zeros(144, int), load_checkpoint(folder).encoder_id)
    goal = ReachGoal.Goal(goal=Goal(latent=latent), max_steps=1)
    answer = graph.result(graph.send_goal(ReachGoal, REACH_GOAL, goal)).result
    assert (answer.steps, answer.error_code) == (0, ErrorCode.UNAVAILABLE)
    assert "nobody takes commands" in answer.error_msg


def test_after_a_jump_of_the_clock_it_holds_until_images_are_of_the_new_time(start_policy):
    node, robot = start_policy(use_sim_time=True, stale_after=0.5, give_up_after=30.0)
    logs, graph = robot.graph.logs(), robot.graph
    clock = graph.publisher(Clock, "/clock", COMMANDS)

    def jump(seconds):
        clock.publish(Clock(clock=Time(sec=seconds)))
        now = node.get_clock().now
        graph.wait(lambda: now().nanoseconds == seconds * 10**9, "the new time")

    def show(seq, seconds):
        robot.show(seq, header=Header(stamp=Time(sec=seconds)))

    jump(1000)
    handle = robot.send(robot.request(max_steps=3))
    show(robot.FIRST, 1000)
    graph.wait(lambda: len(robot.steps) == 1, "the first step")
    jump(5000)
    show(robot.FIRST + 1, 1000)
    logs.expect("the observation is older than 0.5 s", Log.ERROR)
    show(robot.FIRST + 2, 5000)
    graph.wait(lambda: len(robot.steps) == 2, "a step in the new time")
    jump(60)  # back
    show(robot.FIRST + 3, 60)
    assert graph.result(handle).result.steps == 3
    moving = [c.observation_seq for c in robot.commands if c.dx or c.dy or c.dz]
    assert moving == [robot.FIRST, robot.FIRST + 2, robot.FIRST + 3]


def test_after_a_plan_that_took_long_another_observation_is_asked_for_each_time(start_policy):
    """Also where one was asked for before, as the encoder was late."""
    node, robot = start_policy(fresh_for=0.01, stale_after=0.1, give_up_after=60.0)
    plan = node._agent.reset

    def plan_for_long(*arguments, **options):
        began = time.monotonic()
        plan(*arguments, **options)
        while time.monotonic() - began < 0.02:
            pass

    node._agent.reset = plan_for_long
    request = robot.request(max_steps=1)
    request.planning = ReachGoal.Goal.PLAN_ITSELF
    handle = robot.send(request)
    robot.wait_for_commands(1)  # the first hold: no observation came
    robot.show(robot.FIRST)
    robot.wait_for_commands(2)  # the plan took longer than the observation is fresh
    robot.show(robot.FIRST + 1)
    assert robot.graph.result(handle).result.steps == 1
