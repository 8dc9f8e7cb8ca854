# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while the arm acts, under launch_testing; see sim_test.launch.py."""

import shutil
import tempfile
import unittest
from pathlib import Path

import launch
import launch_testing
import launch_testing.actions
import launch_testing.asserts
import pytest
from ament_index_python.packages import get_package_share_directory
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from ptp_core.tiny_networks import tiny_checkpoint


@pytest.mark.launch_test
def generate_test_description():
    folder = Path(tempfile.mkdtemp(prefix="ptp-launch-test-"))
    tiny_checkpoint(folder / "model")
    source = Path(get_package_share_directory("ptp_bringup")) / "launch" / "sim.launch.py"
    arguments = {"checkpoint": str(folder / "model"), "planner": "checkpoint"}
    stack = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(source)), launch_arguments=arguments.items()
    )
    description = launch.LaunchDescription([stack, launch_testing.actions.ReadyToTest()])
    return description, {"folder": folder}


class TestActing(unittest.TestCase):
    """launch_testing interrupts the launch when these tests have ended."""

    def test_the_arm_acts(self, proc_output):
        proc_output.assertWaitFor("acting: step", timeout=60)


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After the interruption."""

    def test_every_node_ended_by_itself(self, proc_info, proc_output, folder):
        for name in proc_info.process_names():
            # practice was interrupted, so its run is not complete: it says so with 1.
            codes = (0, 1) if name.startswith("practice") else (0,)
            launch_testing.asserts.assertExitCodes(proc_info, codes, process=name)
            lines = b"".join(event.text for event in proc_output[name])
            assert b"Traceback" not in lines, name
        shutil.rmtree(folder)
