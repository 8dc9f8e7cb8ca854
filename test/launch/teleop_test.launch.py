# SPDX-License-Identifier: Apache-2.0
"""The teleop stack under launch_testing: ``launch_test test/launch/teleop_test.launch.py``.

Needs ROS 2 with launch_testing; test/test_teleop_stack.py checks the same where it is missing.
"""

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
from ptp_interfaces.msg import ArmState, Latent, RecorderStatus, StepRecord
from sensor_msgs.msg import Image

from ptp_core.episodes.session_store import Session
from ptp_core.tiny_networks import tiny_checkpoint
from ptp_ros.topics import (
    ARM_STATE,
    LATCHED,
    LATENT,
    RECORDER_STATUS,
    RECORDS,
    STEP_RECORD,
    VIEW_IMAGE,
)

NODES = ("sim_bridge", "encoder", "recorder", "teleop", "scripted_gamepad", "view")


@pytest.mark.launch_test
def generate_test_description():
    folder = Path(tempfile.mkdtemp(prefix="ptp-launch-test-"))
    tiny_checkpoint(folder / "model")
    source = Path(get_package_share_directory("ptp_bringup")) / "launch" / "teleop.launch.py"
    arguments = {
        "source": "script",
        "mode": "lock_step",
        "task": "A",
        "rate": "30",
        "speed": "1.0",
        "episodes": "2",
        "checkpoint": str(folder / "model"),
        "record": str(folder / "session"),
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

    def test_every_node_speaks_and_two_demonstrations_are_recorded(self, proc_info):
        node = rclpy.create_node("launch_test")
        seen = {}
        for kind, topic, qos in (
            (Latent, LATENT, LATCHED),
            (Image, VIEW_IMAGE, LATCHED),
            (RecorderStatus, RECORDER_STATUS, LATCHED),
            (ArmState, ARM_STATE, RECORDS),
            (StepRecord, STEP_RECORD, RECORDS),
        ):
            node.create_subscription(kind, topic, lambda m, t=topic: seen.update({t: m}), qos)

        def finished():
            status = seen.get(RECORDER_STATUS)
            return status is not None and status.episodes >= 2

        deadline = node.get_clock().now() + rclpy.duration.Duration(seconds=90)
        while not finished() and node.get_clock().now() < deadline:
            rclpy.spin_once(node, timeout_sec=0.5)
        node.destroy_node()
        assert set(seen) == {LATENT, VIEW_IMAGE, RECORDER_STATUS, ARM_STATE, STEP_RECORD}
        assert finished()
        proc_info.assertWaitForShutdown(process="scripted_gamepad", timeout=20)


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After the script has finished, which ends the launch."""

    def test_every_node_ended_cleanly(self, proc_info, proc_output):
        names = " ".join(proc_info.process_names())
        for node in NODES:
            assert f"{node}-" in names
        launch_testing.asserts.assertExitCodes(proc_info)
        for name in proc_info.process_names():
            lines = b"".join(event.text for event in proc_output[name])
            assert b"Traceback" not in lines, name

    def test_the_session_is_there(self, folder):
        entries = Session(folder / "session").entries()
        assert [entry.label for entry in entries].count("success") == 2
        assert all(entry.steps > 20 for entry in entries if entry.label == "success")
        shutil.rmtree(folder)
