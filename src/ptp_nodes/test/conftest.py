# SPDX-License-Identifier: Apache-2.0
"""A real graph for each test, a checkpoint of tiny random networks, and a robot for the policy."""

import numpy as np
import pytest
from ptp_interfaces.action import ReachGoal
from ptp_interfaces.msg import CartesianDelta, Goal, Latent, StepInfo, SubgoalPlan

from ptp_core.tiny_networks import tiny_checkpoint
from ptp_core.training.checkpoint import load_checkpoint
from ptp_nodes.nodes.policy_node import PolicyNode
from ptp_ros.agent_messages import latent_message
from ptp_ros.graph_testing import Graph, parameters
from ptp_ros.topics import COMMANDS, LATCHED, LATENT, POLICY_COMMAND, RECORDS, STEP


@pytest.fixture
def graph():
    with Graph() as graph:
        yield graph


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    tiny_checkpoint(folder)
    return folder


class Robot:
    """Stands where camera, encoder and arm are: sends latents, sees commands."""

    FIRST = 20  # number of the first observation
    SEED = 77

    def __init__(self, graph, checkpoint, readers=1):
        self.graph = graph
        self.checkpoint = checkpoint
        self.rng = np.random.default_rng(4)
        self.goal = self.draw()
        self.commands = graph.collect(CartesianDelta, POLICY_COMMAND, COMMANDS)
        self.steps = graph.collect(StepInfo, STEP, RECORDS)
        self.latents = graph.publisher(Latent, LATENT, LATCHED, readers)

    def draw(self, count=None):
        shape = 144 if count is None else (count, 144)
        return self.rng.integers(0, 32, shape).astype(np.uint16)

    def show(self, seq, codes=None, **changes):
        """Publish a latent; returns its codes."""
        codes = self.draw() if codes is None else codes
        latent = Latent(seq=seq, latent=self.latent(codes))
        latent.header.stamp = self.graph.client.get_clock().now().to_msg()
        for name, value in changes.items():
            setattr(latent, name, value)
        self.latents.publish(latent)
        return codes

    def latent(self, codes):
        return latent_message(codes, self.checkpoint.encoder_id)

    def request(self, max_steps=3, plan=None):
        wanted = ReachGoal.Goal
        message = SubgoalPlan()
        if plan is not None:
            message.count, message.subgoals = len(plan), self.latent(plan)
        return wanted(
            goal=Goal(latent=self.latent(self.goal)),
            planning=wanted.PURSUE_GOAL if plan is None else wanted.PURSUE_PLAN,
            plan=message,
            seed=self.SEED,
            max_steps=max_steps,
            first_observation_seq=self.FIRST,
        )

    def send(self, request, feedback=None):
        return self.graph.send_goal(ReachGoal, "reach_goal", request, feedback)

    def wait_for_commands(self, count):
        self.graph.wait(lambda: len(self.commands) >= count, f"command {count}")

    def walk(self, count, first=20):
        """Show observations one by one, each after the answer to the last; their codes."""
        shown = []
        for number in range(count):
            shown.append(self.show(first + number))
            self.wait_for_commands(number + 1)
        return shown


@pytest.fixture
def start_policy(graph, folder):
    """Starts a policy node; it and a Robot."""

    def start(folder=folder, **values):
        # A test shows observations before or after a goal, on a machine that may be busy, and
        # most have no client that lives on.
        values = {"fresh_for": 60.0, "keep_alive": 0.0, **values}
        options = parameters({"checkpoint": str(folder), **values})
        node = graph.add(PolicyNode(context=graph.context, parameter_overrides=options))
        # A node that is not configured does not know what its agent looks at.
        robot = Robot(graph, load_checkpoint(folder), readers=int(node.active))
        robot.node = node
        return node, robot

    return start
