# SPDX-License-Identifier: Apache-2.0
"""The simulated table as a robot with joint controllers, on a real graph."""

import numpy as np
import pytest
from ptp_interfaces.msg import ErrorCode, Observation
from ptp_interfaces.srv import JudgeEpisode, ResetScene
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from ptp_ros.graph_testing import Graph, parameters
from ptp_ros.topics import (
    ARM_COMMANDS,
    COMMANDS,
    GRIPPER_COMMANDS,
    JOINT_STATES,
    LATCHED,
    OBSERVATION,
)
from ptp_sim.joint_bridge_node import JointBridgeNode
from ptp_sim.table_node import FINGER_JOINT

pytestmark = pytest.mark.process


@pytest.fixture
def graph():
    with Graph() as graph:
        yield graph


class Client:
    """A driver's view of the bridge."""

    def __init__(self, graph, **values):
        self.graph = graph
        options = parameters({"rate": 20.0, **values})
        graph.add(JointBridgeNode(context=graph.context, parameter_overrides=options))
        self.states = graph.collect(JointState, JOINT_STATES, COMMANDS)
        self.seen = graph.collect(Observation, OBSERVATION, LATCHED)
        self.arm = graph.publisher(Float64MultiArray, ARM_COMMANDS, COMMANDS)
        self.gripper = graph.publisher(Float64MultiArray, GRIPPER_COMMANDS, COMMANDS)
        self.wait_for_states(1)

    def wait_for_states(self, count):
        target = len(self.states) + count
        self.graph.wait(lambda: len(self.states) >= target, "joint states")

    def joints(self):
        return np.array(self.states[-1].position[:7])

    def go(self, q):
        self.arm.publish(Float64MultiArray(data=list(map(float, q))))

    def reset(self, task="A"):
        request = ResetScene.Request(task=task, protocol="paper", seed=3)
        return self.graph.call(ResetScene, "reset_scene", request)

    def judge(self, seq):
        request = JudgeEpisode.Request(observation_seq=seq)
        return self.graph.call(JudgeEpisode, "judge_episode", request)


def test_joints_are_said_and_pictures_are_shown_before_any_scene_is_asked_for(graph):
    client = Client(graph)
    graph.wait(lambda: len(client.seen) >= 2, "pictures")
    client.wait_for_states(20)
    state = client.states[-1]
    assert list(state.name) == [*(f"right_j{i}" for i in range(7)), FINGER_JOINT]
    assert len(state.position) == len(state.velocity) == 8
    assert client.judge(0).error_code == ErrorCode.BAD_REQUEST
    times = [s.header.stamp.sec + s.header.stamp.nanosec * 1e-9 for s in client.states[-10:]]
    assert (np.diff(times) > 0.0).all()


def test_the_arm_goes_where_its_joints_are_sent_and_stays(graph):
    client = Client(graph)
    response = client.reset()
    assert (response.error_code, response.control_rate) == (ErrorCode.NONE, 20.0)
    client.wait_for_states(5)
    start = client.joints()
    logs = graph.logs()
    client.gripper.publish(Float64MultiArray(data=[2.0]))
    logs.expect("a gripper command is one number between -1 and 1")
    client.go(start)
    client.wait_for_states(5)
    wanted = start + 0.1
    graph.wait(lambda: (client.go(wanted), np.abs(client.joints() - wanted).max() < 0.02)[1])
    client.wait_for_states(30)
    np.testing.assert_allclose(client.joints(), wanted, atol=0.02)
    client.gripper.publish(Float64MultiArray(data=[1.0]))
    graph.wait(lambda: client.states[-1].position[7] < 0.004, "the gripper to close")
    newest = client.seen[-1].seq
    graph.wait(lambda: client.seen[-1].seq > newest + 1, "a picture of it")
    verdict = client.judge(newest)
    assert verdict.error_code == ErrorCode.NONE
    assert verdict.steps >= 1
    assert not verdict.success


def test_commands_from_before_a_reset_do_not_move_the_new_scene(graph):
    client = Client(graph)
    logs = graph.logs()
    client.reset("A")
    client.wait_for_states(3)
    old = client.joints()
    client.go(old)
    client.wait_for_states(3)
    client.reset("C")  # the arm starts low, in the drawer
    client.wait_for_states(3)
    start = client.joints()
    assert np.abs(start - old).max() > 0.2
    client.go(old)
    logs.expect("goes on from where it was before the reset")
    client.wait_for_states(10)
    np.testing.assert_allclose(client.joints(), start, atol=5e-3)
