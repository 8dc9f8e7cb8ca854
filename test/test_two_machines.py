# SPDX-License-Identifier: Apache-2.0
"""Practice with its learner on another host, and the link cut: `ptp two-machines`.

Where this machine lets nobody make network namespaces, the command must say so.
"""

import json
import warnings

import pytest

from ptp_bringup.two_hosts import Cable, NoNamespacesError
from ptp_cli.main import main
from ptp_cli.two_machines_trial import TrialReport

pytestmark = pytest.mark.timeout(300)  # two stacks, and a link that is away for a while

QUICK = """
learner: {ros__parameters: {publish_every: 20}}
practice: {ros__parameters: {silence: 3.0, patience: 5.0}}
"""
CUT = 8.0  # s: the middleware takes a participant for gone after 6


def refusal():
    """Why two hosts cannot be made here; empty: they can."""
    try:
        with Cable():
            return ""
    except NoNamespacesError as error:
        return str(error)


@pytest.mark.process
def test_a_cut_link_costs_nothing_and_the_learner_catches_up(checkpoint, tmp_path, capsys):
    (tmp_path / "quick.yaml").write_text(QUICK)
    words = ["--cut", CUT, "--patience", 120, "--max-steps", 25, "--checkpoint", checkpoint]
    words += ["--params-file", tmp_path / "quick.yaml", "--out", tmp_path / "out"]
    status = main(["two-machines", *map(str, words)])
    said = capsys.readouterr()
    if reason := refusal():
        warnings.warn(f"not tried between two hosts: {reason}", stacklevel=1)
        assert (status, said.err.count("ptp two-machines: ")) == (2, 1)
        assert reason in said.err
        return
    figures = json.loads((tmp_path / "out" / "two_machines.json").read_text())
    assert status == 0, figures
    assert figures["passed"] and figures["problem"] == ""
    assert figures["recorded_in_cut"] >= 1 and figures["learned_in_cut"] == 0
    assert figures["recorded"] >= figures["at_cut"] + figures["recorded_in_cut"]
    assert figures["lost"] == 0
    assert "passed; what the nodes said: " in said.out


@pytest.mark.parametrize(
    "fault",
    [
        {"recorded_in_cut": 0},
        {"learned_in_cut": 1},
        {"in_use": -1.0},
        {"lost": 1},
        {"problem": "the far side ended by itself"},
    ],
)
def test_any_fault_fails_the_trial(fault):
    good = {"recorded_in_cut": 3, "in_use": 2.0}
    assert TrialReport(**good).passed
    assert not TrialReport(**{**good, **fault}).passed


@pytest.mark.parametrize("words", [["--cut", "0"], ["--patience", "-1"], ["--max-steps", "0"]])
def test_wrong_numbers_are_refused(words, capsys):
    assert main(["two-machines", *words]) == 2
    assert f"{words[0]} is {words[1]}; it must be above 0" in capsys.readouterr().err
