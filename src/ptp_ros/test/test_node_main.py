# SPDX-License-Identifier: Apache-2.0
"""The end of a node's process: its exit status, and one line instead of a traceback."""

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

SCRIPT = """
import sys
import rclpy
from rclpy.node import Node
from ptp_core.errors import ConfigError
from ptp_ros.node_main import run

class Worker(Node):
    exit_code = 0

    def __init__(self):
        super().__init__("worker")
        if "broken" in sys.argv:
            raise ConfigError("rate is 0; give a number above 0")

    def start(self):
        print("started", flush=True)
        if "short" in sys.argv:
            self.exit_code = 4
            self.create_timer(0.01, lambda: rclpy.try_shutdown())

    def stop(self):
        print("stopped", flush=True)

sys.exit(run(Worker))
"""


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_node_in_order(number):
    process = start()
    assert process.stdout.readline() == "started\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (out, process.returncode) == ("stopped\n", 0)
    assert "Traceback" not in err


@pytest.mark.parametrize("keystore", ["none", "empty enclave"])
def test_security_that_is_asked_for_and_not_to_be_had_keeps_a_node_from_starting(
    tmp_path, monkeypatch, keystore
):
    words = ("--ros-args", "--enclave", "/ptp/worker")
    if keystore != "none":
        (tmp_path / "enclaves" / "ptp" / "worker").mkdir(parents=True)
    monkeypatch.setenv("ROS_SECURITY_KEYSTORE", str(tmp_path))
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "true")
    monkeypatch.setenv("ROS_SECURITY_STRATEGY", "Enforce")
    process = start(*words)
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == ("", 1)
    assert "security" in err.lower() and "Traceback" not in err


def test_a_node_can_end_itself_with_its_own_status():
    process = start("short")
    out, _ = process.communicate(timeout=20)
    assert (out, process.returncode) == ("started\nstopped\n", 4)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["broken"], "rate is 0; give a number above 0"),
        (["--ros-args", "-p", "nonsense"], "Couldn't parse parameter override rule"),
    ],
)
def test_a_node_that_cannot_be_made_says_why_in_a_line(words, text):
    process = start(*words)
    out, err = process.communicate(timeout=20)
    assert (out, process.returncode) == ("", 1)
    assert text in err
    assert "Traceback" not in err
