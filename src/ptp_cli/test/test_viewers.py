# SPDX-License-Identifier: Apache-2.0
"""`ptp foxglove`: its arguments, and without Foxglove's SDK."""

import importlib.util
import re
from pathlib import Path

import pytest

from ptp_cli.main import main
from ptp_nodes.tools.foxglove.foxglove_server import CURE

ROOT = Path(__file__).resolve().parents[3]
HERE = importlib.util.find_spec("foxglove") is not None


@pytest.mark.parametrize("port", ["80", "70000"])
def test_a_port_that_is_none_is_one_line(capsys, port):
    assert main(["foxglove", "--port", port]) == 2
    error = capsys.readouterr().err
    assert error == f"ptp foxglove: --port is {port}; ports are 1024 to 65535\n"


@pytest.mark.skipif(HERE, reason="Foxglove's SDK is installed")
def test_without_the_sdk_one_line_says_how_to_get_it(capsys):
    assert main(["foxglove"]) == 2
    assert capsys.readouterr().err == f"ptp foxglove: {CURE}\n"


@pytest.mark.skipif(not HERE, reason="Foxglove's SDK is not installed (make foxglove)")
def test_a_robot_that_is_none_is_one_line(capsys):
    assert main(["foxglove", "--robot", "nobody"]) == 2
    error = capsys.readouterr().err
    assert error.startswith('ptp foxglove: robot is "nobody"; give one of')
    assert error.count("\n") == 1


def test_the_version_that_is_named_is_the_one_that_is_locked():
    (named,) = re.findall(r"foxglove-sdk==([\d.]+)", CURE)
    lock = (ROOT / "requirements-foxglove.lock").read_text()
    assert f"foxglove-sdk=={named} \\" in lock
    assert re.findall(r"^([\w-]+)==", lock, flags=re.M) == ["foxglove-sdk"]  # it needs no other
