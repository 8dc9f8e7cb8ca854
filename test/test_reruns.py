# SPDX-License-Identifier: Apache-2.0
"""Only tests of real processes are run a second time when they fail, and not too many of them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# A test that fails whenever it is run for the first time.
TEST = """
import pathlib, pytest
{mark}
@pytest.mark.parametrize("number", range({count}))
def test_second_try(number):
    tried = pathlib.Path(__file__).with_name(f"tried{{number}}")
    again = tried.exists()
    tried.touch()
    assert again
"""
PROCESS = "@pytest.mark.process"
STANDS_STILL = """
import time, pytest
@pytest.mark.process
@pytest.mark.timeout(1, method="signal")
def test_that_waits_for_ever():
    while True:
        time.sleep(0.01)
"""

pytestmark = pytest.mark.timeout(400)  # each starts pytest several times


def run(folder, count, mark, *words):
    """Exit status and output of pytest, with this repository's settings, on such tests."""
    return run_text(folder, TEST.format(count=count, mark=mark), *words)


def run_text(folder, text, *words):
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words, "test_it.py"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return result.returncode, result.stdout


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "shared"])
def test_three_reruns_of_processes_are_allowed_and_a_fourth_fails_the_run(tmp_path, words):
    status, said = run(tmp_path, 3, PROCESS, *words)
    assert (status, "3 passed, 3 rerun" in said) == (0, True), said
    for path in tmp_path.glob("tried*"):
        path.unlink()
    status, said = run(tmp_path, 4, PROCESS, *words)
    assert (status, "4 passed, 4 rerun" in said) == (1, True), said
    assert "FAILED: 4 reruns, and 3 are allowed in a run" in said


def test_a_test_without_processes_has_one_try(tmp_path):
    status, said = run(tmp_path, 1, "")
    assert (status, "1 failed in" in said) == (1, True), said


def test_a_test_that_used_all_its_time_has_one_try_and_says_where_it_waited(tmp_path):
    status, said = run_text(tmp_path, STANDS_STILL)
    assert (status, "1 failed in" in said) == (1, True), said
    assert "Timeout (>1.0s)" in said and re.search(r"^>\s+time.sleep\(0.01\)$", said, re.M), said


def test_make_test_gives_no_other_second_try_and_has_all_processes_in_one_call():
    """The budget is that of a call of pytest."""
    makefile = (ROOT / "Makefile").read_text()
    assert "--reruns" not in makefile
    (packages,) = re.findall(r"^ALONE := (.*)", makefile, flags=re.M)
    files = [path for name in packages.split() for path in (ROOT / name).rglob("test_*.py")]
    assert len(files) > 50
    assert [path.name for path in files if "mark.process" in path.read_text()] == []
