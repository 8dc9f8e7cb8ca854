# SPDX-License-Identifier: Apache-2.0
"""The card of a LeRobot data set: its README.md, which the hub shows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

TASKS_SHOWN = 50


def card(
    info: Mapping[str, Any],
    repo_id: str,
    license_id: str,
    labels: Sequence[str],
    tasks: Iterable[str],
) -> str:
    """Markdown with the hub's YAML header, for a data set with this info.json.

    ``labels``: success, failure or unlabelled for each episode. ``tasks``: sentences.
    """
    head = ["---"]
    if license_id:
        head.append(f"license: {json.dumps(license_id)}")
    head += [
        "task_categories:",
        "- robotics",
        "tags:",
        "- LeRobot",
        "configs:",
        "- config_name: default",
        "  data_files: data/*/*.parquet",
        "---",
    ]
    tasks = list(tasks)
    counts = Counter(labels)
    said = ", ".join(f"{counts[name]} {name}" for name in sorted(counts))
    columns = [
        f"| `{name}` | {feature['dtype']} {tuple(feature['shape'])} | "
        f"{', '.join(feature['names'] or ())} |"
        for name, feature in info["features"].items()
    ]
    more = len(tasks) - TASKS_SHOWN
    lines = [
        *head,
        "",
        f"# {repo_id}",
        "",
        "A LeRobotDataset v3.0, written by `ptp export lerobot` of Planning to Practice.",
        "",
        f"* {info['total_episodes']} episodes ({said}), {info['total_frames']} frames at "
        f"{info['fps']} frames a second.",
        f"* Robot: {info['robot_type'] or 'not named'}.",
        "* Failed episodes are kept. `next.success` is true at the last frame of a success, and "
        "`label` in `meta/episodes` says success, failure or unlabelled.",
        "* Actions are in [-1, 1], as executed. `meta/ptp.json` says what a value of 1 is.",
        "",
        "```python",
        "from lerobot.datasets.lerobot_dataset import LeRobotDataset",
        "",
        f"data = LeRobotDataset({json.dumps(repo_id)}, root=...)  # the folder with this file",
        "```",
        "",
        "| column | type | names |",
        "|---|---|---|",
        *columns,
        "",
        "## Tasks",
        "",
        *(f"* {' '.join(task.split())}" for task in tasks[:TASKS_SHOWN]),
    ]
    if more > 0:
        lines.append(f"* and {more} more, in `meta/tasks.parquet`")
    return "\n".join([*lines, ""])
