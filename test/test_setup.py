# SPDX-License-Identifier: Apache-2.0
"""Set-up refuses what it cannot build, and never ends well with commands that do not work."""

import importlib.util
import json
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


def jazzy(folder, *packages):
    """A folder with what an installed ROS 2 has of these packages."""
    for name in packages:
        (folder / "share" / name).mkdir(parents=True)
        (folder / "share" / name / "package.xml").write_text("")
    folder.mkdir(exist_ok=True)
    return folder


def what_set_up_begins_with(tmp_path, *prefixes):
    """Run tools/setup.sh with these prefixes sourced as Jazzy, up to where workspace.py starts.

    Returns the prefixes that workspace.py would get, and what was said.
    """
    shutil.copytree(ROOT / "tools", tmp_path / "ptp" / "tools")
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\n[ "$2" = -c ] || echo "${AMENT_PREFIX_PATH-}"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["sh", str(tmp_path / "ptp" / "tools" / "setup.sh")],
        capture_output=True,
        text=True,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHON": str(python),
            "ROS_DISTRO": "jazzy",
            "AMENT_PREFIX_PATH": ":".join(str(prefix) for prefix in prefixes),
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize(
    ("packages", "lacking"),
    [
        ((), "ament_cmake and rclpy missing"),
        (("ament_cmake",), "rclpy missing"),
        (("rclpy",), "ament_cmake missing"),
    ],
)
def test_a_prefix_that_is_no_jazzy_is_named_and_ignored(tmp_path, packages, lacking):
    foreign = jazzy(tmp_path / "foreign", *packages)
    prefixes, said = what_set_up_begins_with(tmp_path, foreign)
    assert prefixes == ""
    (line,) = said.splitlines()
    assert f"({foreign}) has no installed ROS 2 Jazzy ({lacking}) and is ignored" in line
    assert "source /opt/ros/jazzy/setup.bash" in line


def test_the_wheels_of_another_checkout_are_no_jazzy(tmp_path):
    venv = jazzy(tmp_path / "other" / ".venv", "ament_cmake", "rclpy")
    (venv / "pyvenv.cfg").write_text("")
    prefixes, said = what_set_up_begins_with(tmp_path, venv)
    assert prefixes == "" and "is ignored" in said


def test_a_jazzy_that_is_there_is_built_on_also_behind_an_overlay(tmp_path):
    overlay = jazzy(tmp_path / "overlay")
    ros = jazzy(tmp_path / "ros", "ament_cmake", "rclpy")
    assert what_set_up_begins_with(tmp_path, overlay, ros) == (f"{overlay}:{ros}", "")


def test_this_workspace_that_is_sourced_is_no_jazzy_and_no_fault(tmp_path):
    own = tmp_path / "ptp" / "install" / "ptp_core"
    assert what_set_up_begins_with(tmp_path, own) == (str(own), "")


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


def test_a_jazzy_that_has_gone_since_is_not_built_on(workspace, tmp_path, monkeypatch):
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    ros = jazzy(tmp_path / "ros", "ament_cmake", "rclpy")
    recorded = json.dumps({"AMENT_PREFIX_PATH": str(ros)})
    (tmp_path / ".venv" / "setup" / "ros.json").write_text(recorded)
    assert workspace.sourced_ros() == {"AMENT_PREFIX_PATH": str(ros)}
    shutil.rmtree(ros / "share" / "rclpy")
    assert workspace.sourced_ros() is None
