# SPDX-License-Identifier: Apache-2.0
"""Nodes start without HOME, and a line says where they log."""

import io
import os
import tempfile

import pytest

from ptp_bringup.bring_up import bring_up, dry_run, log_folder, node_environment
from ptp_bringup.declarations import Node
from ptp_bringup.stacks import Stack, parse, stack_named
from ptp_core.errors import ConfigError


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()


def test_nothing_is_said_where_home_can_be_written_or_another_folder_is_named(tmp_path):
    assert log_folder({"HOME": str(tmp_path)}) == ({}, "")
    assert log_folder({"ROS_LOG_DIR": "/x"}) == log_folder({"ROS_HOME": "/x"}) == ({}, "")


@pytest.mark.parametrize(
    ("home", "why"),
    [
        (None, "HOME is not set"),
        ("", "HOME is not set"),
        ("/dev/null/me", "HOME, /dev/null/me, c"),
    ],
)
def test_a_folder_of_its_own_is_made_and_named(tmp_path, home, why):
    given = {} if home is None else {"HOME": home}
    variables, line = log_folder(given)
    folder = tmp_path / "tmp" / f"ptp-{os.getuid()}" / "ros_log"
    assert variables == {"ROS_LOG_DIR": str(folder)} and folder.is_dir()
    assert line.startswith(why) and f"logs go to {folder}" in line


def test_nowhere_to_log_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"HOME is not set, and neither can .*set ROS_LOG_DIR"):
        log_folder({})


def test_nodes_get_the_folder(tmp_path, monkeypatch):
    for name in ("HOME", "ROS_LOG_DIR", "ROS_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert node_environment()["ROS_LOG_DIR"].startswith(str(tmp_path / "tmp"))


def test_a_stack_that_starts_says_it(tmp_path, monkeypatch):
    for name in ("HOME", "ROS_LOG_DIR", "ROS_HOME"):
        monkeypatch.delenv(name, raising=False)
    out = io.StringIO()
    stack = Stack(
        name="toy",
        description="a toy",
        arguments=(),
        nodes=(Node(package="no_package", executable="n", name="n"),),
    )
    with pytest.raises(ConfigError, match="no_package is not installed"):
        bring_up(stack, [], out)
    assert out.getvalue().startswith("HOME is not set: logs go to ")


def test_a_dry_run_names_nodes_and_parameters_and_starts_nothing(tmp_path):
    (tmp_path / "more.yaml").write_text("camera:\n  ros__parameters:\n    rate: 5.0\n")
    out = io.StringIO()
    given = ["task:=B", "mode:=lock_step", f"params_file:={tmp_path / 'more.yaml'}"]
    stack = stack_named("sim")
    dry_run(stack, given, out)
    lines = out.getvalue().splitlines()
    absent = {line.split()[0] for line in lines if " is left out: " in line}
    lines = [line for line in lines if " is left out: " not in line]
    started = [line.partition(":")[0] for line in lines if not line.startswith(" ")]
    every = stack.processes(parse(given))
    assert absent <= {process.node.name for process in every if process.node.optional}
    processes = [process for process in every if process.node.name not in absent]
    assert started[:-1] == [process.node.name for process in processes]
    assert lines[-1] == f"sim would start {len(processes)} processes; nothing was started"
    assert '    tasks: ["B"] (given)' in lines
    assert lines.count(f"    then the parameters of {tmp_path / 'more.yaml'}") == len(processes)
    shown = {line.strip().partition(":")[0] for line in lines if line.startswith("    ")}
    for process in processes:
        assert {*process.defaults, *process.explicit} <= shown


def test_a_dry_run_refuses_what_a_run_refuses():
    with pytest.raises(ConfigError, match='sim has no argument "tsk"; did you mean "task"'):
        dry_run(stack_named("sim"), ["tsk:=B"], io.StringIO())
