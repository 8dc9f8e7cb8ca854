# SPDX-License-Identifier: Apache-2.0
"""`ptp doctor` where nothing runs, and with wrong arguments. test/test_doctor.py has a stack."""

import json

import pytest

from ptp_cli import main


def test_nothing_that_runs_is_a_finding_and_everything_is_in_the_file(
    capsys, tmp_path, ros_domain
):
    path = tmp_path / "new" / "doctor.json"
    assert main.main(["doctor", "--stack", "sim", "--seconds", "0.5", "--json", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"stack sim, ROS domain {ros_domain} (LOCALHOST): 0 nodes")
    assert lines[1].startswith("- missing-node: No node of the stack sim is seen")
    assert lines[-1] == f"{len(lines) - 2} findings"
    content = json.loads(path.read_text())
    assert content["healthy"] is False
    assert content["findings"][0]["subject"] == "sim"
    assert {"encoder", "planner", "policy", "sim_bridge"} <= set(content["expected"]["nodes"])
    assert content["machine"]["installed"]["numpy"] in content["machine"]["locked"]["numpy"]
    assert content["machine"]["locked"]["torch"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stack", "simm"], 'no stack "simm"'),
        (["view:=false"], "name it with --stack"),
        (["--stack", "sim", "vieww:=false"], 'did you mean "view"'),
        (["--seconds", "0"], "--seconds is 0; it must be above 0"),
        (["--seconds", "0.1", "--json", "/proc/none/doctor.json"], "cannot be written"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, words, message):
    assert main.main(["doctor", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ptp doctor: ") and message in error
    assert error.count("\n") == 1
