# SPDX-License-Identifier: Apache-2.0
"""Commands one by one: refused, cut, or taken."""

import math

import pytest

from ptp_core.errors import InputError
from ptp_robot.command import Command, CommandCheck
from ptp_robot.robot_file import Limits


def command(**changes):
    values = {"source": 0, "seq": 1, "frame": "base", "age": 0.0, "dx": 0.0, "dy": 0.0}
    values |= {"dz": 0.0, "dyaw": 0.0, "gripper": 0.0}
    return Command(**{**values, **changes})


@pytest.fixture
def check():
    return CommandCheck(Limits())


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"frame": "camera"}, 'in frame "camera"; "base" is expected'),
        ({"age": 0.31}, "0.31 s old; .* set both machines' clocks"),
        ({"age": -0.11}, "0.11 s ahead"),
        ({"age": math.nan}, "stamp is nan"),
        ({"dx": math.nan}, "not finite"),
        ({"gripper": math.inf}, "not finite"),
        ({"dy": -0.046}, "dy is -0.046 m; at most 0.045 m"),
        ({"dyaw": 0.31}, "dyaw is 0.31 rad; at most 0.3 rad"),
        ({"gripper": 1.1}, "gripper is 1.1; at most 1 "),
    ],
)
def test_what_is_wrong_is_refused_and_named(check, changes, text):
    with pytest.raises(InputError, match=text):
        check.check(command(**changes), 0.0)


def test_what_is_a_little_too_large_is_cut_and_keeps_its_direction(check):
    delta, cut = check.check(command(dx=0.03, dz=-0.02, dyaw=-0.25), 0.0)
    assert (delta.dx, delta.dy, delta.dz, delta.dyaw) == (0.03, 0.0, -0.02, -0.2)
    assert cut
    delta, cut = check.check(command(seq=2, dx=0.045, dy=0.045, dz=-0.045), 0.0)
    assert math.dist(delta.translation, (0, 0, 0)) == pytest.approx(0.04)
    assert delta.dx == delta.dy == -delta.dz
    delta, cut = check.check(command(seq=3, dx=0.01, dyaw=0.1, gripper=1.0), 0.0)
    assert not cut


def test_numbers_of_one_source_only_rise_until_it_starts_anew(check):
    check.check(command(seq=7), 0.0)
    for seq in (7, 6):
        with pytest.raises(InputError, match=f"number {seq} comes after 7.*send as policy"):
            check.check(command(seq=seq), 0.5)
    check.check(command(source=1, seq=1), 0.5)  # another source counts for itself
    check.check(command(seq=1), 1.6)  # silent for so long that it was started again
