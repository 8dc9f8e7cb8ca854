# SPDX-License-Identifier: Apache-2.0
"""The arm in memory keeps the contract of all back-ends, in both interfaces."""

import numpy as np
import pytest

from ptp_core.errors import ConfigError
from ptp_robot.backend_contract import BackendContract, MotorContract
from ptp_robot.backends.fake_backend import FakeBackend, FakeConfig


class Rig:
    """Time stands still until it is told to pass."""

    def __init__(self, **config):
        self.time = 100.0
        self.backend = FakeBackend(self.now, config=FakeConfig(**config))
        self.fault, self.mend = self.backend.fault, self.backend.mend
        self.joints = self.backend.joints

    def now(self):
        return self.time

    def advance(self, seconds):
        self.time += seconds


class TestVelocity(BackendContract, MotorContract):
    @pytest.fixture
    def rig(self):
        return Rig()


class TestPosition(BackendContract, MotorContract):
    @pytest.fixture
    def rig(self):
        return Rig(interface="position")


def test_a_velocity_ends_by_the_robots_own_timeout():
    rig = Rig(command_timeout=0.2)
    rig.backend.connect()
    rig.backend.enable()
    start = rig.joints()
    rig.backend.command(start, np.full(7, 0.5))
    rig.advance(0.15)
    np.testing.assert_allclose(rig.joints() - start, 0.075)
    rig.advance(10.0)
    np.testing.assert_allclose(rig.joints() - start, 0.1)
    assert not rig.backend.reading().dq.any()


def test_a_position_is_gone_to_at_the_speed_ratio_even_without_further_commands():
    rig = Rig(interface="position", speed_ratio=0.3)
    rig.backend.connect()
    rig.backend.enable()
    start = rig.joints()
    rig.backend.command(start + 0.5, np.zeros(7))
    rig.advance(0.1)
    moved = rig.joints() - start
    np.testing.assert_allclose(moved, 0.03 * np.array(FakeBackend(rig.now)._speed), rtol=1e-9)
    rig.advance(10.0)
    np.testing.assert_allclose(rig.joints(), start + 0.5)


def test_forces_are_measured_where_the_robot_can():
    rig = Rig(wrench=True)
    rig.backend.connect()
    assert not rig.backend.reading().wrench.any()
    rig.backend.push((0, 0, 12.0, 0, 0, 0))
    assert rig.backend.reading().wrench[2] == 12.0
    blind = Rig()
    blind.backend.connect()
    assert blind.backend.reading().wrench is None


def test_wrong_settings_and_faults_are_named():
    with pytest.raises(ConfigError, match=r"command_timeout is 5\.0.*at most 1\.0"):
        FakeConfig(command_timeout=5.0)
    with pytest.raises(ConfigError, match="has 2 joints"):
        FakeConfig(start=(0.0, 1.0))
    with pytest.raises(ValueError, match="press_estop"):
        Rig().fault("trip")
