# SPDX-License-Identifier: Apache-2.0
"""Parameters mirror a dataclass; a mistake stops the node with one line."""

from dataclasses import dataclass

import pytest
from rcl_interfaces.srv import DescribeParameters
from rclpy.node import Node
from rclpy.parameter import Parameter

from ptp_core.errors import ConfigError
from ptp_ros.graph_testing import Graph, parameters
from ptp_ros.parameters import declare, parameter


@dataclass(frozen=True)
class Settings:
    rate: float = parameter(10.0, "images a second, Hz", minimum=1.0, maximum=60.0)
    size: int = parameter(48, "pixels", minimum=1)
    mode: str = parameter("fast", "how", choices=("fast", "slow"))
    names: tuple[str, ...] = parameter(("A",), "tasks")
    on: bool = parameter(True, "whether")


@pytest.fixture(scope="module")
def graph():
    with Graph() as graph:
        yield graph


@pytest.fixture
def make(graph):
    nodes = []

    def make(**values):
        node = Node("camera", context=graph.context, parameter_overrides=parameters(values))
        nodes.append(node)
        return node, declare(node, Settings)

    yield make
    for node in nodes:
        node.destroy_node()


def test_defaults_are_those_of_the_dataclass(make):
    assert make()[1] == Settings()


def test_given_values_replace_defaults_and_an_integer_is_a_number(make):
    settings = make(rate=20, mode="slow", names=["A", "B"])[1]
    assert (settings.rate, settings.mode, settings.names) == (20.0, "slow", ("A", "B"))
    assert isinstance(settings.rate, float)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"rate": 90.0}, "parameter rate is 90.0; it must be between 1.0 and 60.0"),
        ({"size": 0}, "parameter size is 0; it must be at least 1"),
        ({"size": "big"}, "parameter size is 'big', of type string; give .* type integer"),
        ({"mode": "medium"}, 'mode is "medium"; it must be one of fast, slow'),
        ({"rat": 3.0}, 'there is no parameter "rat"; did you mean "rate"'),
    ],
)
def test_a_mistake_is_named(make, values, text):
    with pytest.raises(ConfigError, match=f"camera: .*{text}|camera: {text}"):
        make(**values)


def test_descriptions_and_ranges_can_be_asked_for(graph):
    node = Node("described", context=graph.context)
    declare(node, Settings)
    graph.add(node)
    request = DescribeParameters.Request(names=["rate", "mode"])
    rate, mode = graph.call(
        DescribeParameters, "described/describe_parameters", request
    ).descriptors
    assert rate.description == "images a second, Hz"
    assert rate.read_only
    assert rate.floating_point_range[0].to_value == 60.0
    assert mode.additional_constraints == "one of fast, slow"


def test_a_parameter_cannot_be_changed_behind_the_nodes_back(make):
    node, _ = make()
    result = node.set_parameters([Parameter("rate", value=5.0)])[0]
    assert not result.successful
