# SPDX-License-Identifier: Apache-2.0
"""Which scenes a data set covers: demonstrations near a scene, counted in groups of numbers.

An environment declares groups in ``scene_groups``, {group: {number: tolerance}}, with the names of
``info["scene"]``: what must be near at the same time, such as x, y and yaw of a drawer. It draws
scenes with ``sample_scene(task, protocol, seed)``, which returns their numbers and simulates
nothing. Without either, and for data without scenes, coverage is unknown and nothing is claimed.

Numbers of demonstrations are rounded to a grid of one tolerance, so that a checkpoint can carry
what its data cover in a few kilobytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from ptp_core.data.file_limits import load_json
from ptp_core.data.files import write_atomically
from ptp_core.errors import DatasetError, InputError

COVERAGE = "coverage.json"
"""Name of the file in a data set's folder."""
LEAST = 5
"""Demonstrations near a scene that cover it."""
MOST = 9
"""Largest count that is kept of a cell, as one digit."""
DRAWS = 40
"""Scenes that a report draws of each task and protocol."""

Scene = Mapping[str, float]
Groups = Mapping[str, Mapping[str, float]]  # tolerance of each number, by group


@dataclass(frozen=True)
class GroupCells:
    """Demonstrations by cell of the grid, for the numbers of one group.

    Attributes:
        tolerances: of each number, in its unit; also the width of a cell.
        cells: demonstrations in each cell that has any; a cell is the rounded numbers.

    """

    tolerances: Mapping[str, float]
    cells: Mapping[tuple[int, ...], int]

    @classmethod
    def of_scenes(cls, tolerances: Mapping[str, float], scenes: Iterable[Scene]) -> GroupCells:
        """Count scenes; those that lack a number of the group are left out."""
        found: Counter[tuple[int, ...]] = Counter()
        for scene in scenes:
            if all(name in scene for name in tolerances):
                values = (scene[name] / width for name, width in tolerances.items())
                found[tuple(round(value) for value in values)] += 1
        return cls(tolerances, {cell: min(count, MOST) for cell, count in found.items()})

    def covers(self, scene: Scene) -> bool:
        """Whether `LEAST` demonstrations are within the tolerances, or the group does not apply.

        It does not apply to a scene that has none of its numbers, such as a size in usual scenes.
        A cell counts where its middle is within the tolerances in every number.
        """
        if not any(name in scene for name in self.tolerances):
            return True
        if not all(name in scene for name in self.tolerances):
            return False
        near = []
        for name, width in self.tolerances.items():
            value = scene[name] / width
            near.append(range(int(np.ceil(value - 1.0)), int(np.floor(value + 1.0)) + 1))
        return sum(self.cells.get(cell, 0) for cell in product(*near)) >= LEAST

    def as_dict(self) -> dict[str, Any]:
        """Plain values: for all numbers but the last, "first:digits", a digit a cell."""
        rows: dict[tuple[int, ...], dict[int, int]] = {}
        for cell, count in sorted(self.cells.items()):
            rows.setdefault(cell[:-1], {})[cell[-1]] = count
        texts = {}
        for row, counts in rows.items():
            first, last = min(counts), max(counts)
            digits = "".join(str(counts.get(at, 0)) for at in range(first, last + 1))
            texts[",".join(map(str, row))] = f"{first}:{digits}"
        return {"tolerances": dict(self.tolerances), "cells": texts}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GroupCells:
        """Read what `as_dict` wrote. Raises KeyError, TypeError, ValueError, AttributeError."""
        cells = {}
        for key, text in values["cells"].items():
            row = tuple(int(part) for part in key.split(",") if part)
            first, _, digits = text.partition(":")
            for offset, digit in enumerate(digits):
                if int(digit):
                    cells[(*row, int(first) + offset)] = int(digit)
        tolerances = {str(name): float(width) for name, width in values["tolerances"].items()}
        return cls(tolerances, cells)


@dataclass(frozen=True)
class SceneCoverage:
    """What a data set covers, by group."""

    groups: Mapping[str, GroupCells]

    @classmethod
    def of_scenes(cls, groups: Groups, scenes: Iterable[Scene]) -> SceneCoverage:
        """Count the scenes of demonstrations."""
        scenes = list(scenes)
        return cls({name: GroupCells.of_scenes(wanted, scenes) for name, wanted in groups.items()})

    @classmethod
    def from_dict(cls, values: Any) -> SceneCoverage:
        """Read what `as_dict` wrote. Raises DatasetError for anything else."""
        try:
            return cls({name: GroupCells.from_dict(cells) for name, cells in values.items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(f"coverage of the data is damaged ({error!r})") from error

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: cells.as_dict() for name, cells in self.groups.items()}

    def shares(self, scenes: Sequence[Scene]) -> dict[str, Any]:
        """Shares of scenes that are covered: {"scenes": n, "all": share, "groups": {...}}."""
        inside = {
            name: [cells.covers(scene) for scene in scenes] for name, cells in self.groups.items()
        }
        return {
            "scenes": len(scenes),
            "all": float(np.mean(np.all(list(inside.values()), axis=0))),
            "groups": {name: float(np.mean(found)) for name, found in inside.items()},
        }


def scene_groups(env: gymnasium.Env, name: str) -> Groups:
    """The groups that an environment declares; {} where it declares none or draws no scenes.

    Raises InputError, which names ``name``, for an invalid declaration.
    """
    inner = env.unwrapped
    groups = getattr(inner, "scene_groups", {})
    if not groups or not callable(getattr(inner, "sample_scene", None)):
        return {}
    fits = isinstance(groups, Mapping) and all(
        isinstance(numbers, Mapping) and numbers and all(width > 0 for width in numbers.values())
        for numbers in groups.values()
    )
    if not fits:
        raise InputError(
            f"{name}: scene_groups is {groups!r}; it must be {{group: {{number: tolerance}}}}"
        )
    return groups


def shares_of_task(
    coverage: SceneCoverage,
    env: gymnasium.Env,
    task: str,
    protocol: str,
    seeds: Iterable[int] = range(DRAWS),
) -> dict[str, Any]:
    """`SceneCoverage.shares` of the scenes that the environment draws from these seeds."""
    draw: Callable[[str, str, int], Scene] = env.unwrapped.sample_scene
    return coverage.shares([draw(task, protocol, seed) for seed in seeds])


def report_coverage(
    env: gymnasium.Env, name: str, scenes: Sequence[Scene], protocols: Sequence[str] = ("",)
) -> dict[str, Any] | None:
    """What demonstrations with these scenes cover, for every task and protocol; None: unknown.

    Returns {"demonstrations", "least", "groups": cells, "drawn": {protocol: {task: shares}}}.
    """
    groups = scene_groups(env, name)
    known = [scene for scene in scenes if scene]
    if not groups or not known:
        return None
    coverage = SceneCoverage.of_scenes(groups, known)
    tasks = tuple(getattr(env.unwrapped, "tasks", ())) or ("",)
    return {
        "demonstrations": len(known),
        "least": LEAST,
        "groups": coverage.as_dict(),
        "drawn": {
            protocol: {task: shares_of_task(coverage, env, task, protocol) for task in tasks}
            for protocol in tuple(getattr(env.unwrapped, "protocols", ())) or protocols
        },
    }


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write a report into a data set's folder."""
    text = json.dumps(report, indent=1) + "\n"
    write_atomically(folder / COVERAGE, lambda path: path.write_text(text, encoding="utf-8"))


def read_cells(folder: Path) -> dict[str, Any] | None:
    """The cells of a data set's report, as a checkpoint carries them; None without a report.

    Raises DatasetError for a damaged file.
    """
    path = folder / COVERAGE
    try:
        cells = load_json(path)["groups"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path}: unreadable ({error!r}); repeat ptp collect to write it again"
        ) from error
    return SceneCoverage.from_dict(cells).as_dict()


def coverage_lines(drawn: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for each task and protocol: covered scenes, and the groups that lack some."""
    lines = []
    for protocol, tasks in drawn.items():
        for task, shares in tasks.items():
            lacking = [
                f"{group} {share:.0%}" for group, share in shares["groups"].items() if share < 1.0
            ]
            named = " ".join(word for word in (protocol, task) if word)
            lines.append(
                f"{named}: {shares['all']:.0%} of {shares['scenes']} scenes covered"
                + (f"; {', '.join(lacking)}" if lacking else "")
            )
    return lines


def warning_line(task: str, protocol: str, shares: Mapping[str, Any]) -> str | None:
    """What to warn of before figures of a task are believed; None where all is covered."""
    if shares["all"] == 1.0:
        return None
    outside = [
        f"{group} {1.0 - share:.0%}" for group, share in shares["groups"].items() if share < 1.0
    ]
    named = ", ".join(word for word in (f"task {task}" if task else "", protocol) if word)
    return (
        f"warning: {named}: {1.0 - shares['all']:.0%} of {shares['scenes']} scenes are outside of "
        f"what the demonstrations cover ({', '.join(outside)})"
    )
