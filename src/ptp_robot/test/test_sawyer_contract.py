# SPDX-License-Identifier: Apache-2.0
"""The Sawyer back-end keeps the contract of all back-ends, in both modes, over a real socket."""

import pytest

from ptp_robot.backend_contract import BackendContract, MotorContract
from ptp_robot.fakes.sawyer_rig import SawyerRig


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
