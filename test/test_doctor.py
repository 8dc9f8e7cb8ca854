# SPDX-License-Identifier: Apache-2.0
"""`ptp doctor` beside a stack of real processes."""

import json
import signal
import subprocess
import sys

import pytest

from ptp_core.tiny_networks import tiny_checkpoint

pytestmark = pytest.mark.process

# What a busy machine, or a node killed by another test, may rightly be blamed for.
OF_THE_MACHINE = {"load", "threads", "slow", "stamp", "shared-memory"}


@pytest.fixture
def up(tmp_path):
    """`ptp up sim` in real time, once it acts."""
    tiny_checkpoint(tmp_path / "checkpoint")
    words = ("mode:=real_time", "planner:=checkpoint", f"checkpoint:={tmp_path / 'checkpoint'}")
    with subprocess.Popen(
        [sys.executable, "-m", "ptp_cli", "up", "sim", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert any("acting: step" in line for line in process.stdout)
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read()


def test_a_stack_that_works_is_found_healthy(up, tmp_path):
    path = tmp_path / "doctor.json"
    command = [sys.executable, "-m", "ptp_cli", "doctor", "--seconds", "5", "--json", str(path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stderr == ""
    report = json.loads(path.read_text())
    wrong = [f for f in report["findings"] if f["check"] not in OF_THE_MACHINE]
    assert wrong == []
    assert result.returncode == (1 if report["findings"] else 0)
    assert report["expected"]["stack"] == "sim"
    assert {p["node"] for p in report["machine"]["processes"]} >= {"encoder", "policy", "view"}
    streams = {stream["name"]: stream for stream in report["graph"]["streams"]}
    for name in ("/observation", "/latent", "/step", "/arm/state", "/arm/command/policy"):
        assert streams[name]["count"] > 0, name
    assert len({identity for _, identity in report["graph"]["encoders"]}) == 1
