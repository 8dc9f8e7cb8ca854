# SPDX-License-Identifier: Apache-2.0
"""Policy and planner take new weights between two uses, and refuse what they cannot use."""

import numpy as np
import pytest
import torch
from ptp_interfaces.action import PlanSubgoals, ReachGoal
from ptp_interfaces.msg import CartesianDelta, Goal, Latent, PolicyUpdate
from rcl_interfaces.msg import Log

from ptp_core.policies.live_weights import WeightsUpdate
from ptp_core.tiny_networks import tiny_checkpoint
from ptp_core.training.checkpoint import load_checkpoint
from ptp_nodes.nodes.planner_node import PlannerNode
from ptp_nodes.nodes.policy_node import PolicyNode
from ptp_nodes.policy.agent_networks import weights_version
from ptp_robot.action import ActionScale
from ptp_ros.agent_messages import latent_message
from ptp_ros.graph_testing import parameters
from ptp_ros.topics import COMMANDS, LATCHED, LATENT, POLICY_COMMAND, POLICY_UPDATE

FIRST = 5  # number of the first observation


@pytest.fixture
def other(tmp_path, folder):
    """Networks as another training would leave them, on the same encoder."""
    tiny_checkpoint(tmp_path / "other", seed=1)
    return load_checkpoint(tmp_path / "other").iql


class Learner:
    """Stands where the learner is; and where camera, encoder and arm are."""

    def __init__(self, graph, folder, node_type, **values):
        self.graph = graph
        self.checkpoint = load_checkpoint(folder)
        self.base = weights_version(self.checkpoint)
        self.updates = graph.client.create_publisher(PolicyUpdate, POLICY_UPDATE, LATCHED)
        self.logs = graph.collect(Log, "/rosout", 100)
        self.node = graph.add(
            node_type(
                context=graph.context,
                parameter_overrides=parameters({"checkpoint": str(folder), **values}),
            )
        )

    def send(self, iql, version, **changes):
        update = WeightsUpdate.of(iql, version, self.checkpoint.encoder_id)
        message = PolicyUpdate(version=version, encoder_id=update.encoder_id, sha256=update.sha256)
        message.weights.frombytes(update.content)
        for name, value in changes.items():
            setattr(message, name, value)
        self.updates.publish(message)

    def wait_for_log(self, text):
        self.graph.wait(lambda: any(text in log.msg for log in self.logs), f'"{text}"')


class Walk(Learner):
    """Lets the policy node answer one observation after the other."""

    def __init__(self, graph, folder):
        options = {"follower.sample_actions": False, "keep_alive": 0.0, "fresh_for": 60.0}
        super().__init__(graph, folder, PolicyNode, **options)
        rng = np.random.default_rng(0)
        self.codes, self.goal = rng.integers(0, 32, (2, 144)).astype(np.uint16)
        self.commands = graph.collect(CartesianDelta, POLICY_COMMAND, COMMANDS)
        self.latents = graph.publisher(Latent, LATENT, LATCHED)
        request = ReachGoal.Goal(
            goal=Goal(latent=self.latent(self.goal)),
            planning=ReachGoal.Goal.PURSUE_GOAL,
            max_steps=50,
            first_observation_seq=FIRST,
        )
        graph.send_goal(ReachGoal, "reach_goal", request)

    def latent(self, codes):
        return latent_message(codes, self.checkpoint.encoder_id)

    def step(self):
        """The command that answers one more observation."""
        count = len(self.commands)
        latent = Latent(seq=FIRST + count, latent=self.latent(self.codes))
        latent.header.stamp = self.graph.client.get_clock().now().to_msg()
        self.latents.publish(latent)
        self.graph.wait(lambda: len(self.commands) > count, "a command")
        return self.commands[count]

    def step_until(self, version):
        """Step until commands name this version; the last one."""
        for _ in range(40):
            command = self.step()
            if command.weights_version == version:
                return command
        raise AssertionError(f"{version} never came: {command.weights_version}")

    def asked(self, iql):
        """The motion that these networks ask for, m."""
        pair = torch.from_numpy(np.stack([self.codes, self.goal]).astype(np.int64))
        with torch.no_grad():
            latent, goal = self.checkpoint.vqvae.lookup(pair)
            action = iql.act(latent[None], goal[None])[0].numpy()
        return ActionScale().to_delta(action).translation.tolist()


def test_commands_come_from_the_new_weights_and_name_them(graph, folder, other):
    walk = Walk(graph, folder)
    before = walk.step()
    assert before.weights_version == walk.base
    walk.send(other, 1)
    after = walk.step_until(f"{walk.base}+1")
    assert [before.dx, before.dy, before.dz] == walk.asked(walk.checkpoint.iql)
    assert [after.dx, after.dy, after.dz] == walk.asked(other)
    assert after.dx != before.dx


def test_weights_that_are_not_finite_or_damaged_are_refused_and_the_last_good_stay(
    graph, folder, other
):
    walk = Walk(graph, folder)
    walk.send(other, 3)
    walk.step_until(f"{walk.base}+3")
    with torch.no_grad():
        other.policy.body[0].weight[0, 0] = torch.inf
    walk.send(other, 4)
    walk.wait_for_log("not finite; keeping " + walk.base + "+3")
    walk.send(walk.checkpoint.iql, 5, sha256="0" * 64)
    walk.wait_for_log("altered on the way (sha256); keeping " + walk.base + "+3")
    walk.send(walk.checkpoint.iql, 6, encoder_id="f" * 64)
    walk.wait_for_log("encoder ffffffffffff")
    walk.send(walk.checkpoint.iql, 1)
    walk.wait_for_log("weights 1 are older")
    assert walk.step().weights_version == f"{walk.base}+3"
    walk.send(walk.checkpoint.iql, 7)
    walk.step_until(f"{walk.base}+7")


def test_the_planner_plans_with_the_new_values(graph, folder, other):
    learner = Learner(graph, folder, PlannerNode)
    rng = np.random.default_rng(1)
    encoder = learner.checkpoint.encoder_id
    start, goal = (latent_message(c, encoder) for c in rng.integers(0, 32, (2, 144)))
    request = PlanSubgoals.Goal(start=start, goal=Goal(latent=goal), seed=3)

    def plan():
        handle = graph.send_goal(PlanSubgoals, "plan_subgoals", request)
        return graph.result(handle).result.plan

    before = plan()
    assert before.weights_version == learner.base
    learner.send(other, 2)
    graph.wait(lambda: plan().weights_version == f"{learner.base}+2", "a plan with new weights")
    assert plan().cost != before.cost
