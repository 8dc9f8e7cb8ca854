# SPDX-License-Identifier: Apache-2.0
"""A person takes the simulated arm over, lets go, and gives it back, on a real graph."""

import numpy as np
import pytest
from ptp_interfaces.msg import ArmState, CartesianDelta, ErrorCode, Observation
from ptp_interfaces.srv import Rearm, ResetScene

from ptp_robot.action import ActionScale
from ptp_ros.testing import Graph, parameters
from ptp_ros.topics import ARM_STATE, COMMAND, COMMANDS, LATCHED, OBSERVATION, REARM, RECORDS
from ptp_sim.sim_bridge import SimBridgeNode

RIGHT = (0.0, 1.0, 0.0, 0.0, -1.0)


@pytest.fixture
def graph():
    with Graph() as graph:
        yield graph


class Table:
    """The simulated table in lock-step after a reset, and what comes from it."""

    def __init__(self, graph, **values):
        options = parameters({"mode": "lock_step", **values})
        graph.add(SimBridgeNode(context=graph.context, parameter_overrides=options))
        self.graph = graph
        self.seen = graph.collect(Observation, OBSERVATION, LATCHED)
        self.states = graph.collect(ArmState, ARM_STATE, RECORDS)
        self.commands = graph.publisher(CartesianDelta, COMMAND, COMMANDS)
        request = ResetScene.Request(task="A", protocol="paper", seed=3)
        self.newest = graph.call(ResetScene, "reset_scene", request).observation_seq
        self.count = 0

    def send(self, source, dead_man=False, weights=""):
        """Publish a command as this source would."""
        self.count += 1
        delta = ActionScale().to_delta(np.asarray(RIGHT, np.float32))
        message = CartesianDelta(
            seq=self.count, source=source, dead_man=dead_man, weights_version=weights
        )
        for name, value in vars(delta).items():
            setattr(message, name, value)
        message.header.frame_id = "base"
        if source != CartesianDelta.TELEOP:
            message.observation_seq = self.newest
        self.commands.publish(message)
        return message

    def next_state(self):
        """The state that comes with the next picture."""
        self.newest += 1
        self.graph.wait(
            lambda: self.states and self.states[-1].observation_seq == self.newest, "a new state"
        )
        return self.states[-1]

    def rearm(self):
        return self.graph.call(Rearm, REARM, Rearm.Request())


def test_each_state_says_who_moved_the_arm(graph):
    table = Table(graph)
    sent = table.send(CartesianDelta.POLICY, weights="abc/7")
    state = table.next_state()
    assert state.moved
    assert state.command == sent
    assert state.executed_dy > 0.005
    assert not state.taken_over


def test_a_person_moves_the_arm_and_the_policy_waits_until_rearmed(graph):
    table = Table(graph)
    sent = table.send(CartesianDelta.TELEOP, dead_man=True)
    state = table.next_state()
    assert (state.command, state.taken_over) == (sent, True)
    # The policy answers the new picture and is held off; the person's next command still counts.
    table.send(CartesianDelta.POLICY)
    sent = table.send(CartesianDelta.TELEOP, dead_man=True)
    assert table.next_state().command == sent
    refused = table.rearm()
    assert refused.error_code == ErrorCode.BUSY
    assert "let go" in refused.error_msg
    table.send(CartesianDelta.TELEOP, dead_man=False)  # released: moves nothing
    table.graph.wait(lambda: table.rearm().error_code == ErrorCode.NONE, "the arm to be rearmed")
    state = table.next_state()  # asks the policy again
    assert (state.moved, state.taken_over) == (False, False)
    table.send(CartesianDelta.POLICY)
    state = table.next_state()
    assert (state.moved, state.command.source) == (True, CartesianDelta.POLICY)


def test_a_person_without_dead_man_switch_moves_nothing(graph):
    table = Table(graph)
    table.send(CartesianDelta.TELEOP, dead_man=False)
    sent = table.send(CartesianDelta.POLICY)
    state = table.next_state()
    assert state.command == sent
    assert not state.taken_over


def test_a_source_that_does_not_exist_is_refused(graph):
    table = Table(graph)
    table.send(77)
    graph.wait(lambda: table.states[-1].error_code == ErrorCode.BAD_COMMAND, "the refusal")
    assert "source is 77" in table.states[-1].error_msg
    table.send(CartesianDelta.POLICY)
    assert table.next_state().moved
