# SPDX-License-Identifier: Apache-2.0
"""`ptp monitor` with wrong arguments, and where Rerun is missing."""

import importlib.util

import pytest

from ptp_cli import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "80"], "--port is 80; ports are 1024 to 65535"),
        (["--data-port", "70000"], "--data-port is 70000"),
        (["--rate", "0"], "--rate is 0; it must be between 0.1 and 60"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, words, message):
    assert main.main(["monitor", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ptp monitor: ") and message in error
    assert error.count("\n") == 1


if importlib.util.find_spec("rerun") is None:

    def test_without_rerun_one_line_says_how_to_get_it(capsys):
        assert main.main(["monitor"]) == 2
        error = capsys.readouterr().err
        assert "make monitor" in error and error.count("\n") == 1
