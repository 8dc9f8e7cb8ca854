# SPDX-License-Identifier: Apache-2.0
"""The stack that practises a task on the simulated table and learns from it (paper Alg. 1)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ptp_bringup.pieces import NETWORKS, absolute
from ptp_bringup.sim_stack import SIM
from ptp_bringup.stack import AS_PRESET, Argument, From, NodeSpec, Stack, flag
from ptp_core.practice.practice_settings import ABOUT, PRESETS, SettingAbout


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _setting(about: SettingAbout) -> Argument:
    """An argument for a setting of practice."""
    choices = ("true", "false") if about.kind is bool else about.choices
    return Argument(about.name, AS_PRESET, about.help, (AS_PRESET, *choices) if choices else ())


DEFAULTS = {"episodes": "200", "mode": "lock_step", "view": "false"}  # other than those of SIM
OWN = (
    Argument(
        "output", "out/practice", "folder of recordings, learner and summary; a run goes on there"
    ),
    Argument(
        "demonstrations",
        "",
        "data set of ptp collect or ptp import-bag that part of each batch comes from",
    ),
    Argument("preset", PRESETS[0], "values of the settings that stand at preset", PRESETS),
    *(_setting(about) for about in ABOUT),
    Argument("record_images", "true", "record the large pictures, too", ("true", "false")),
    Argument("learn", "true", "start the learner", ("true", "false")),
)
REPLACED = ("output", "record", "goal_image", "finetuned")


def inside(name: str) -> Callable[[str], str]:
    """Conversion of a folder to one inside it."""
    return lambda text: os.path.join(absolute(text), name)


def _argument(argument: Argument) -> Argument:
    return replace(argument, default=DEFAULTS.get(argument.name, argument.default))


def _node(spec: NodeSpec) -> NodeSpec:
    """A node of SIM. Whatever dies is started again, and practice goes on."""
    parameters = {
        name: value
        for name, value in spec.parameters.items()
        if not (isinstance(value, From) and value.argument in REPLACED)
    }
    if spec.name == "policy":
        parameters["follower.sample_actions"] = From("actions", "sample".__eq__)
    if spec.name == "planner":
        parameters["plan_library"] = From("output", inside("plans.safetensors"))
        parameters["reuse_plans"] = From("reuse_plans", flag)
        parameters["success_signal"] = From("success_signal")
    if spec.name == "practice":
        parameters |= {
            **NETWORKS,
            "success_signal": From("success_signal"),
            "output": From("output", absolute),
            "record": True,
            "resume": True,
            "most_due": From("learn", lambda text: 2000 * flag(text)),
            "patience": 20.0,
            "silence": 10.0,
            "max_failures": 20,
        }
    essential = spec.name == "practice"
    return replace(spec, parameters=parameters, essential=essential, respawn=spec.name != "rviz")


PRACTICE = Stack(
    name="practice",
    presets={name: {about.name: _text(about.value(name)) for about in ABOUT} for name in PRESETS},
    renamed={"explore": "actions:=sample or actions:=mean", "proven": "reuse_plans"},
    description="practise a task on the simulated table, and learn from it",
    arguments=(
        *(_argument(argument) for argument in SIM.arguments if argument.name not in REPLACED),
        *OWN,
    ),
    nodes=(
        *(_node(spec) for spec in SIM.nodes),
        NodeSpec(
            "ptp_nodes",
            "recorder",
            "recorder",
            {
                "folder": From("output", inside("recordings")),
                "image": From("record_images", flag),
            },
            essential=False,
            respawn=True,
        ),
        NodeSpec(
            "ptp_nodes",
            "learner",
            "learner",
            {
                **NETWORKS,
                "folder": From("output", inside("learner")),
                "demonstrations": From("demonstrations", absolute),
                "learn_from": From("learn_from"),
                "success_signal": From("success_signal"),
                "updates_per_step": From("updates_per_step", float),
                "learning_rate": From("learning_rate", float),
            },
            when="learn",
            essential=False,
            respawn=True,
        ),
    ),
)
