# SPDX-License-Identifier: Apache-2.0
"""The Sawyer back-end keeps the contract of all back-ends, in both modes, over a real socket."""

import pytest

from ptp_robot.fakes.rig import SawyerRig
from ptp_robot.testing import BackendContract, MotorContract


class TestVelocity(BackendContract, MotorContract):
    @pytest.fixture
    def rig(self):
        with SawyerRig() as rig:
            yield rig


class TestPosition(BackendContract, MotorContract):
    @pytest.fixture
    def rig(self):
        with SawyerRig(interface="position") as rig:
            yield rig
