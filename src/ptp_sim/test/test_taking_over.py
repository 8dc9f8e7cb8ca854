# SPDX-License-Identifier: Apache-2.0
"""A person takes the simulated arm over, lets go, and gives it back, on a real graph."""

import numpy as np
import pytest
from ptp_interfaces.msg import ArmState, CartesianDelta, ErrorCode, Observation, TableState
from ptp_interfaces.srv import Rearm, ResetScene

from ptp_robot.action import ActionScale
from ptp_ros.images import image_to_array
from ptp_ros.testing import Graph, parameters
from ptp_ros.topics import (
    ARM_STATE,
    COMMAND,
    COMMANDS,
    LATCHED,
    OBSERVATION,
    REARM,
    RECORDS,
    TABLE_STATE,
)
from ptp_sim.env import make_env
from ptp_sim.sim_bridge import SimBridgeNode

RIGHT = (0.0, 1.0, 0.0, 0.0, -1.0)


@pytest.fixture
def graph():
    with Graph() as graph:
        yield graph


class Table:
    """The simulated table after a reset, in lock-step by default, and what comes from it."""

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

    def send(self, source, dead_man=False, weights="", action=RIGHT):
        """Publish a command as this source would."""
        self.count += 1
        delta = ActionScale().to_delta(np.asarray(action, np.float32))
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


def as_person(table, *actions):
    """Send commands of a person, all right after a picture; the state that comes next."""
    table.newest = table.seen[-1].seq
    table.graph.wait(lambda: table.seen[-1].seq > table.newest, "a new picture")
    table.newest = table.seen[-1].seq
    for action in actions:
        sent = table.send(CartesianDelta.TELEOP, dead_man=True, action=action)
    return sent, table.next_state()


def test_in_real_time_a_person_moves_the_arm_with_the_next_picture_and_the_newest_word_counts(
    graph,
):
    table = Table(graph, mode="real_time", rate=5.0)
    actions = np.random.default_rng(2).uniform(-1, 1, (8, 5)).astype(np.float32)
    steps = [as_person(table, *pair) for pair in actions.reshape(4, 2, 5)]
    states = {state.observation_seq: state for state in table.states}
    commands = [states[seq].command for seq in sorted(states) if states[seq].moved]
    assert commands == [sent for sent, _ in steps]
    # Each picture, the command named by the state of the next, and the next picture belong
    # together, to the bit.
    env = make_env()
    picture = env.reset(seed=3, options={"task": "A", "protocol": "paper"})[0]
    graph.wait(lambda: table.seen[-1].seq >= max(states), "the last picture")
    for message in table.seen:
        state = states.get(message.seq)
        if state is not None and state.moved:
            picture = env.step(actions[2 * commands.index(state.command) + 1])[0]
        assert np.array_equal(image_to_array(message.image), picture)
    env.close()


def test_in_real_time_a_command_that_waits_is_void_once_the_person_lets_go(graph):
    logs = graph.logs()
    table = Table(graph, mode="real_time", rate=3.0)
    graph.wait(lambda: len(table.seen) > 1, "a picture after the reset")
    table.newest = table.seen[-1].seq
    table.send(CartesianDelta.TELEOP, dead_man=True)
    logs.expect("a person took over")
    table.send(CartesianDelta.TELEOP, dead_man=False)
    state = table.next_state()
    assert (state.moved, state.holding, state.taken_over) == (False, True, True)


def test_where_everything_is_can_be_published(graph):
    truths = graph.collect(TableState, TABLE_STATE, LATCHED)
    table = Table(graph, truth=True)
    table.send(CartesianDelta.POLICY)
    table.next_state()
    graph.wait(lambda: len(truths) == 2, "two states of the table")
    env = make_env()
    env.reset(seed=3, options={"task": "A", "protocol": "paper"})
    for truth in truths:
        expected = env.world.state()
        for name, value in vars(expected).items():
            assert np.array_equal(getattr(truth, name), value), name
        assert (truth.task, truth.protocol, truth.seed, truth.resets) == ("A", "paper", 3, 1)
        env.step(np.asarray(RIGHT, np.float32))
    env.close()
    assert [truth.observation_seq for truth in truths] == [seen.seq for seen in table.seen]
