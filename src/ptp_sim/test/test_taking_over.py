# SPDX-License-Identifier: Apache-2.0
"""A person takes the simulated arm over, lets go, and gives it back, on a real graph."""

import math

import numpy as np
import pytest
from ptp_interfaces.msg import ArmState, CartesianDelta, ErrorCode, Observation, TableState
from ptp_interfaces.srv import Rearm, ResetScene

from ptp_robot.action import ActionScale
from ptp_ros.graph_testing import Graph, parameters
from ptp_ros.image_messages import image_to_array
from ptp_ros.topics import (
    ARM_STATE,
    COMMANDS,
    COMMANDS_FROM,
    LATCHED,
    OBSERVATION,
    REARM,
    RECORDS,
    TABLE_STATE,
)
from ptp_sim.env import make_env
from ptp_sim.sim_bridge_node import SimBridgeNode

RIGHT = (0.0, 1.0, 0.0, 0.0, -1.0)


@pytest.fixture
def graph():
    with Graph() as graph:
        yield graph


class Table:
    """The simulated table after a reset, in lock-step by default, and what comes from it."""

    def __init__(self, graph, **values):
        options = parameters({"mode": "lock_step", **values})
        self.node = SimBridgeNode(context=graph.context, parameter_overrides=options)
        graph.add(self.node)
        self.graph = graph
        self.seen = graph.collect(Observation, OBSERVATION, LATCHED)
        self.states = graph.collect(ArmState, ARM_STATE, RECORDS)
        self.commands = [graph.publisher(CartesianDelta, name, COMMANDS) for name in COMMANDS_FROM]
        request = ResetScene.Request(task="A", protocol="paper", seed=3)
        self.newest = graph.call(ResetScene, "reset_scene", request).observation_seq
        self.count = 0

    def send(self, source, dead_man=False, weights="", action=RIGHT, topic=None, **changes):
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
        for name, value in changes.items():
            setattr(message, name, value)
        self.commands[source if topic is None else topic].publish(message)
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
    table.send(77, topic=CartesianDelta.POLICY)
    graph.wait(lambda: table.states[-1].error_code == ErrorCode.BAD_COMMAND, "the refusal")
    assert "source is 77" in table.states[-1].error_msg
    table.send(CartesianDelta.POLICY)
    assert table.next_state().moved


def test_a_policy_that_says_it_is_a_person_takes_nothing_over(graph):
    table = Table(graph)
    table.send(CartesianDelta.TELEOP, dead_man=True, topic=CartesianDelta.POLICY)
    graph.wait(lambda: table.states[-1].error_code == ErrorCode.BAD_COMMAND, "the refusal")
    assert not table.states[-1].taken_over
    table.send(CartesianDelta.POLICY)
    assert table.next_state().command.source == CartesianDelta.POLICY


@pytest.mark.parametrize("wrong", [{"dz": math.nan}, {"dx": 5.0}, {"gripper": 7.0}])
def test_a_command_that_is_refused_takes_nothing_over(graph, wrong):
    table = Table(graph)
    table.send(CartesianDelta.TELEOP, dead_man=True, **wrong)
    graph.wait(lambda: table.states[-1].error_code == ErrorCode.BAD_COMMAND, "the refusal")
    assert not table.states[-1].taken_over
    table.send(CartesianDelta.POLICY)
    assert table.next_state().moved


class RealTime(Table):
    """The table in real time, where the test says when the next picture is due."""

    def __init__(self, graph):
        super().__init__(graph, mode="real_time", rate=0.1, dead_man_patience=20.0)

    def person(self, action=RIGHT):
        """A person's command that has arrived."""
        sent = self.send(CartesianDelta.TELEOP, dead_man=True, action=action)
        self.graph.wait(
            lambda: self.node._waiting is not None and self.node._waiting[0].seq == sent.seq,
            "the command to arrive",
        )
        return sent

    def tick(self):
        """The next picture is due: its state."""
        self.node.executor.create_task(self.node._tick)
        return self.next_state()


def test_in_real_time_a_person_moves_the_arm_with_the_next_picture_and_the_newest_word_counts(
    graph,
):
    table = RealTime(graph)
    env = make_env()
    pictures = [env.reset(seed=3, options={"task": "A", "protocol": "paper"})[0]]
    actions = np.random.default_rng(2).uniform(-1, 1, (4, 2, 5)).astype(np.float32)
    for older, newer in actions:
        table.person(older)
        sent = table.person(newer)
        state = table.tick()
        assert (state.moved, state.command) == (True, sent)
        still = table.tick()  # nothing came: nothing moves
        assert (still.moved, still.pose) == (False, state.pose)
        pictures += [env.step(newer)[0]] * 2
    env.close()
    # Each picture, the command that the state of the next one names, and that next one belong
    # together, to the bit.
    graph.wait(lambda: len(table.seen) == len(pictures), "all pictures")
    for message, picture in zip(table.seen, pictures, strict=True):
        assert np.array_equal(image_to_array(message.images[0]), picture)


def test_in_real_time_a_person_waits_one_picture_for_the_policy_that_was_faster(graph):
    table = RealTime(graph)
    policy = table.send(CartesianDelta.POLICY)
    graph.wait(lambda: table.node._steps == 1, "the policy's step")
    person = table.person()
    states = [table.tick(), table.tick()]
    assert [state.command for state in states] == [policy, person]
    assert [state.taken_over for state in states] == [True, True]


def test_in_real_time_a_command_that_waits_is_void_once_the_person_lets_go(graph):
    table = RealTime(graph)
    table.person()
    table.send(CartesianDelta.TELEOP, dead_man=False)
    graph.wait(lambda: table.node._waiting is None, "the switch to be let go")
    state = table.tick()
    assert (state.moved, state.holding, state.taken_over) == (False, True, True)


def test_in_real_time_a_command_of_a_device_that_fell_silent_is_void(graph):
    table = RealTime(graph)
    table.person()
    table.node._arbiter.patience = 0.0
    state = table.tick()
    assert (state.moved, state.taken_over) == (False, True)


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
