# SPDX-License-Identifier: Apache-2.0
"""Launch files tell a reader every node and parameter, and real launch starts what they tell."""

import ast
import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from ptp_bringup.arguments import TASKS
from ptp_bringup.stacks import STACK_NAMES, launch_file, stack_named
from ptp_core.processes import on_a_leash
from ptp_core.tiny_networks import tiny_instructed_checkpoint

PATIENCE = 60.0  # s; only a failing test waits this long
GIVEN = {
    "sim": {"task": "A,B", "mode": "lock_step", "seed": "3", "teleop": "true"},
    "teleop": {"source": "script", "speed": "0.7", "instruction": "open the drawer"},
    "practice": {"preset": "paper", "actions": "mean", "utd_ratio": "2"},
    "camera": {"device": "3", "offset": "3,-4"},
    "real": {"robot": "fake", "teleop": "joy", "learn": "true", "record": "bags"},
}

TOLD = {"goal": "put the block on the tray, then close the drawer", "agent": "lbp"}

# In place of each node: it leaves what it was told in a file, and stays.
STAND_IN = """
import json, os, pathlib, signal, sys
words = sys.argv[2:]
files = [pathlib.Path(b).read_text() for a, b in zip(words, words[1:]) if a == "--params-file"]
partial = pathlib.Path(os.environ["FOLDER"], f"{os.getpid()}.partial")
partial.write_text(json.dumps([os.path.basename(sys.argv[1]), words, files]))
partial.rename(partial.with_suffix(".json"))
signal.pause()
"""
# What `ros2 launch` does, without ros2cli.
ROS2_LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
path, *words = sys.argv[1:]
service = LaunchService(argv=words)
source, given = PythonLaunchDescriptionSource(path), [word.split(":=", 1) for word in words]
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=given)])
)
sys.exit(service.run())
"""


@pytest.fixture(scope="module")
def real_launch():
    """Skips where ROS 2 comes from wheels, which lack launch."""
    pytest.importorskip("launch_ros", reason="launch_ros comes with ROS 2 alone")


def declared(name):
    """{node: (package, executable, parameters)} of the literals in a launch file."""
    found = {}
    for call in ast.walk(ast.parse(launch_file(name).read_text())):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Node":
            words = {keyword.arg: keyword.value for keyword in call.keywords}
            keys = words["parameters"].keys if "parameters" in words else []
            found[ast.literal_eval(words["name"])] = (
                ast.literal_eval(words["package"]),
                ast.literal_eval(words["executable"]),
                [ast.literal_eval(key) for key in keys],  # fails at a dict taken from elsewhere
            )
    return found


@pytest.mark.parametrize("name", STACK_NAMES)
def test_every_node_stands_in_the_launch_file_with_each_of_its_parameters(name):
    assert declared(name) == {
        node.name: (node.package, node.executable, list(node.parameters))
        for node in stack_named(name).nodes
    }


@pytest.mark.parametrize("name", STACK_NAMES)
def test_a_launch_file_can_be_read_without_launch(name):
    code = (
        "import runpy, sys; sys.modules.update(launch=None, launch_ros=None); "
        "print(runpy.run_path(sys.argv[1])['STACK'].name)"
    )
    command = [sys.executable, "-c", code, str(launch_file(name))]
    assert subprocess.run(command, capture_output=True, text=True).stdout == f"{name}\n"


def ros2_launch(name, *words, **env):
    """`ros2 launch ptp_bringup NAME.launch.py` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", ROS2_LAUNCH, str(launch_file(name)), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **env},
        process_group=0,
        **{key: value for key, value in on_a_leash().items() if key != "env"},
    )


def is_installed(process):
    try:
        get_package_prefix(process.node.package)
    except PackageNotFoundError:
        return False
    return True


class ParameterFile(yaml.SafeLoader):
    """Reads what launch_ros writes. The parser of ROS overlooks Python's tags, too."""


ParameterFile.add_constructor("tag:yaml.org,2002:python/tuple", yaml.SafeLoader.construct_sequence)


def launched(told):
    """(parameters in order of strength, other words) of a node that launch started."""
    _, words, files = told
    sections = [section for text in files for section in yaml.load(text, ParameterFile).values()]
    others = []
    for before, word in zip(["", *words], words, strict=False):
        if "--params-file" not in (before, word) and word != "--ros-args":
            others.append(word)
    return [section["ros__parameters"] for section in sections], others


def ours(process):
    """The same of a node that `ptp up` starts."""
    given = [process.defaults, process.explicit]
    line = process.command_line()
    others = []
    for before, word in zip(["", *line], line, strict=False):
        if "-p" not in (before, word) and word != "--ros-args":
            others.append(word)
    return json.loads(json.dumps([section for section in given if section])), others


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "told"),
    [*((name, False) for name in STACK_NAMES), ("sim", True), ("practice", True)],
)
def test_real_launch_starts_the_nodes_of_ptp_up_with_their_parameters(
    name, told, real_launch, tmp_path
):
    given = GIVEN[name]
    if told:
        tiny_instructed_checkpoint(tmp_path / "lbp")
        given = {**TOLD, "checkpoint": str(tmp_path / "lbp"), "task": "long_2"}
    expected = [p for p in stack_named(name).processes(given) if is_installed(p)]
    assert told != ("planner" in {p.node.name for p in expected}) or name in ("teleop", "camera")
    stand_in = tmp_path / "stand_in.py"
    stand_in.write_text(STAND_IN)
    words = [f"{key}:={value}" for key, value in given.items()]
    words.append(f"launch-prefix:={sys.executable} {stand_in}")
    run = ros2_launch(name, *words, FOLDER=str(tmp_path), ROS_LOG_DIR=str(tmp_path / "log"))
    deadline = time.monotonic() + PATIENCE
    while len(found := list(tmp_path.glob("*.json"))) < len(expected):
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()[0]
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    run.communicate(timeout=PATIENCE)
    told = [json.loads(path.read_text()) for path in found]
    by_name = {
        word.removeprefix("__node:="): (executable, *launched([executable, words, files]))
        for executable, words, files in told
        for word in words
        if word.startswith("__node:=")
    }
    assert by_name.keys() == {process.node.name for process in expected}
    for process in expected:
        executable, parameters, others = by_name[process.node.name]
        wanted, wanted_others = ours(process)
        assert executable == process.node.executable
        assert parameters == wanted, process.node.name
        assert sorted(others) == sorted(wanted_others)


@pytest.mark.process
@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("task:=G", f'task is "G"; it must be a list of {", ".join(TASKS)}'),
        ("goal:=  ", "goal is empty: say what to do in words, or leave it out"),
        ("rate:=-3", "rate is -3; it must be from 0.1 to 60"),
        ("mode:=slow", "Valid options are: ['real_time', 'lock_step']"),
    ],
)
def test_real_launch_ends_at_a_wrong_value_before_anything_starts(
    word, line, real_launch, tmp_path
):
    run = ros2_launch("sim", word, ROS_LOG_DIR=str(tmp_path))
    text = run.communicate(timeout=PATIENCE)[0]
    assert run.returncode == 1
    assert text.splitlines()[-1].endswith(line)
    assert "process started" not in text and "Traceback" not in text


@pytest.mark.process
def test_ctrl_c_at_real_launch_ends_nodes_that_still_import_in_silence(real_launch, tmp_path):
    run = ros2_launch("sim", ROS_LOG_DIR=str(tmp_path))
    lines = []
    for line in run.stdout:
        lines.append(line)
        if sum("process started" in line for line in lines) == 6:
            break
    began = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGINT)
    text = "".join(lines) + run.communicate(timeout=PATIENCE)[0]
    assert time.monotonic() - began < 5.0
    assert "process started" in text and "Traceback" not in text
