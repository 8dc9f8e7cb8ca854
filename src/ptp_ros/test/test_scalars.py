# SPDX-License-Identifier: Apache-2.0
"""Figures of a node as number topics."""

import math

import numpy as np
import pytest
from rclpy.node import Node
from std_msgs.msg import Float64

from ptp_core.errors import InputError
from ptp_ros.diagnostics import Scalars
from ptp_ros.graph_testing import Graph
from ptp_ros.topics import LATCHED


@pytest.fixture
def graph():
    with Graph() as graph:
        yield graph


@pytest.fixture
def node(graph):
    return graph.add(Node("learner", namespace="/table", context=graph.context))


def values(messages):
    return [message.data for message in messages]


def test_a_figure_is_a_topic_below_its_node_and_late_readers_get_the_newest(graph, node):
    scalars = Scalars(node, "q_loss")
    scalars.publish({"q_loss": np.float32(0.5), "iql/steps": 3})
    scalars.publish({"q_loss": 0.25})
    losses = graph.collect(Float64, "/table/learner/q_loss", LATCHED)
    steps = graph.collect(Float64, "/table/learner/iql/steps", LATCHED)
    graph.wait(lambda: losses and steps, "the figures")
    assert (values(losses), values(steps)) == ([0.25], [3.0])
    scalars.publish({"q_loss": math.inf})
    graph.wait(lambda: len(losses) == 2, "the next")
    assert values(losses) == [0.25, math.inf]


def test_names_are_advertised_before_their_first_value(graph, node):
    scalars = Scalars(node, "buffer_size")
    graph.wait(lambda: graph.client.count_publishers("/table/learner/buffer_size") == 1, "it")
    assert math.isnan(scalars.newest()["buffer_size"])
    scalars.publish({"buffer_size": 7, "step": 2})
    assert scalars.newest() == {"buffer_size": 7.0, "step": 2.0}


@pytest.mark.parametrize("name", ["Loss", "q loss", "1st", "/loss", "loss/", ""])
def test_a_name_that_is_no_topic_is_refused(node, name):
    with pytest.raises(InputError, match="cannot name a scalar topic"):
        Scalars(node).publish({name: 1.0})
