# SPDX-License-Identifier: Apache-2.0
"""Settings of runs for the report, and the commands that repeat the runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptp_cli.options import ENV
from ptp_cli.report.gather_runs import FoundRuns
from ptp_core.config import PlannerConfig, to_dict
from ptp_core.config.planner_config import STRUCTURE
from ptp_core.practice.practice_settings import ABOUT, PRESETS
from ptp_core.practice.run_folder import PracticeRun

OWN = {"method", "task", "seed"}  # of a run: no setting of the whole
# Settings that are options of `ptp practice` by the same name, and their defaults there.
PLAIN = {
    "episodes": 5,
    "max_steps": 400,
    "evaluate_every": 10,
    "evaluation_episodes": 50,
    "env": ENV,
}


def configuration(found: FoundRuns) -> list[tuple[str, list[tuple[str, str]]]]:
    """Settings by name: [(value, whose it is)], one entry where all runs agree.

    The planner's and the follower's settings stand in the runs' settings.json.
    """
    names = dict.fromkeys(name for run in found.runs for name in run.settings)
    lines = []
    for name in names:
        if name in OWN:
            continue
        whose: dict[str, list[str]] = {}
        for run in found.runs:
            shown = _shown(name, run.settings.get(name))
            whose.setdefault(shown, []).append(found.name(run))
        values = [
            (shown, "" if len(whose) == 1 else ", ".join(dict.fromkeys(methods)))
            for shown, methods in whose.items()
        ]
        lines.append((name.replace("_", " "), values))
    return lines


def commands(found: FoundRuns, sources: Sequence[str], out: Path) -> list[tuple[str, str]]:
    """(Description, command line) of everything that the report shows."""
    listed = []
    swept = []
    for folder, about in found.sweeps:
        swept.append(folder.resolve())
        command = shlex.join(["ptp", "sweep", about["source"], "--out", str(folder)])
        listed.append((f"The sweep in {folder}", command))
    alone = [
        run
        for run in found.runs
        if not any(run.folder.resolve().is_relative_to(folder) for folder in swept)
    ]
    if alone:
        listed.append(("Practice", "\n".join(map(practice_command, alone))))
    words = ["ptp", "report", *sources, "-o", str(out)]
    return [*listed, ("This report", shlex.join(words))]


def practice_command(run: PracticeRun) -> str:
    """The command of a run, from its settings.

    The path of the checkpoint is not known from them.
    """
    settings = run.settings
    words = ["ptp", "practice", "--task", settings["task"], "--method", settings["method"]]
    words += ["--seed", str(settings["seed"]), "--epochs", str(len(run.epochs))]
    if settings.get("protocol"):
        words += ["--protocol", settings["protocol"]]
    for name, default in PLAIN.items():
        if settings.get(name, default) != default:
            words += [f"--{name.replace('_', '-')}", str(settings[name])]
    for name, value in settings.get("env_kwargs", {}).items():
        words += ["--env-arg", f"{name}={value}"]
    if settings.get("follower"):
        words += ["--subgoal-steps", str(settings["follower"]["timeout"])]
    words += _practice_words(settings)
    if settings.get("planner") and (preset := _preset(settings["planner"])):
        words += ["--planner", preset]
    return shlex.join([*words, "--out", str(run.folder)])


def _practice_words(settings: dict[str, Any]) -> list[str]:
    """Options of practice: the nearest preset, and the differences from it."""
    # Runs of earlier releases: "explore" stood for the actions, the simulator was the signal.
    values = {about.name: settings.get(about.name, about.paper) for about in ABOUT}
    if "success_signal" not in settings:
        values["success_signal"] = "simulator"
        values["actions"] = "mean" if settings.get("explore") is False else "sample"
    found = []
    for preset in PRESETS:
        words = [] if preset == PRESETS[0] else ["--preset", preset]
        for about in ABOUT:
            option, value = about.name.replace("_", "-"), values[about.name]
            if value == about.value(preset):
                continue
            if about.kind is bool:
                words.append(f"--{option}" if value else f"--no-{option}")
            else:
                words += [f"--{option}", str(value)]
        found.append(words)
    return min(found, key=len)


def _preset(planner: dict[str, Any]) -> str | None:
    """Name of the planner preset with this search effort, for any levels and subgoals."""
    effort = {key: value for key, value in planner.items() if key not in STRUCTURE}
    for name in ("fast", "descent", "best", "paper"):
        values = to_dict(getattr(PlannerConfig, name)())
        if {key: value for key, value in values.items() if key not in STRUCTURE} == effort:
            return name
    return None


def _shown(name: str, value: Any) -> str:
    if name == "planner" and isinstance(value, dict):
        # GCP and LEAP have neither presets nor levels.
        shown = [f"{value[key]} {key}" for key in ("samples", "iterations") if key in value]
        if preset := _preset(value):
            shown = [preset]
        if "levels" in value:
            shown.append(f"{value['levels']} level{'s' if value['levels'] != 1 else ''}")
        return ", ".join(shown)
    if name.endswith("_sha256") and isinstance(value, dict):
        return ", ".join(f"{part.split('.')[0]} {sha[:12]}" for part, sha in value.items())
    if name == "follower" and isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    if value is None or value == {}:
        return "\N{EN DASH}"
    return value if isinstance(value, str) else json.dumps(value)
