# SPDX-License-Identifier: Apache-2.0
"""The practice stack under launch_testing: ``launch_test test/launch/practice_test.launch.py``.

A node is killed on the way. Needs ROS 2 with launch_testing; test/test_practice_stack.py and
test/test_faults.py check the same where it is missing.
"""

import json
import os
import shutil
import signal
import tempfile
import unittest
from pathlib import Path

import launch
import launch_testing
import launch_testing.actions
import pytest
import rclpy
from ament_index_python.packages import get_package_share_directory
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from ptp_interfaces.msg import PolicyUpdate, RecorderStatus

from ptp_bringup.running_stack import nodes_of_this_domain
from ptp_core.episodes.session_store import Session
from ptp_core.tiny_networks import tiny_checkpoint
from ptp_core.training.checkpoint import load_checkpoint
from ptp_ros.topics import LATCHED, POLICY_UPDATE, RECORDER_STATUS

EPISODES = 8


@pytest.mark.launch_test
def generate_test_description():
    os.environ.setdefault("ROS_DOMAIN_ID", "0")
    folder = Path(tempfile.mkdtemp(prefix="ptp-launch-test-"))
    tiny_checkpoint(folder / "model")
    quick = "learner: {ros__parameters: {publish_every: 5}}\n"
    (folder / "quick.yaml").write_text(quick + "practice: {ros__parameters: {silence: 3.0}}\n")
    source = Path(get_package_share_directory("ptp_bringup")) / "launch" / "practice.launch.py"
    arguments = {
        "task": "A",
        "episodes": str(EPISODES),
        "max_steps": "25",
        "learn_from": "all",
        "checkpoint": str(folder / "model"),
        "output": str(folder / "out"),
        "params_file": str(folder / "quick.yaml"),
    }
    stack = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(source)), launch_arguments=arguments.items()
    )
    description = launch.LaunchDescription([stack, launch_testing.actions.ReadyToTest()])
    return description, {"folder": folder}


class TestRun(unittest.TestCase):
    """While the stack runs."""

    @classmethod
    def setUpClass(cls):
        rclpy.init()

    @classmethod
    def tearDownClass(cls):
        rclpy.shutdown()

    def test_it_learns_while_it_practises_and_a_killed_node_comes_back(self, proc_output):
        node = rclpy.create_node("launch_test")
        seen = {}
        for kind, topic in ((PolicyUpdate, POLICY_UPDATE), (RecorderStatus, RECORDER_STATUS)):
            node.create_subscription(kind, topic, lambda m, t=topic: seen.update({t: m}), LATCHED)

        def wait(condition, what):
            deadline = node.get_clock().now() + rclpy.duration.Duration(seconds=90)
            while not condition():
                assert node.get_clock().now() < deadline, what
                rclpy.spin_once(node, timeout_sec=0.5)

        def recorded():
            return seen[RECORDER_STATUS].episodes if RECORDER_STATUS in seen else 0

        wait(lambda: recorded() >= 2, "two episodes")

        def policies():
            return [pid for pid, name in nodes_of_this_domain().items() if name == "policy"]

        (killed,) = policies()
        os.kill(killed, signal.SIGKILL)
        wait(lambda: policies() not in ([], [killed]), "another policy")
        before = recorded()
        wait(lambda: recorded() > before, "practice that goes on")
        wait(lambda: POLICY_UPDATE in seen, "weights")
        node.destroy_node()
        proc_output.assertWaitFor("finished:", timeout=90)


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After practice has finished, which ends the launch."""

    def test_everything_is_there(self, folder):
        summary = json.loads((folder / "out" / "summary.json").read_text())
        done = summary["tasks"]["A"]["episodes"]
        assert done == EPISODES  # also those that broke off
        entries = Session(folder / "out" / "recordings").entries()
        assert sum(entry.end_reason == "judged" for entry in entries) == done
        learned = load_checkpoint(folder / "out" / "learner" / "checkpoint")
        assert learned.metrics["updates"] > 0
        shutil.rmtree(folder)
