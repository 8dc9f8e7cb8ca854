# SPDX-License-Identifier: Apache-2.0
"""Parameters of the practice node, and of others that share its settings and their defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ptp_core.agents.registry import DEFAULT_METHOD, METHOD_HELP, agent_names
from ptp_core.practice.practice_settings import ABOUT
from ptp_core.rollout.episode_results import MAX_STEPS
from ptp_nodes.practice.practice_loop import RunSettings
from ptp_nodes.practice.practice_metrics import NONE, SIGNALS
from ptp_ros.parameters import parameter


def practice_setting(name: str, minimum: float | None = None, maximum: float | None = None) -> Any:
    """A field for the setting ``name`` of `PracticeSettings`, its default that of preset ours."""
    about = next(about for about in ABOUT if about.name == name)
    return parameter(
        about.ours, about.help, minimum=minimum, maximum=maximum, choices=about.choices
    )


# How the agent is told the goal.
LATENT_KIND, IMAGE_KIND, LANGUAGE_KIND = "latent", "image", "language"


@dataclass(frozen=True)
class PracticeParameters:
    """Parameters of the practice node."""

    tasks: tuple[str, ...] = parameter(("A",), "tasks to practise in turn: A, B, C")
    protocol: str = parameter(
        "paper",
        "paper: the authors' fixed scenes; varied: everything moved a little",
        choices=("paper", "varied"),
    )
    method: str = parameter(DEFAULT_METHOD, METHOD_HELP, choices=agent_names)
    episodes: int = parameter(1, "episodes of each task", minimum=1)
    seed: int = parameter(0, "of scenes, plans and actions", minimum=0)
    max_steps: int = parameter(MAX_STEPS, "control steps an episode", minimum=1)
    preset: str = parameter("", "planner settings; empty: the planner's own")
    goal_image: str = parameter(
        "",
        "goal file (ptp goal capture), PNG or JPEG of the goal instead of the scene's own "
        "picture; success is still judged by the scene's",
    )
    goal_kind: str = parameter(
        LATENT_KIND,
        "how the agent is told the goal; latent: encoded, and planned by the planner node; image, "
        "language: as it is, and the agent plans for itself",
        choices=(LATENT_KIND, IMAGE_KIND, LANGUAGE_KIND),
    )
    output: str = parameter("", "folder for summary.json; empty: none is written")
    resume: bool = parameter(False, "go on with what an earlier run left over in output")
    success_signal: str = parameter(
        NONE,
        "what the planner's plan library is told of an episode's end; none: nothing; simulator: "
        "PRIVILEGED, the verdict on the scene; latent: whether the last latent is near the goal's",
        choices=SIGNALS,
    )
    checkpoint: str = parameter("", "folder of the checkpoint; for success_signal latent alone")
    use_recorder: bool = parameter(False, "let the recorder node keep each episode")
    most_due: int = parameter(
        0,
        "gradient steps that the learner may be behind when an episode begins; 0: any",
        minimum=0,
    )
    await_arm: bool = parameter(
        False, "begin an episode only when arm_driver says that the arm is enabled"
    )
    patience: float = parameter(
        60.0, "s to wait for a node to appear and for quick answers", minimum=0.1
    )
    scene_patience: float = parameter(
        0.0,
        "s that setting up or judging the scene may take, where a person does it; 0: patience",
        minimum=0.0,
    )
    plan_patience: float = parameter(900.0, "s that a plan may take", minimum=1.0)
    silence: float = parameter(
        60.0, "s without news from planner or policy until they count as dead", minimum=1.0
    )
    max_failures: int = parameter(3, "episodes failing in a row until giving up", minimum=1)
    stay: bool = parameter(False, "stay after the last episode instead of ending the process")

    def run_settings(self) -> RunSettings:
        """What `PracticeLoop` needs of them."""
        names = [field.name for field in fields(RunSettings)]
        return RunSettings(**{name: getattr(self, name) for name in names})
