# SPDX-License-Identifier: Apache-2.0
"""Launch arguments that several launch files share, and their conversion to parameters."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptp_bringup.declarations import (
    AS_PRESET,
    Argument,
    Condition,
    LaunchConfiguration,
    Values,
    words,
)
from ptp_bringup.share_folder import released_checkpoint, released_finetuned, shared_root
from ptp_core.agents.registry import (
    DEFAULT_METHOD,
    agent_names,
    checkpoint_for,
    method_named,
    methods,
)
from ptp_core.data.instruction import given_instruction
from ptp_core.errors import ConfigError, quoted
from ptp_core.practice.practice_settings import ABOUT, SettingAbout
from ptp_core.practice.practice_settings import PRESETS as PRESET_NAMES
from ptp_core.rollout.episode_results import MAX_STEPS
from ptp_description import sawyer_urdf_path

TRUTH = ("true", "false")
EPISODE_STEPS = {"A": 400, "B": 400, "C": 400, "D": 600, "E": 600, "F": 600}
"""Control steps of an episode of each target task of the simulated table."""
LONG_EPISODE_STEPS = {f"long_{n}": 400 if n < 5 else 600 for n in range(1, 11)}
"""The same of each long task, which words tell apart."""
TASKS = (*EPISODE_STEPS, *LONG_EPISODE_STEPS)
PROTOCOLS = (
    *("paper", "varied", "shifted"),
    *("shifted_poses", "shifted_colours", "shifted_bodies"),
    *("distractors", "backgrounds"),
)
"""In which the simulated table draws scenes."""
PLANNERS = ("checkpoint", "paper", "fast", "descent", "best")
RELEASED = "released"
NONE = "none"  # nothing is recorded

# Pose of the simulated camera's optical frame: 0.5 m from (0.7, 0, -0.25), looking along -x and
# 27 degrees down (ptp_sim.sim_camera.CameraConfig).
SIM_CAMERA_POSE = (
    *("--x", "1.145503", "--y", "0", "--z", "-0.023005"),
    *("--qx", "0.602908", "--qy", "0.602908", "--qz", "-0.369462", "--qw", "-0.369462"),
    *("--frame-id", "base", "--child-frame-id", "camera_optical"),
)

COMMON = (
    Argument(
        "checkpoint",
        "",
        "folder of the checkpoint; empty: the released one, of the method where there is one, in "
        "models/",
    ),
    Argument("params_file", "", "YAML with parameters of single nodes, over the stack's own"),
    Argument(
        "log_level",
        "info",
        "least severe messages that are shown",
        ("debug", "info", "warn", "error", "fatal"),
    ),
    Argument("use_rviz", "false", "start RViz with the configuration below", TRUTH),
    Argument("rviz_config", "", "RViz configuration; empty: config/rviz/ptp.rviz"),
    Argument("only", "", "nodes to start on this machine, as learner,planner; empty: all"),
    Argument("without", "", "nodes that run on another machine, as learner,planner; empty: none"),
)
"""Of every stack."""

TABLE = (
    Argument(
        "protocol",
        "paper",
        "paper: the authors' fixed scenes; varied: everything moved a little; shifted: outside of "
        "what demonstrations show, in poses, colours and bodies; distractors, "
        "backgrounds: varied, with other objects on the table, or another table and other walls",
        PROTOCOLS,
    ),
    Argument(
        "mode",
        "real_time",
        "real_time: an image every 1/rate s; lock_step: the table waits for each command; it runs "
        "as fast as the machine can, and runs are repeatable",
        ("real_time", "lock_step"),
    ),
    Argument(
        "grasp",
        "assisted",
        "how the gripper holds the block: assisted (as the authors' code) or by friction",
        ("assisted", "physical"),
    ),
)
"""Of stacks with the simulated table."""

PLANNING = (
    Argument(
        "method",
        DEFAULT_METHOD,
        "how subgoals are planned. ptp_single_subgoal: one of the coarsest generator, then the "
        "goal; ptp: the paper's three levels and eight subgoals; model_free: none, the policy "
        "pursues the goal image; gcbc, gcp, leap: what ptp is compared with; lbp: it takes an "
        "instruction and plans backwards at every step. The graph keeps no plan buffer",
        agent_names(),
    ),
    Argument("agent", "", "another name for the argument method", same_as="method"),
    Argument(
        "planner",
        "checkpoint",
        "planner preset, the effort of the search: checkpoint (its own settings), fast, descent, "
        "best, paper, or a YAML file whose levels and subgoals are the method's",
    ),
)
"""Of stacks that plan."""

GOAL = Argument(
    "goal",
    "",
    "what to do, in words, in place of the task's own; the task still says which scene is set up. "
    "Needs a method that takes instructions, as agent:=lbp",
)
"""Of stacks that act."""

EPISODES = (
    Argument("episodes", "1", "episodes of each task", minimum=1),
    Argument("seed", "0", "of scenes, plans and actions", minimum=0),
    Argument(
        "max_steps",
        "0",
        "control steps of an episode; 0: as many as its task has, 600 for D, E, F and long_5 to "
        "long_10, else 400",
        minimum=0,
    ),
)
"""Of stacks that practise."""

RANGES = {"utd_ratio": (0.0, 100.0), "learning_rate": (1e-7, 0.1)}  # as the learner's


def _setting(about: SettingAbout) -> Argument:
    """An argument for a setting of practice."""
    choices = TRUTH if about.kind is bool else about.choices
    low, high = RANGES.get(about.name, (None, None))
    return Argument(
        about.name,
        AS_PRESET,
        about.help,
        (AS_PRESET, *choices) if choices else (),
        minimum=low,
        maximum=high,
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


LEARNING = (
    Argument(
        "demonstrations",
        "",
        "data set of ptp collect or ptp import-bag; part of each batch comes from it",
    ),
    Argument(
        "preset", PRESET_NAMES[0], "values of the settings that stand at preset", PRESET_NAMES
    ),
    *(_setting(about) for about in ABOUT),
    Argument("record_images", "true", "record the large images, too", TRUTH),
)
"""Of stacks that learn. The settings are those of `ptp practice`."""

PRESETS: dict[str, Values] = {
    name: {about.name: _text(about.value(name)) for about in ABOUT} for name in PRESET_NAMES
}
"""Values of the presets, for settings that are left at "preset"."""

RENAMED = {
    "explore": "actions:=sample or actions:=mean",
    "proven": "reuse_plans",
    "updates_per_step": "utd_ratio",
}
"""Arguments of earlier releases of stacks that learn."""


def with_defaults(arguments: Sequence[Argument], **defaults: str) -> tuple[Argument, ...]:
    """The same arguments with other defaults. Raises KeyError for an unknown name."""
    by_name = {argument.name: argument for argument in arguments}
    for name, default in defaults.items():
        by_name[name] = replace(by_name[name], default=default)
    return tuple(by_name.values())


def absolute(text: str) -> str:
    """Absolute path; empty stays empty."""
    return os.path.abspath(text) if text else ""


def existing(text: str) -> str:
    """Absolute path of an existing file or folder; empty stays empty. Raises ValueError."""
    if text and not os.path.exists(text):
        raise ValueError("a file or folder that exists")
    return absolute(text)


def checkpoint_folder(text: str) -> str:
    """Absolute folder of a checkpoint; empty means the released one. Raises ValueError."""
    if not text:
        return str(released_checkpoint())
    if not Path(text, "manifest.json").is_file():
        raise ValueError("the folder of a checkpoint, with its manifest.json")
    return absolute(text)


@dataclass(frozen=True)
class MethodCheckpoint(LaunchConfiguration):
    """The folder of the argument checkpoint; empty: of the method's released one.

    ``learns``: a learner begins with it, so that ConfigError is raised for a method without one.
    """

    name: str = "checkpoint"
    value_type: Any = checkpoint_folder
    learns: bool = False

    def resolve(self, values: Values) -> str:
        """The folder. Raises ConfigError and CheckpointError."""
        method = values["method"]
        if self.learns and not method_named(method).practises:
            raise ConfigError(
                f"method {method} does not learn from practice: learn:=false, or another method"
            )
        if values["checkpoint"]:
            return super().resolve(values)
        return str(checkpoint_for(method, released_checkpoint()))

    def names(self, values: Values | None = None) -> set[str]:
        """Both arguments; with ``values`` the folder's: a method alone chooses no checkpoint.

        So one in params_file goes before that of the method.
        """
        return {"checkpoint"} if values is not None else {"checkpoint", "method"}


@dataclass(frozen=True)
class EpisodeSteps(LaunchConfiguration):
    """Control steps of an episode: one number for all tasks, or one for each."""

    name: str = "max_steps"
    value_type: Any = int

    def resolve(self, values: Values) -> tuple[int, ...]:
        """The argument's, or those of the tasks where it is 0."""
        given = super().resolve(values)
        if given:
            return (given,)
        steps = {**EPISODE_STEPS, **LONG_EPISODE_STEPS}
        return tuple(steps.get(task, MAX_STEPS) for task in words(values["task"]))

    def names(self, values: Values | None = None) -> set[str]:
        """Both arguments; with ``values`` the number's, so that params_file goes before a task."""
        return {"max_steps"} if values is not None else {"max_steps", "task"}


@dataclass(frozen=True)
class Instruction(LaunchConfiguration):
    """The instruction of the argument goal; empty: the scene's own."""

    name: str = "goal"

    def resolve(self, values: Values) -> str:
        """The sentence. Raises GoalError for an unusable one, ConfigError for a second goal."""
        text = given_instruction(super().resolve(values), "goal")
        if text and values.get("goal_image"):
            raise ConfigError("goal and goal_image are two goals: give one of them")
        return text


@dataclass(frozen=True)
class GoalKindOfMethod(LaunchConfiguration):
    """How the agent of the method is told its goal: latent, image or language."""

    name: str = "method"

    def resolve(self, values: Values) -> str:
        """The kind. Raises as `Instruction`, and ConfigError for what the method cannot take."""
        method = method_named(values["method"])
        kind = "latent" if method.planned_before else method.goals[0]
        if given_instruction(values.get("goal", ""), "goal"):
            kind = "language"
        elif values.get("goal_image") and not method.planned_before:
            kind = "image"
        if kind not in (*method.goals, "latent"):
            others = ", ".join(name for name, one in methods().items() if kind in one.goals)
            argument = "goal" if kind == "language" else "goal_image"
            raise ConfigError(
                f"method {method.name} takes {' or '.join(method.goals)} goals, and {argument} is "
                f"one of kind {kind}: leave {argument} out, or choose one of {others}"
            )
        return kind

    def names(self, values: Values | None = None) -> set[str]:
        """Every argument that names a goal, and the method; of a stack those that it has."""
        found = {"method", "goal"}
        return found | {"goal_image"} if values is not None and "goal_image" in values else found


@dataclass(frozen=True)
class PlannedBefore(Condition):
    """Holds where a planner node plans for the method, once an episode."""

    def resolve(self, values: Values) -> bool:
        """Whether it holds."""
        return method_named(values["method"]).planned_before

    def names(self, values: Values | None = None) -> set[str]:
        """The method."""
        return {"method"}


@dataclass(frozen=True)
class FollowsSubgoals(PlannedBefore):
    """Holds where the method's agent follows subgoals, whoever plans them."""

    def resolve(self, values: Values) -> bool:
        """Whether it holds."""
        return method_named(values["method"]).follows


@dataclass(frozen=True)
class TableOfTasks(LaunchConfiguration):
    """The simulated table that has the tasks: "table", or "long_table" for the long ones."""

    name: str = "task"

    def resolve(self, values: Values) -> str:
        """Its name. Raises ConfigError for tasks of both."""
        tasks = words(values["task"])
        long = [task for task in tasks if task in LONG_EPISODE_STEPS]
        if long and len(long) < len(tasks):
            raise ConfigError(
                f"task is {quoted(values['task'])}; the long tasks have a table of their own: "
                "name tasks of one kind"
            )
        return "long_table" if long else "table"


def finetuned_folder(text: str) -> str:
    """Absolute folder of fine-tuned policies; "released" means those of the project."""
    return str(released_finetuned()) if text == RELEASED else existing(text)


def planner_preset(text: str) -> str:
    """Name of a preset, or a YAML file. Raises ValueError."""
    if text not in PLANNERS and not (text.endswith((".yaml", ".yml")) and os.path.isfile(text)):
        raise ValueError(f"one of {', '.join(PLANNERS)}, or a YAML file that exists")
    return text


def inside(name: str) -> Callable[[str], str]:
    """Function that joins a folder and ``name``."""
    return lambda text: os.path.join(absolute(text), name)


def recordings(text: str) -> str:
    """Absolute folder of recordings. Raises ConfigError for "true", "false" and "none"."""
    if text in (*TRUTH, NONE):
        raise ConfigError(
            f'record is "{text}"; it names the folder that is recorded into: record:=FOLDER'
        )
    return absolute(text)


def recordings_if_any(text: str) -> str:
    """Like `recordings`, but "none" gives an empty text."""
    if text in TRUTH:
        raise ConfigError(
            f'record is "{text}"; it names the folder that is recorded into: record:=FOLDER, or '
            f"record:={NONE}"
        )
    return "" if text == NONE else absolute(text)


def rviz_config(text: str) -> str:
    """Absolute path of an RViz configuration; empty means the one that comes with the project."""
    return existing(text) or str(shared_root() / "config" / "rviz" / "ptp.rviz")


def video_device(text: str) -> str:
    """A camera's number or name stays; a file that exists becomes absolute."""
    return os.path.abspath(text) if os.path.exists(text) else text


def robot_file(text: str) -> str:
    """Absolute path of a robot file: a name in config/robots, or a path. Raises ConfigError."""
    if text.endswith((".yaml", ".yml")) and os.path.isfile(text):
        return os.path.abspath(text)
    folder = shared_root() / "config" / "robots"
    path = folder / f"{text}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ConfigError(
            f"robot is {quoted(text)}; give one of {known}, or a YAML file like those"
        )
    return str(path)


def robot_urdf_path(text: str) -> str:
    """Absolute path of the URDF of the robot of `robot_file`. Raises ConfigError."""
    from ptp_robot.robot_file import load_robot

    return os.path.abspath(load_robot(robot_file(text)).urdf or sawyer_urdf_path())


def robot_urdf(text: str) -> str:
    """URDF text of the robot of `robot_file`. Raises ConfigError."""
    from ptp_core.data.file_limits import XML_MOST, read_bytes

    urdf = robot_urdf_path(text)
    try:
        return read_bytes(Path(urdf), XML_MOST).decode("utf-8")
    except OSError as error:
        raise ConfigError(f"the robot's urdf {urdf} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"the robot's urdf {urdf} is refused ({error})") from error


def sawyer_urdf() -> str:
    """URDF text of the simulated arm."""
    return Path(sawyer_urdf_path()).read_text(encoding="utf-8")


ASK = "ask"


def instruction_of_person(text: str) -> str:
    """The instruction as it is; "ask" asks the person at this terminal.

    Raises GoalError for an unusable sentence, ConfigError where there is no terminal.
    """
    if text != ASK:
        return given_instruction(text, "instruction")
    if not terminal():
        raise ConfigError(
            "instruction is ask, and there is no terminal to ask at: instruction:='what is shown'"
        )
    while True:
        if answer := input("What do you show, in words? ").strip():
            return given_instruction(answer, "the instruction")


def terminal() -> str:
    """Path of the terminal in which the stack was started; empty: none."""
    stdin = sys.__stdin__
    return os.ttyname(stdin.fileno()) if stdin is not None and stdin.isatty() else ""
