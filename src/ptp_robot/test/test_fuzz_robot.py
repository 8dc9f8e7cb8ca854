# SPDX-License-Identifier: Apache-2.0
"""Mutations of a robot's files and messages: each is read, or refused with one of our errors."""

import contextlib
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from ptp_core.errors import PtpError
from ptp_core.fuzzing import SECONDS, fuzz
from ptp_description import sawyer_urdf_path
from ptp_robot.arm_driver import PreflightGate
from ptp_robot.backends.rosbridge_link import _protocol
from ptp_robot.backends.sawyer_messages import (
    BadMessage,
    RobotState,
    joints_of,
    limits_of,
    signals_of,
    wrench_of,
)
from ptp_robot.fakes.fake_sawyer_robot import endpoint_state, joint_limits, joint_states
from ptp_robot.kinematics import ARM_JOINTS
from ptp_robot.robot_file import load_robot
from ptp_robot.urdf import read_chain, read_shapes

FINDS = Path(__file__).parent / "fuzz_finds"
ROOT = Path(__file__).resolve().parents[3]
NOW = 1e9
REPORT = {"ok": True, "stamp": NOW, "limits": "abc", "backend": "fake", "findings": ["disk: full"]}

pytestmark = pytest.mark.timeout(60 + 6 * float(os.environ.get(SECONDS, 0)))


def put(path, then):
    """A reader of contents from a file."""

    def read(content):
        path.write_bytes(content)
        return then(path)

    return read


def test_preflight_reports():
    good = {**REPORT, "findings": []}

    def read(content):
        gate = PreflightGate()
        text = content.decode("utf-8", "replace")  # as a message has it
        gate.take(text)
        reason = gate.refusal(NOW, "abc", "fake")
        assert len(reason) < 5000
        # What allows to enable the arm says so itself.
        if not reason:
            said = json.loads(text)
            assert said["ok"] is True and said["limits"] == "abc" and said["findings"] == []
            assert math.isfinite(float(said["stamp"]))

    fuzz(read, [json.dumps(report).encode() for report in (REPORT, good)], FINDS, "preflight", ())


def test_messages_of_rosbridge():
    heard = []
    protocol = _protocol(object, lambda protocol, message: heard.append(message))()
    stamp = {"secs": 1, "nsecs": 2}
    numbers = np.zeros(len(ARM_JOINTS))
    messages = [
        joint_states({"stamp": stamp}, ARM_JOINTS, numbers, numbers),
        joint_limits(ARM_JOINTS, numbers - 1, numbers + 1, numbers + 2),
        endpoint_state({"stamp": stamp}, np.zeros(3), np.eye(3), np.zeros(6)),
        {"signals": [{"name": "is_calibrated", "data": "[true]"}]},
        {"enabled": True, "stopped": False, "error": False, "lowVoltage": False,
         "estop_button": 0, "estop_source": 0},
    ]  # fmt: skip

    def read(content):
        heard.clear()
        protocol.on_message(content)
        for message in heard:
            body = message.get("msg")
            if not isinstance(body, dict):
                continue
            for reader in (
                lambda body: joints_of(body, ARM_JOINTS),
                lambda body: limits_of(body, ARM_JOINTS),
                wrench_of,
                signals_of,
                RobotState.of,
            ):
                with contextlib.suppress(BadMessage):
                    reader(body)

    contents = [
        json.dumps({"op": "publish", "topic": "/t", "msg": message}).encode()
        for message in messages
    ]
    # Anything else is roslibpy's own; the base that stands for it here has no method.
    fuzz(read, contents, FINDS, "rosbridge", (AttributeError,))


def test_files_of_robots(tmp_path):
    contents = [path.read_bytes() for path in sorted((ROOT / "config/robots").rglob("*.yaml"))]
    fuzz(put(tmp_path / "robot.yaml", load_robot), contents, FINDS, "robot")


@pytest.mark.parametrize("name", ["chain", "shapes"])
def test_descriptions_of_robots(tmp_path, name):
    def chain(path):
        return read_chain(path, "base", "right_hand")

    then = {"chain": chain, "shapes": read_shapes}[name]
    content = Path(sawyer_urdf_path()).read_bytes()
    fuzz(put(tmp_path / "arm.urdf", then), [content], FINDS, name, (PtpError, ValueError))
