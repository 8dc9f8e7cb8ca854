# SPDX-License-Identifier: Apache-2.0
"""Which commands count: those of a known source that answer what was just seen."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptp_robot.command import Command
from ptp_robot.driver_core import ArmDriverState
from ptp_robot.driver_testing import POLICY, SCRIPT, TELEOP, DriverRig


def test_an_answer_to_an_old_an_unknown_or_no_observation_moves_nothing():
    rig = DriverRig().enable()
    rig.image()
    before = rig.tool()
    rig.run(0.31)  # no newer image comes: the number stays the newest
    assert "observation 1 is 0.31 s old, at most 0.30 s is allowed" in rig.send(dx=0.02)
    rig.image()
    assert "never published, the newest is 2" in rig.send(dx=0.02, observation_seq=2**32 - 1)
    assert "answers no observation" in rig.send(dx=0.02, observation_seq=0)
    rig.run(0.2)
    np.testing.assert_array_equal(rig.tool(), before)
    assert rig.driver.counts.late == 3
    assert not rig.send(dx=0.02)  # the real policy is not locked out
    rig.run(0.1)
    assert np.linalg.norm(rig.tool() - before) > 1e-3


def test_an_answer_that_grew_too_old_on_its_way_moves_nothing():
    rig = DriverRig().enable()
    rig.image()
    arrived = rig.time + 0.1
    rig.run(0.35)  # while another thread had the driver
    command = Command(POLICY, 1, "base", 0.01, 0.02, 0.0, 0.0, 0.0, -1.0, observation_seq=1)
    assert "0.35 s old" in rig.driver.command(command, rig.time, arrived)
    assert rig.driver.counts.accepted == 0


def test_a_policy_that_asks_to_hold_stops_the_arm_at_once():
    rig = DriverRig().enable()
    rig.drive(1, dx=0.03)
    assert rig.send(observation_seq=0) == ""
    assert (rig.state, rig.driver.reason) == (ArmDriverState.HOLD, "the policy asks to hold")
    rig.holds_within(0.01)
    assert rig.driver.counts.late == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"dx": float("nan")},
        {"age": 3600.0},
        {"frame": "moon"},
        {"dx": 5.0},
        {"observation_seq": 2**32 - 1},
    ],
)
def test_a_command_that_is_refused_takes_nothing_over(wrong):
    rig = DriverRig().enable()
    rig.drive(1, dx=0.01)
    assert rig.send(TELEOP, **wrong)
    assert not rig.driver.arbiter.taken_over
    assert not rig.driver.arbiter.held(rig.time)
    rig.drive(1, dx=0.01)
    assert rig.state is ArmDriverState.ACTIVE


def test_letting_go_counts_whatever_else_is_wrong_with_the_command():
    rig = DriverRig().enable()
    rig.image()
    rig.send(TELEOP, dz=0.02)
    rig.send(TELEOP, dead_man=False, age=3600.0, dx=float("nan"))
    assert not rig.driver.arbiter.held(rig.time)
    rig.holds_within(0.01)


def test_what_another_sends_wrongly_does_not_stop_a_person():
    rig = DriverRig().enable()
    rig.image()
    assert not rig.send(TELEOP, dz=0.02)
    assert "not finite" in rig.send(POLICY, dx=float("nan"))
    assert "source is 77" in rig.send(77)
    before = rig.tool()
    rig.run(0.1)
    assert rig.state is ArmDriverState.INTERVENTION
    assert (rig.tool() - before)[2] > 1e-3


numbers = st.one_of(st.integers(0, 30), st.sampled_from([2**31, 2**32 - 2, 2**32 - 1]))
forged = st.fixed_dictionaries(
    {
        "source": st.sampled_from([POLICY, TELEOP, SCRIPT, 9, 255]),
        "heard_from": st.sampled_from([POLICY, SCRIPT]),
        "observation_seq": numbers,
        "seq": st.one_of(st.integers(0, 50), st.just(2**32 - 1)),
        "dead_man": st.booleans(),
        "dx": st.sampled_from([0.01, 0.0, 5.0, math.nan]),
        "age": st.sampled_from([0.01, 3600.0, -3600.0, math.nan]),
        "frame": st.sampled_from(["base", "moon"]),
    }
)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(st.lists(forged, max_size=6), min_size=2, max_size=8))
def test_no_forged_sequence_takes_the_arm_over_or_moves_it_on_what_was_not_just_seen(rounds):
    rig = DriverRig().enable()
    for sequence in rounds:
        rig.image()
        rig.run(0.02)
        before = rig.driver.counts.accepted
        for values in sequence:
            source = values.pop("source")
            text = rig.send(source, **values)
            moved = rig.driver.counts.accepted - before
            assert not (moved and text)
            if moved:
                before += moved
                if source == POLICY:
                    assert values["observation_seq"] == rig.images
                assert values["frame"] == "base" and values["age"] == 0.01
                assert source == values["heard_from"]
        assert not rig.driver.arbiter.taken_over
    # A person is heard, and, with its own numbers, so is an honest policy.
    rig.run(1.1)
    rig.image()
    assert rig.send(heard_from=POLICY, dx=0.01) == ""
    assert rig.state is ArmDriverState.ACTIVE
    rig.image()
    assert rig.send(TELEOP, heard_from=TELEOP, dz=0.01) == ""
    assert rig.state is ArmDriverState.INTERVENTION
