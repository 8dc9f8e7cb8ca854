# SPDX-License-Identifier: Apache-2.0
"""The stack in which a person demonstrates on the simulated table, and everything is recorded."""

from __future__ import annotations

from dataclasses import replace

from ptp_bringup.pieces import NETWORKS, SIM_CLOCK, recordings, terminal
from ptp_bringup.sim_stack import SIM
from ptp_bringup.stack import Argument, From, NodeSpec, Stack, flag, words

SCRIPT = "script"
DEFAULTS = {"protocol": "varied"}  # other than those of SIM
DESCRIPTIONS = {
    "task": "whose scenes are set up, A, B or C, or several in turn, as A,B,C",
    "seed": "of the first scene; the next has the next",
    "rate": "commands a second, and pictures a second in real time, Hz",
    "episodes": "demonstrations that source:=script makes, before everything ends",
    "view": "start the view node: pictures, markers, path",
    "record": "folder of the session; a session goes on where it ended",
}
KEPT = ("task", "protocol", "episodes", "seed", "mode", "rate", "grasp", "view")
COMMON = (
    *("checkpoint", "params_file", "log_level", "use_rviz", "rviz_config"),
    *("only", "without"),
)
LOOKS = ("view", "robot_state_publisher", "camera_transform", "rviz")


def device(source: str) -> str:
    """Source of the teleop node: the script holds a gamepad."""
    return "joy" if source == SCRIPT else source


def pace(source: str) -> str:
    """When the teleop node sends commands: the script waits to see what each reading did."""
    return "readings" if source == SCRIPT else "rate"


def _argument(name: str) -> Argument:
    argument = next(argument for argument in SIM.arguments if argument.name == name)
    return replace(
        argument,
        default=DEFAULTS.get(name, argument.default),
        description=DESCRIPTIONS.get(name, argument.description),
    )


def _look(spec: NodeSpec) -> NodeSpec:
    """A node of SIM that shows something."""
    parameters = {n: v for n, v in spec.parameters.items() if n != "record"}
    return replace(spec, parameters=parameters)


TELEOP = Stack(
    name="teleop",
    description="demonstrate on the simulated table, and record it",
    arguments=(
        *(_argument(name) for name in KEPT),
        Argument(
            "source",
            "joy",
            "joy: gamepad; spacenav: SpaceMouse; keyboard: this terminal; twist: velocities of "
            "another program; script: a gamepad that nobody holds",
            ("joy", "spacenav", "keyboard", "twist", SCRIPT),
        ),
        Argument("speed", "0.5", "part of the largest motion that a full stick asks for"),
        Argument("record", "out/demonstrations", DESCRIPTIONS["record"]),
        Argument("record_images", "true", "record the large pictures, too", ("true", "false")),
        *(_argument(name) for name in COMMON),
    ),
    nodes=(
        NodeSpec(
            "ptp_sim",
            "sim_bridge",
            "sim_bridge",
            {
                "mode": From("mode"),
                "rate": From("rate", float),
                "grasp": From("grasp"),
                "truth": From("source", SCRIPT.__eq__),
            },
        ),
        NodeSpec("ptp_nodes", "encoder", "encoder", {**NETWORKS, **SIM_CLOCK}),
        NodeSpec(
            "ptp_nodes",
            "recorder",
            "recorder",
            {"folder": From("record", recordings), "image": From("record_images", flag)},
        ),
        NodeSpec(
            "ptp_nodes",
            "teleop",
            "teleop",
            {
                "source": From("source", device),
                "pace": From("source", pace),
                "rate": From("rate", float),
                "speed": From("speed", float),
                "tasks": From("task", words),
                "protocol": From("protocol"),
                "seed": From("seed", int),
                "set_up": True,
                "tty": terminal,
            },
        ),
        NodeSpec(
            "joy",
            "joy_node",
            "joy",
            when="source=joy",
            essential=False,
            respawn=True,
            optional=True,
        ),
        NodeSpec(
            "spacenav",
            "spacenav_node",
            "spacenav",
            when="source=spacenav",
            essential=False,
            respawn=True,
            optional=True,
        ),
        NodeSpec(
            "ptp_sim",
            "scripted_gamepad",
            "scripted_gamepad",
            {
                "episodes": From("episodes", int),
                "rate": From("rate", float),
                "grasp": From("grasp"),
                "speed": From("speed", float),
                "seed": From("seed", int),
            },
            when=f"source={SCRIPT}",
        ),
        *(_look(spec) for spec in SIM.nodes if spec.name in LOOKS),
    ),
)
