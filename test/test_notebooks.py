# SPDX-License-Identifier: Apache-2.0
"""Notebooks are stored without what running them leaves; `make docs` runs them."""

import json
import runpy
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_output(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 5
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []
    assert [cell["id"] for cell in notebook["cells"] if cell["metadata"]] == []
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}  # no version of one machine


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stripped_notebook_stays_as_it_is(path):
    strip = runpy.run_path(str(path.parent / "strip.py"))["stripped"]
    text = path.read_text(encoding="utf-8")
    assert strip(text) == text
    run = json.loads(text)
    for cell in run["cells"]:
        cell["metadata"] = {"execution": {"time": 1}}
        if cell["cell_type"] == "code":
            cell |= {"execution_count": 3, "outputs": [{"output_type": "stream", "text": "x"}]}
    assert strip(json.dumps(run)) == text


def test_there_are_notebooks():
    assert {"latents_plans_values", "train_on_a_toy"} <= {path.stem for path in NOTEBOOKS}
