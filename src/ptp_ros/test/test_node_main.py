# SPDX-License-Identifier: Apache-2.0
"""The end of a node's process: its exit status, and one line instead of a traceback."""

import signal
import subprocess
import sys
import threading
import time

import pytest
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.node import Node
from rclpy.waitable import NumberOfEntities, Waitable

from ptp_ros.node_main import background_node

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


class SlowTake(Waitable):
    """Its data is ready, and takes a while to be read, as a large message on a busy machine."""

    def __init__(self, node):
        super().__init__(MutuallyExclusiveCallbackGroup())
        self._ready = GuardCondition(None, None, context=node.context)
        self._ready.trigger()
        self.taking = threading.Event()

    def is_ready(self, wait_set):
        return wait_set.is_ready("guard_condition", self._index)

    def take_data(self):
        self.taking.set()
        time.sleep(0.5)  # while the block ends

    async def execute(self, taken_data):
        pass

    def get_num_entities(self):
        return NumberOfEntities(num_gcs=1)

    def add_to_wait_set(self, wait_set):
        self._index = wait_set.add_guard_condition(self._ready.handle)


def test_a_background_node_may_end_while_its_executor_takes_a_message():
    """An executor that is shut down while it spins loses what it still uses."""

    def create(context):
        node = Node("slow", context=context)
        node.slow = SlowTake(node)
        node.add_waitable(node.slow)
        return node

    with background_node(create) as node:
        assert node.slow.taking.wait(20.0)


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
