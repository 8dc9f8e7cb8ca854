# SPDX-License-Identifier: Apache-2.0
"""HTML page of the demo, beside its films and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptp_cli.pages import environment
from ptp_core.data.files import write_atomically

PAGE = "index.html"
MACHINE = {
    "machine_cpu": "Processor",
    "machine_cores": "Cores",
    "machine_memory_gib": "Memory, GiB",
    "machine_system": "System",
    "machine_python": "Python",
    "machine_rclpy": "rclpy",
    "machine_torch": "torch",
    "machine_pybullet": "PyBullet",
}


def render(
    summary: Mapping[str, Any], titles: Mapping[str, str], commands: Sequence[tuple[str, str]]
) -> str:
    """HTML of the page.

    ``summary`` is that of `results.gather`; ``titles`` says what each task is, ``commands`` lists
    (what it does, command line).
    """
    machine = [(label, summary["machine"].get(name)) for name, label in MACHINE.items()]
    tasks = list(dict.fromkeys(shown["task"] for shown in summary["shown"]))
    return (
        environment(Path(__file__).parent)
        .get_template("page.html")
        .render(
            summary=summary,
            tasks=tasks,
            titles=titles,
            commands=commands,
            machine=[(label, value) for label, value in machine if value is not None],
            runs={
                (task, run["episode"]): run
                for task, figures in summary["tasks"].items()
                for run in figures["runs"]
            },
        )
    )


def write(folder: Path, text: str) -> Path:
    """Write the page into ``folder``; its path."""
    path = folder / PAGE
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    return path
