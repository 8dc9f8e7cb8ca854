# SPDX-License-Identifier: Apache-2.0
"""What the planner is told of an episode's end, by each success signal."""

import numpy as np
import pytest
from ptp_interfaces.msg import EpisodeStatus, ErrorCode, Latent
from rclpy.node import Node

from ptp_core.errors import ConfigError
from ptp_core.tiny_networks import tiny_checkpoint, tiny_config
from ptp_core.training.checkpoint import load_checkpoint
from ptp_nodes.practice.practice_metrics import PlanOutcome
from ptp_ros.agent_messages import latent_message
from ptp_ros.request_errors import RequestError
from ptp_ros.topics import LATCHED, PLAN_OUTCOME

GOAL = np.random.default_rng(0).integers(0, 32, 144).astype(np.uint16)
ELSEWHERE = (GOAL + 7) % 32


def latent(codes, encoder):
    return Latent(latent=latent_message(codes, encoder))


@pytest.fixture
def strict(tmp_path):
    """A checkpoint whose reward epsilon tells two random latents apart."""
    tiny_checkpoint(tmp_path / "tiny", config=tiny_config(reward_epsilon=1e-3))
    return tmp_path / "tiny"


@pytest.fixture
def outcome(graph):
    def make(signal, checkpoint=""):
        node = Node("practice", context=graph.context)
        graph.add(node)
        return PlanOutcome(node, signal, str(checkpoint))

    return make


def never():
    raise AssertionError("the last latent is nobody's business")


@pytest.mark.parametrize("judged", [True, False])
def test_the_simulators_signal_is_its_verdict(graph, outcome, judged):
    told = graph.collect(EpisodeStatus, PLAN_OUTCOME, LATCHED)
    outcome("simulator").tell("run/1", judged, never, Latent())
    graph.wait(lambda: told, "the outcome")
    assert (told[0].episode_id, told[0].state) == ("run/1", EpisodeStatus.JUDGED)
    assert told[0].success is judged


@pytest.mark.parametrize("judged", [True, False])
def test_the_latent_signal_does_not_see_the_verdict(graph, outcome, strict, judged):
    told = graph.collect(EpisodeStatus, PLAN_OUTCOME, LATCHED)
    encoder = load_checkpoint(strict).encoder_id
    goal = latent(GOAL, encoder)
    teller = outcome("latent", strict)
    for codes, near in ((GOAL, True), (ELSEWHERE, False)):
        teller.tell("run/1", judged, lambda c=codes: latent(c, encoder), goal)
        graph.wait(lambda wanted=near: told and told[-1].success is wanted, "the outcome")


def test_what_cannot_be_compared_leaves_the_plan_without_a_verdict(graph, outcome, strict):
    told, logs = graph.collect(EpisodeStatus, PLAN_OUTCOME, LATCHED), graph.logs()
    encoder = load_checkpoint(strict).encoder_id
    goal = latent(GOAL, encoder)
    teller = outcome("latent", strict)
    blind = Latent(error_code=ErrorCode.BAD_IMAGE, error_msg="the image is black")
    teller.tell("run/1", True, lambda: blind, goal)
    logs.expect("run/1: its plan has no verdict: the image is black")
    teller.tell("run/2", True, lambda: latent(GOAL, "0" * 64), goal)
    logs.expect("run/2: its plan has no verdict: the last latent is of encoder 000000000000")
    teller.tell("run/3", True, lambda: goal, goal)
    graph.wait(lambda: told, "the outcome")
    assert [status.episode_id for status in told] == ["run/3"]


def test_a_node_that_stops_says_so(outcome, strict):
    def stopped():
        raise RequestError(ErrorCode.SHUTTING_DOWN, "the node stops")

    with pytest.raises(RequestError, match="the node stops"):
        outcome("latent", strict).tell("run/1", True, stopped, Latent())


def test_the_latent_signal_needs_networks(outcome):
    with pytest.raises(ConfigError, match="set the parameter checkpoint"):
        outcome("latent")
