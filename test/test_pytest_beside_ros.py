# SPDX-License-Identifier: Apache-2.0
"""pytest runs where Jazzy's pytest plugins are installed, whose hooks pytest 9 refuses."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Entry point and hooks, as launch_testing 3.4 and launch_testing_ros 0.26 declare them.
PLUGINS = {
    "launch_testing": (
        "launch_testing_hooks",
        "def pytest_pycollect_makemodule(path, parent): ...",
    ),
    "launch_ros": (
        "launch_testing_ros_pytest_entrypoint",
        "def pytest_launch_collect_makemodule(path, parent, entrypoint): ...",
    ),
}


@pytest.fixture
def run(tmp_path):
    """Exit status and output of pytest on one test, beside these plugins."""
    site = tmp_path / "site"
    for name, (module, hooks) in PLUGINS.items():
        facts = site / f"{name}-1.0.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")
        (site / f"{module}.py").write_text(hooks + "\n")
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_one.py").write_text("def test_one():\n    pass\n")
    paths = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])

    def run(settings):
        (folder / "pyproject.toml").unlink(missing_ok=True)
        if settings is not None:
            shutil.copy(settings, folder / "pyproject.toml")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_one.py"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_these_settings_leave_the_plugins_out(run):
    status, said = run(None)
    assert status != 0 and "can not be found in the hookspec" in said  # as in any other folder
    status, said = run(ROOT / "pyproject.toml")
    assert (status, "1 passed" in said) == (0, True), said
