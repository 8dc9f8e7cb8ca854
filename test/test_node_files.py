# SPDX-License-Identifier: Apache-2.0
"""Files that repeat what the code says, checked against it."""

import dataclasses

import numpy as np
import pytest
import yaml

from ptp_bringup.arguments import PLANNERS, SIM_CAMERA_POSE, TASKS
from ptp_bringup.declarations import LaunchConfiguration
from ptp_bringup.share_folder import shared_root
from ptp_bringup.stacks import all_stacks
from ptp_core.config import FollowerConfig
from ptp_core.config.train_config import PLANNER_PRESETS
from ptp_nodes.nodes.arm_driver_node import ArmDriverParameters
from ptp_nodes.nodes.camera_node import CameraParameters
from ptp_nodes.nodes.learner_node import LearnerParameters
from ptp_nodes.nodes.operator_node import OperatorParameters
from ptp_nodes.nodes.planner_node import CHECKPOINT, PlannerParameters
from ptp_nodes.nodes.policy_node import PolicyParameters
from ptp_nodes.nodes.practice_node import PracticeParameters
from ptp_nodes.nodes.recorder_node import RecorderParameters
from ptp_nodes.nodes.teleop_node import TeleopParameters
from ptp_nodes.nodes.view_node import ViewParameters
from ptp_nodes.policy.agent_networks import NetworkParameters
from ptp_sim.long_tasks import ALL_TASKS
from ptp_sim.scripted_gamepad_node import ScriptedGamepadParameters
from ptp_sim.sim_camera import CameraConfig
from ptp_sim.table_node import JointBridgeParameters, SimBridgeParameters

PARAMETERS = {
    "arm_driver": ArmDriverParameters,
    "camera": CameraParameters,
    "encoder": NetworkParameters,
    "joint_bridge": JointBridgeParameters,
    "learner": LearnerParameters,
    "operator": OperatorParameters,
    "planner": PlannerParameters,
    "policy": PolicyParameters,
    "practice": PracticeParameters,
    "recorder": RecorderParameters,
    "scripted_gamepad": ScriptedGamepadParameters,
    "sim_bridge": SimBridgeParameters,
    "teleop": TeleopParameters,
    "view": ViewParameters,
}
STACKS = all_stacks()
FOLLOWER = {f"follower.{field.name}" for field in dataclasses.fields(FollowerConfig)}


def defaults(name):
    return {field.name: field.default for field in dataclasses.fields(PARAMETERS[name])}


@pytest.mark.parametrize(
    "path", sorted((shared_root() / "config" / "nodes").glob("*.yaml")), ids=lambda p: p.name
)
def test_a_parameter_file_has_known_keys_and_the_nodes_own_defaults(path):
    content = yaml.safe_load(path.read_text())
    assert content
    for node, section in content.items():
        known = defaults(node)
        for name, value in section["ros__parameters"].items():
            assert value == known[name], f"{node}.{name}"


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_stack_sets_only_parameters_that_its_nodes_have(stack):
    for node in stack.nodes:
        if node.name in PARAMETERS:
            known = {*defaults(node.name), *FOLLOWER, "use_sim_time"}
            assert set(node.parameters) <= known, node.name


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_number_that_an_argument_takes_is_one_that_the_node_takes(stack):
    """So that a wrong one is refused before anything starts."""
    arguments = {argument.name: argument for argument in stack.arguments}
    checked = 0
    for node in stack.nodes:
        if node.name not in PARAMETERS:
            continue
        fields = {f.name: f for f in dataclasses.fields(PARAMETERS[node.name])}
        for name, value in node.parameters.items():
            if isinstance(value, LaunchConfiguration) and value.value_type in (int, float):
                argument, limits = arguments[value.name], fields[name].metadata
                for end, inside in (("minimum", float.__ge__), ("maximum", float.__le__)):
                    if limits[end] is not None:
                        given = getattr(argument, end)
                        assert given is not None, f"{argument.name} has no {end}"
                        assert inside(float(given), float(limits[end])), argument.name
                        checked += 1
    assert checked


def test_the_tasks_that_launch_files_take_are_those_of_the_table():
    assert set(TASKS) == set(ALL_TASKS)


def test_the_planners_that_launch_files_take_are_those_that_there_are():
    assert set(PLANNERS) == {CHECKPOINT, *PLANNER_PRESETS}


def test_the_camera_transform_is_that_of_the_simulated_camera():
    words = dict(zip(SIM_CAMERA_POSE[::2], SIM_CAMERA_POSE[1::2], strict=True))
    position = np.array([float(words[f"--{axis}"]) for axis in "xyz"])
    x, y, z, w = (float(words[f"--q{axis}"]) for axis in "xyzw")
    forward = np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])
    down = np.array([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)])
    config = CameraConfig()
    yaw, pitch = np.deg2rad([config.yaw, config.pitch])
    level = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    expected = np.cos(pitch) * level + np.array([0.0, 0.0, np.sin(pitch)])
    assert forward == pytest.approx(expected, abs=1e-5)
    assert position == pytest.approx(config.target - config.distance * expected, abs=1e-5)
    assert down[2] < -0.8  # the picture is upright
