# SPDX-License-Identifier: Apache-2.0
"""What the driver tells of itself and of each image's interval."""

import numpy as np
import pytest

from ptp_robot.driver_core import LoopMeter
from ptp_robot.driver_testing import DriverRig


def test_changes_are_kept_until_they_are_fetched():
    rig = DriverRig().enable()
    rig.drive(1, dx=0.01)
    rig.run(0.4)
    names = [new.name for _, new, _ in rig.driver.changes]
    assert names == ["DISABLED", "READY", "ACTIVE", "HOLD"]


def test_the_gripper_is_sent_when_it_changes_and_measured():
    rig = DriverRig().enable()
    rig.drive(1, gripper=1.0)
    assert rig.image().reading.gripper == 1.0
    rig.drive(1, gripper=-1.0)
    assert rig.backend.reading().gripper == -1.0


def test_the_interval_tells_latency_and_motion():
    rig = DriverRig().enable()
    rig.image()
    rig.run(0.03)
    rig.send(observation_seq=1, dx=0.03, dy=0.03, dz=0.03)
    rig.run(0.07)
    interval = rig.image()
    assert interval.latency == pytest.approx(0.03)
    assert interval.clamped  # beyond 0.04 m in all
    assert not interval.holding
    assert np.linalg.norm(interval.setpoint[0] - interval.position) < 0.05


def test_the_loop_is_measured_over_the_last_second():
    meter = LoopMeter()
    assert (meter.rate, meter.worst) == (0.0, 0.0)
    now = 0.0
    for period in [0.03] + [0.01] * 150:
        now += period
        meter.tick(now)
    assert meter.rate == pytest.approx(100.0)
    assert meter.worst == pytest.approx(0.01)
    meter.tick(now + 0.04)
    assert meter.worst == pytest.approx(0.04)


def test_a_loop_that_misses_its_rate_says_so_once_a_second_with_numbers():
    meter, said, now = LoopMeter(), [], 0.0
    for period in [0.01] * 250 + [0.02] * 149 + [0.05] + [0.01] * 300:
        now += period
        meter.tick(now)
        if text := meter.missed(0.01):
            said.append((now, text))
    times = [when for when, _ in said]
    assert 3 <= len(said) <= 4
    assert min(np.diff(times)) >= 1.0
    assert "50.0 cycles a second instead of 100.0, the longest took 20 ms" in said[1][1]
    assert any("the longest took 50 ms" in text for _, text in said)


def test_a_slow_loop_that_keeps_its_rate_says_nothing():
    meter = LoopMeter()
    for cycle in range(50):
        meter.tick(3.0 * cycle)
        assert meter.missed(3.0) == ""
