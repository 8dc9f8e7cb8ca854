# SPDX-License-Identifier: Apache-2.0
"""`ptp demo-teleop`: a gamepad that nobody holds changes the policy, with real processes."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from ptp_bringup.running_stack import nodes_of_this_domain
from ptp_core.data.dataset import Dataset
from ptp_core.data.files import MARKER
from ptp_core.episodes.session_store import Session
from ptp_core.training.checkpoint import load_checkpoint


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "ptp_cli", "demo-teleop", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ,
    )


@pytest.mark.process
def test_demonstrations_are_recorded_imported_and_learned_from(checkpoint, tmp_path):
    (tmp_path / MARKER).write_text("ptp demo-teleop\n")
    (tmp_path / "result.json").write_text("an earlier run's")
    run = start(
        *("--episodes", 3, "--tasks", "A", "--steps", 60, "--learning-rate", 0.003),
        *("--held-out", 0.3, "--checkpoint", checkpoint, "--out", tmp_path),
    )
    text = run.communicate(timeout=90)[0]
    assert run.returncode == 0, text
    assert "Traceback" not in text
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["demonstrations"] >= 3  # more where a busy machine lost a latent: a gap
    assert result["held_out"] >= 1
    assert result["gradient_steps"] == 60
    before, after = result["before"], result["after"]
    for data in ("training", "held_out"):
        assert after[data]["action_distance"] < before[data]["action_distance"]
        assert after[data]["policy_loss"] < before[data]["policy_loss"]
    entries = Session(tmp_path / "recordings").entries()
    assert [entry.label for entry in entries] == ["success"] * 3
    assert len(Dataset(tmp_path / "demonstrations.hdf5")) == result["demonstrations"]
    changed, old = load_checkpoint(tmp_path / "checkpoint"), load_checkpoint(checkpoint)
    assert changed.encoder_id == old.encoder_id
    assert any(
        not value.equal(changed.iql.state_dict()[name])
        for name, value in old.iql.state_dict().items()
    )
    assert nodes_of_this_domain() == {}


@pytest.mark.process
def test_ctrl_c_while_recording_leaves_the_recordings_and_no_process(checkpoint, tmp_path):
    run = start("--tasks", "A", "--checkpoint", checkpoint, "--out", tmp_path)
    for line in run.stdout:
        if re.search(r"\b[1-9]/10\b", line):
            break
    run.send_signal(signal.SIGINT)
    text = run.communicate(timeout=20)[0]
    assert run.returncode == 130
    assert "recording ended with status 130" in text
    assert len(Session(tmp_path / "recordings").entries()) >= 1
    assert not (tmp_path / "result.json").exists()
    assert nodes_of_this_domain() == {}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--episodes", 1], "--episodes is 1; it must be at least 2"),
        (["--held-out", 1], "--held-out is 1; it must be above 0"),
        (["--tasks", "G"], 'there is no task "G"; there are A, B, C, D, E, F'),
    ],
)
def test_a_wrong_argument_is_one_line(words, text, tmp_path):
    run = start(*words, "--out", tmp_path / "out")
    said = run.communicate(timeout=60)[0]
    assert run.returncode == 2
    assert said.splitlines()[-1].startswith("ptp demo-teleop: ")
    assert text in said
    assert not (tmp_path / "out").exists()
