# SPDX-License-Identifier: Apache-2.0
"""The stack that practises with a real arm, or with the simulated one behind joint controllers.

What moves the arm is never started again by itself: where a driver died, a person looks first.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ptp_bringup.camera_stack import CAMERA
from ptp_bringup.pieces import (
    COMMON,
    NONE,
    TRUTH,
    absolute,
    device,
    recordings_if_any,
    terminal,
)
from ptp_bringup.practice_stack import PRACTICE
from ptp_bringup.shared import shared_root
from ptp_bringup.stack import Argument, From, NodeSpec, Stack, flag
from ptp_core.errors import ConfigError
from ptp_core.practice.practice_settings import ABOUT
from ptp_description import sawyer_urdf_path

SIMULATED = "sim_joint"  # the robot whose table is simulated
# Arguments and nodes that are those of other stacks.
PRACTISED = (
    *("method", "planner", "episodes", "seed", "max_steps", "output", "demonstrations"),
    *("preset", *(about.name for about in ABOUT), "record_images"),
)
NODES = ("encoder", "planner", "policy", "practice", "recorder", "learner", "view")
LOOKS = ("robot_state_publisher", "camera_transform", "rviz")
DEFAULTS = {"output": "out/real"}  # other than those of PRACTICE
SOURCES = ("none", "joy", "spacenav", "keyboard", "twist")


def robot_file(text: str) -> str:
    """Absolute path of a robot's file, by name in config/robots or by path. ConfigError."""
    if text.endswith((".yaml", ".yml")):
        return os.path.abspath(text)
    folder = shared_root() / "config" / "robots"
    path = folder / f"{text}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ConfigError(f'robot is "{text}"; give one of {names}, or a YAML file like those')
    return str(path)


def description(text: str) -> str:
    """URDF of a robot, as text."""
    from ptp_robot.robot_file import load_robot

    urdf = load_robot(robot_file(text)).urdf or sawyer_urdf_path()
    try:
        return Path(urdf).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the robot's urdf {urdf} cannot be read ({error.strerror})") from error


def answers(teleop: str) -> str:
    """Terminal whose keys answer the operator; the keyboard that drives the arm does not."""
    return "" if teleop == "keyboard" else terminal()


def _argument(name: str) -> Argument:
    found = next(argument for argument in PRACTICE.arguments if argument.name == name)
    return replace(found, default=DEFAULTS.get(name, found.default))


def _node(spec: NodeSpec) -> NodeSpec:
    """A node of PRACTICE on real time. Practice itself does not begin again unasked."""
    parameters = {
        name: value
        for name, value in spec.parameters.items()
        if not (isinstance(value, From) and value.argument == "mode")
    }
    when = spec.when
    if spec.name == "practice":
        parameters |= {
            "record": From("record", NONE.__ne__),
            "goal_image": From("goal_image", absolute),
            "await_arm": True,
        }
        return replace(spec, parameters=parameters, essential=True, respawn=False)
    if spec.name == "robot_state_publisher":
        parameters["robot_description"] = From("robot", description)
    if spec.name == "camera_transform":
        when = f"robot={SIMULATED}"
    if spec.name == "recorder":
        parameters["folder"] = From("record", recordings_if_any, parameters["folder"])
        when = f"record!={NONE}"
    if spec.name == "view":
        when = "viewer"
    return replace(spec, parameters=parameters, when=when)


def _device(package: str, executable: str, source: str) -> NodeSpec:
    return NodeSpec(
        package,
        executable,
        source,
        when=f"teleop={source}",
        essential=False,
        respawn=True,
        optional=True,
    )


_NODES = {spec.name: _node(spec) for spec in PRACTICE.nodes}
_CAMERA = next(spec for spec in CAMERA.nodes if spec.name == "camera")

REAL = Stack(
    name="real",
    presets=PRACTICE.presets,
    renamed=PRACTICE.renamed,
    description="practise with an arm, and learn from it",
    arguments=(
        Argument(
            "robot",
            SIMULATED,
            "sawyer, ros2_control, fake (an arm in memory), sim_joint (the simulated table behind "
            "joint controllers), another of config/robots, or a YAML file like those",
        ),
        Argument(
            "preflight", "true", "refuse to enable the arm until ptp doctor --real passed", TRUTH
        ),
        Argument("camera", "0", "camera: number or /dev/v4l/by-id/...; not for sim_joint"),
        *(a for a in CAMERA.arguments if a.name in ("crop", "offset", "rate")),
        Argument("task", "A", "goals to practise, several in turn as A,B: names in goals:="),
        Argument("goals", "goals", "folder of goals that ptp goal capture took"),
        Argument("goal_image", "", "picture or goal file to reach instead of the task's goal"),
        Argument(
            "protocol",
            "paper",
            "of the scenes of sim_joint, as for ptp up sim",
            ("paper", "varied"),
        ),
        Argument("teleop", "none", "what a person takes over with, and demonstrates", SOURCES),
        Argument(
            "operator",
            "true",
            "start the node through which a person sets up scenes and judges; not for sim_joint",
            TRUTH,
        ),
        Argument(
            "record",
            "",
            "folder that every episode is recorded into; empty: recordings in output; none: "
            "nothing is recorded, and nothing can be learned",
        ),
        Argument("learn", "false", "start the learner", TRUTH),
        Argument("viewer", "true", "start the view node: pictures, markers, path", TRUTH),
        *(_argument(name) for name in PRACTISED),
        *COMMON,
    ),
    nodes=(
        NodeSpec(
            "ptp_sim",
            "joint_bridge",
            "joint_bridge",
            {"rate": From("rate", float)},
            when=f"robot={SIMULATED}",
        ),
        replace(
            _CAMERA,
            parameters={**_CAMERA.parameters, "device": From("camera", device)},
            when=f"robot!={SIMULATED}",
            essential=False,
            respawn=True,
        ),
        NodeSpec(
            "ptp_nodes",
            "arm_driver",
            "arm_driver",
            {"robot_file": From("robot", robot_file), "preflight": From("preflight", flag)},
        ),
        NodeSpec(
            "ptp_nodes",
            "operator",
            "operator",
            {
                "goals": From("goals", absolute),
                # A gamepad that nobody has would be missed by the preflight.
                "gamepad": From("teleop", "joy".__eq__),
                "tty": From("teleop", answers),
            },
            when=f"operator,robot!={SIMULATED}",
        ),
        *(_NODES[name] for name in NODES),
        NodeSpec(
            "ptp_nodes",
            "teleop",
            "teleop",
            {"source": From("teleop"), "rate": From("rate", float), "tty": terminal},
            when="teleop!=none",
            essential=False,
            respawn=True,
        ),
        _device("joy", "joy_node", "joy"),
        _device("spacenav", "spacenav_node", "spacenav"),
        *(_NODES[name] for name in LOOKS),
    ),
)
