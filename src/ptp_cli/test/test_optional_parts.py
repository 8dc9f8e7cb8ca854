# SPDX-License-Identifier: Apache-2.0
"""`ptp doctor --parts`: what is installed beside the stack, and the cure of what is not."""

import json
import os
import sys
from importlib import metadata

import pytest

from ptp_cli import main
from ptp_cli.optional_parts import OptionalPart, _state, lerobot_lines

WHOLE = {
    "python": [3, 12],
    "names": ["lerobot_env_ptp", "lerobot_robot_ptp"],
    "lerobot": "0.6.1",
    "broken": {"lerobot": None, "ptp_core": None, "ptp_sim": None, "rclpy": None},
    "numpy_in_pybullet": True,
}


def lines(**changes):
    """Lines for a whole environment of LeRobot with some changes, and the faults among them."""
    states = lerobot_lines({**WHOLE, **changes})
    return "\n".join(state.line() for state in states), [s.name for s in states if s.fault]


def test_every_part_has_a_line_and_what_is_here_has_its_version(capsys, tmp_path):
    path = tmp_path / "parts.json"
    assert main.main(["doctor", "--parts", "--json", str(path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "healthy"
    found = {line.split(":")[0].strip(): line for line in printed[:-1]}
    assert list(found) == [state["name"] for state in json.loads(path.read_text())]
    assert metadata.version("argcomplete") in found["argcomplete"]
    for name in ("pyarrow", "av", "foxglove-sdk", "rerun-sdk", "ray"):
        try:
            assert metadata.version(name) in found[name]
        except metadata.PackageNotFoundError:
            assert "not installed" in found[name] and ": make " in found[name]
    assert "not in this environment, as it should be" in found["lerobot"]


def test_a_part_that_cannot_be_imported_is_a_finding_with_its_reason(tmp_path, monkeypatch):
    (tmp_path / "broken_part.py").write_text("raise RuntimeError('built for another numpy')\n")
    about = tmp_path / "broken_part-1.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-part\nVersion: 1.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    state = _state(OptionalPart("broken-part", "broken_part", "a command", "make it"))
    assert state.fault
    assert state.line() == (
        "- broken-part: 1.5 is installed and cannot be used (built for another numpy); a command: "
        "make it"
    )


def test_another_python_without_lerobot_is_told_what_to_install(capsys):
    assert main.main(["doctor", "--parts", "--lerobot", sys.executable]) == 1
    printed = capsys.readouterr().out
    line = printed.split(f"with {sys.executable}:\n")[1].splitlines()[0]
    wanted = "not installed there" if sys.version_info >= (3, 12) else "needs Python 3.12 or newer"
    assert line.startswith("- lerobot: ") and wanted in line
    assert "lerobot_env_ptp: not installed; pip install ./plugins/lerobot_env_ptp" in printed
    assert printed.endswith("1 findings\n")


@pytest.mark.skipif(
    not os.environ.get("PTP_TEST_LEROBOT"), reason="PTP_TEST_LEROBOT names no Python with lerobot"
)
def test_a_real_environment_of_lerobot_is_known(capsys):
    main.main(["doctor", "--parts", "--lerobot", os.environ["PTP_TEST_LEROBOT"]])
    assert "lerobot: 0.6." in capsys.readouterr().out


def test_a_whole_environment_has_no_findings():
    text, faults = lines()
    assert not faults and "0.6.1 on Python 3.12" in text and "PyBullet are there" in text


@pytest.mark.parametrize(
    ("changes", "fault", "cure"),
    [
        ({"lerobot": None}, "lerobot", "pip install"),
        ({"lerobot": "0.5.1"}, "lerobot", "the plug-ins are for 0.6"),
        ({"names": ["lerobot-env-ptp"]}, "lerobot_env_ptp", "LeRobot does not find it"),
        ({"numpy_in_pybullet": False}, "simulated table", "--no-build-isolation"),
        ({"broken": {**WHOLE["broken"], "ptp_core": "no"}}, "simulated table", "./src/ptp_core"),
        (
            {"broken": {**WHOLE["broken"], "rclpy": "no"}},
            "rclpy",
            "plugins/lerobot_robot_ptp",
        ),
        ({"broken": {**WHOLE["broken"], "lerobot": "no"}}, "lerobot", "cannot be used (no)"),
    ],
)
def test_what_keeps_lerobot_from_our_plugins_is_one_finding(changes, fault, cure):
    text, faults = lines(**changes)
    assert faults == [fault]
    (line,) = [line for line in text.splitlines() if line.startswith("- ")]
    assert cure in line


def test_without_pybullet_the_plugin_still_has_other_environments():
    text, faults = lines(numpy_in_pybullet=None)
    assert not faults and "PyBullet is not there, other environments work" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lerobot", "python"], "--lerobot belongs to --parts"),
        (["--parts", "--stack", "sim"], "leave the stack out"),
        (["--parts", "--lerobot", "/nowhere/python"], "this Python cannot be asked"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, words, message):
    assert main.main(["doctor", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
