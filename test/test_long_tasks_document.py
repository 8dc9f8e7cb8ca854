# SPDX-License-Identifier: Apache-2.0
"""The document on environments lists the long tasks as they are."""

from pathlib import Path

import pytest

from ptp_sim.long_tasks import CLOSED_DRAWER, LONG_TASKS, OPEN_DRAWER

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "environments.md").read_text()
START = {OPEN_DRAWER: "open", CLOSED_DRAWER: "closed"}


@pytest.mark.parametrize("name", list(LONG_TASKS))
def test_a_long_task_is_listed_with_its_instruction_and_paraphrases(name):
    task = LONG_TASKS[name]
    assert f"| {name} | {START[task.scene]} | {task.instruction} |\n" in TEXT
    assert f"| {name} | {'; '.join(task.paraphrases)} |\n" in TEXT
    assert len(task.instruction.split(", then ")) == len(task.stages)
