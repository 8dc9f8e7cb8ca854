# SPDX-License-Identifier: Apache-2.0
"""The path of a real arm in simulation: arm driver, joint commands, table, in real time."""

import numpy as np
import pytest
from ptp_interfaces.msg import ArmState, CartesianDelta, DriverState, Observation
from ptp_interfaces.srv import ResetScene
from std_srvs.srv import Trigger

from ptp_bringup.arguments import robot_file
from ptp_nodes.nodes.arm_driver_node import ArmDriverNode
from ptp_ros.graph_testing import Graph, parameters
from ptp_ros.topics import (
    ARM_STATE,
    COMMANDS,
    DRIVER_STATE,
    LATCHED,
    OBSERVATION,
    POLICY_COMMAND,
    RECORDS,
    RESET_SCENE,
)
from ptp_sim.joint_bridge_node import JointBridgeNode

pytestmark = pytest.mark.process

RATE = 5.0  # Hz: two busy cores draw that many pictures
STEP = 0.03  # m


@pytest.fixture
def path():
    with Graph() as graph:
        yield Path(graph)


class Path:
    """Both nodes, and a policy that answers pictures."""

    def __init__(self, graph):
        self.graph = graph
        self.seen = graph.collect(Observation, OBSERVATION, LATCHED)
        self.states = graph.collect(ArmState, ARM_STATE, RECORDS)
        self.driver = graph.collect(DriverState, DRIVER_STATE, LATCHED)
        options = {"rate": RATE}
        self.table = graph.add(
            JointBridgeNode(context=graph.context, parameter_overrides=parameters(options))
        )
        options = {"robot_file": robot_file("sim_joint"), "preflight": False}
        self.node = graph.add(
            ArmDriverNode(context=graph.context, parameter_overrides=parameters(options))
        )
        self.commands = graph.publisher(CartesianDelta, POLICY_COMMAND, COMMANDS)
        self.count = 0
        graph.wait(lambda: self.is_(DriverState.DISABLED), "the table to be heard")
        assert graph.call(Trigger, "arm/enable", Trigger.Request()).success
        graph.wait(lambda: self.is_(DriverState.READY), "READY")

    def is_(self, state):
        return bool(self.driver) and self.driver[-1].state == state

    def reset(self, task):
        request = ResetScene.Request(task=task, protocol="paper", seed=4)
        first = self.graph.call(ResetScene, RESET_SCENE, request).observation_seq
        self.graph.wait(lambda: self.seen[-1].seq >= first, "the first picture")
        start = self.table._env.world.arm.pose()[0]
        self.graph.wait(lambda: np.abs(self.place() - start).max() < 2e-3, "its state")

    def step(self, **motion):
        """Answer the newest picture; the state of the step that it led to."""
        self.count += 1
        answered = self.seen[-1]
        self.graph.wait(
            lambda: self.states and self.states[-1].observation_seq >= answered.seq,
            "the driver to know it, too",
        )
        message = CartesianDelta(seq=self.count, observation_seq=answered.seq, **motion)
        message.header.frame_id = "base"
        message.header.stamp = self.graph.client.get_clock().now().to_msg()
        self.commands.publish(message)
        self.graph.wait(lambda: self.seen[-1].seq > answered.seq + 1, "two pictures")

        def carried_out():
            return [s for s in self.states if s.moved and s.command.seq == self.count]

        self.graph.wait(carried_out, f"command {self.count} to be carried out")
        return carried_out()[0]

    def place(self):
        pose = self.states[-1].pose.position
        return np.array([pose.x, pose.y, pose.z])


def test_commands_move_the_simulated_arm_through_the_driver_also_after_a_reset(path):
    for task, motion in (("A", {"dx": -STEP}), ("B", {"dx": STEP}), ("C", {"dz": STEP})):
        path.reset(task)
        axis = 0 if "dx" in motion else 2
        before = path.place()
        state = path.step(**motion, gripper=-1.0)
        assert not state.error_msg
        path.step(**motion, gripper=1.0)
        (wanted,) = motion.values()
        moved = path.place() - before
        assert 0.5 * STEP < np.sign(wanted) * moved[axis] < 2.1 * STEP, (task, moved)
        assert np.abs(np.delete(moved, axis)).max() < 0.01
        # In task C the fingers close around the block.
        path.graph.wait(lambda: path.states[-1].gripper > -0.5, "the gripper to close")
    assert path.is_(DriverState.ACTIVE) or path.is_(DriverState.HOLD)
    assert path.driver[-1].backend == "sim_joint"
