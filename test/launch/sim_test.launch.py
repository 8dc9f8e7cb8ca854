# SPDX-License-Identifier: Apache-2.0
"""The sim stack under launch_testing: ``launch_test test/launch/sim_test.launch.py``.

Needs ROS 2 with launch_testing; test/test_up.py checks the same where it is missing.
"""

import json
import shutil
import tempfile
import unittest
from pathlib import Path

import launch
import launch_testing
import launch_testing.actions
import launch_testing.asserts
import pytest
import rclpy
from ament_index_python.packages import get_package_share_directory
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from ptp_interfaces.msg import EpisodeStatus, Latent, SubgoalPlan
from sensor_msgs.msg import Image

from ptp_core.tiny_networks import tiny_checkpoint
from ptp_ros.topics import EPISODE, LATCHED, LATENT, PLAN, VIEW_IMAGE

NODES = ("sim_bridge", "encoder", "planner", "policy", "practice", "view")


@pytest.mark.launch_test
def generate_test_description():
    folder = Path(tempfile.mkdtemp(prefix="ptp-launch-test-"))
    tiny_checkpoint(folder / "model")
    source = Path(get_package_share_directory("ptp_bringup")) / "launch" / "sim.launch.py"
    arguments = {
        "task": "A,B",
        "mode": "lock_step",
        "planner": "checkpoint",
        "max_steps": "10",
        "checkpoint": str(folder / "model"),
        "output": str(folder / "out"),
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

    def test_every_node_speaks_and_practice_finishes(self, proc_output, proc_info):
        node = rclpy.create_node("launch_test")
        seen = {}
        for kind, topic in (
            (Latent, LATENT),
            (SubgoalPlan, PLAN),
            (Image, VIEW_IMAGE),
            (EpisodeStatus, EPISODE),
        ):
            node.create_subscription(kind, topic, lambda m, t=topic: seen.update({t: m}), LATCHED)

        def finished():
            status = seen.get(EPISODE)
            return status is not None and status.state == EpisodeStatus.FINISHED

        deadline = node.get_clock().now() + rclpy.duration.Duration(seconds=60)
        while not finished() and node.get_clock().now() < deadline:
            rclpy.spin_once(node, timeout_sec=0.5)
        node.destroy_node()
        assert set(seen) == {LATENT, PLAN, VIEW_IMAGE, EPISODE}
        assert (seen[EPISODE].episodes_done, seen[EPISODE].episodes_total) == (2, 2)
        proc_output.assertWaitFor("task B: no success after 10 steps", timeout=10)
        proc_info.assertWaitForShutdown(process="practice", timeout=10)


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After practice has finished, which ends the launch."""

    def test_every_node_ended_cleanly(self, proc_info):
        names = " ".join(proc_info.process_names())
        for node in NODES:
            assert f"{node}-" in names
        launch_testing.asserts.assertExitCodes(proc_info)

    def test_the_summary_is_there(self, folder):
        summary = json.loads((folder / "out" / "summary.json").read_text())
        assert summary["failures"] == []
        assert sorted(summary["tasks"]) == ["A", "B"]
        shutil.rmtree(folder)
