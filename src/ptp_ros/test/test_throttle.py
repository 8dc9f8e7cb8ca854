# SPDX-License-Identifier: Apache-2.0
"""A kind is said once a period, and does not keep another from being said."""

from ptp_ros.throttle import Throttle


def test_a_flood_of_one_kind_is_said_once_a_second_and_others_are_heard():
    now = 0.0
    throttle = Throttle(1.0, lambda: now)
    assert throttle.due("values")
    said = 0
    for millisecond in range(1, 5000):
        now = millisecond * 1e-3
        said += throttle.due("values")
    assert said == 4
    assert throttle.due("version")
