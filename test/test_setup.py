# SPDX-License-Identifier: Apache-2.0
"""Set-up refuses what it cannot build, and never ends well with commands that do not work."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def set_up(folder):
    """Run tools/setup.sh in a checkout at ``folder``, where no Python can be found."""
    shutil.copytree(ROOT / "tools", folder / "tools")
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": "/nowhere/python"}
    script = str(folder / "tools" / "setup.sh")
    return subprocess.run(["sh", script], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("name", ["my robot", "a:b", "it's", "a$b", "a(1)", "tab\tbed"])
def test_a_folder_that_tools_cannot_carry_is_refused_in_one_line(tmp_path, name):
    done = set_up(tmp_path / name / "ptp")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "has a space or a special character in its name: move the checkout" in line


def test_a_link_to_such_a_folder_is_refused_too(tmp_path):
    (tmp_path / "my robot").mkdir()
    (tmp_path / "robot").symlink_to(tmp_path / "my robot")
    assert "move the checkout" in set_up(tmp_path / "robot" / "ptp").stderr


@pytest.mark.parametrize("name", ["ptp-1.2_x", "a+b@c,d=e", "Jürgen"])
def test_other_folders_are_taken(tmp_path, name):
    assert "Python 3.10 to 3.13 is needed" in set_up(tmp_path / name).stderr


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """tools/workspace.py for a checkout in a folder of its own, with one package."""
    spec = importlib.util.spec_from_file_location("workspace", ROOT / "tools" / "workspace.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    (venv / "setup").mkdir()
    (tmp_path / "src" / "one").mkdir(parents=True)
    (tmp_path / "src" / "one" / "package.xml").write_text("")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", venv)
    monkeypatch.setattr(module, "STATE", venv / "setup")
    return module


def test_commands_that_do_not_find_their_packages_are_no_set_up(workspace, tmp_path):
    (tmp_path / ".venv" / "ptp_env.sh").write_text("")
    with pytest.raises(workspace.SetupError, match=r"cannot be used \(.*No module named 'one'\)"):
        workspace.check_commands({"PATH": "/usr/bin:/bin"})


def test_commands_that_find_them_are(workspace, tmp_path):
    (tmp_path / "installed" / "one").mkdir(parents=True)
    line = f'export PYTHONPATH="{tmp_path}/installed"'
    (tmp_path / ".venv" / "ptp_env.sh").write_text(line)
    workspace.check_commands({"PATH": "/usr/bin:/bin", "PYTHONPATH": "/elsewhere"})
