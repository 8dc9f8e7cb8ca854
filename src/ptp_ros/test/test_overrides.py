# SPDX-License-Identifier: Apache-2.0
"""Every field of a configuration is a parameter; only what is set changes the configuration."""

import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter

from ptp_core.config import FollowerConfig, PlannerConfig
from ptp_core.errors import ConfigError
from ptp_ros.graph_testing import Graph, parameters
from ptp_ros.parameters import apply_overrides, declare_overrides, field_comments


@pytest.fixture(scope="module")
def graph():
    with Graph() as graph:
        yield graph


@pytest.fixture
def node(graph):
    made = []

    def node(**values):
        values = {f"planner.{name}": value for name, value in values.items()}
        options = parameters(values)
        made.append(Node("planner", context=graph.context, parameter_overrides=options))
        return made[-1]

    yield node
    for one in made:
        one.destroy_node()


def test_what_is_not_set_is_left_alone(node):
    one = node()
    values = declare_overrides(one, "planner", PlannerConfig)
    assert values == {}
    assert apply_overrides(one, PlannerConfig.fast(), values) == PlannerConfig.fast()


def test_what_is_set_replaces_the_presets_value_with_its_type(node):
    one = node(samples=32, temperature=1, sigmas=[0.5, 0.25, 0.1], subgoal_count="top_level")
    values = declare_overrides(one, "planner", PlannerConfig)
    config = apply_overrides(one, PlannerConfig.fast(), values)
    assert config == PlannerConfig.fast(
        samples=32, temperature=1.0, sigmas=(0.5, 0.25, 0.1), subgoal_count="top_level"
    )


def test_a_value_of_another_type_or_out_of_range_is_named(node):
    with pytest.raises(ConfigError, match=r"planner.samples is 'many'; give .* type integer"):
        declare_overrides(node(samples="many"), "planner", PlannerConfig)
    one = node(subgoal_count="some")
    values = declare_overrides(one, "planner", PlannerConfig)
    with pytest.raises(ConfigError, match=r'"subgoal_count" must be one of "total"'):
        apply_overrides(one, PlannerConfig.fast(), values)


@pytest.mark.parametrize("config", [PlannerConfig, FollowerConfig])
def test_every_field_is_a_read_only_parameter_with_the_fields_own_comment(node, config):
    one = node()
    declare_overrides(one, "planner", config)
    comments = field_comments(config)
    for name in config.__dataclass_fields__:
        descriptor = one.describe_parameter(f"planner.{name}")
        assert descriptor.read_only
        assert descriptor.description.startswith(comments.get(name, name))
    assert len(comments) > len(config.__dataclass_fields__) / 2
    name, value = next((n, f.default) for n, f in config.__dataclass_fields__.items())
    assert not one.set_parameters([Parameter(f"planner.{name}", value=value)])[0].successful
