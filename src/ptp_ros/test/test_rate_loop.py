# SPDX-License-Identifier: Apache-2.0
"""A loop in a thread of its own."""

import threading
import time

from ptp_ros.rate_loop import RateLoop


def test_it_beats_evenly_until_it_is_stopped_and_can_begin_again():
    times, enough = [], threading.Event()

    def cycle():
        times.append(time.monotonic())
        if len(times) >= 20:
            enough.set()

    beat = RateLoop(0.005, cycle, "test")
    beat.start()
    beat.start()
    assert enough.wait(20.0)
    beat.stop()
    count = len(times)
    assert times[19] - times[0] >= 19 * 0.005 - 0.004  # never faster than asked
    beat.stop()
    assert len(times) == count
    enough.clear()
    times.clear()
    beat.start()
    assert enough.wait(20.0)
    beat.stop()


def test_what_was_missed_is_not_made_up_for():
    times, done = [], threading.Event()

    def cycle():
        times.append(time.monotonic())
        if len(times) == 2:
            time.sleep(0.1)  # a cycle that hangs
        if len(times) == 6:
            done.set()

    beat = RateLoop(0.01, cycle, "test")
    beat.start()
    assert done.wait(20.0)
    beat.stop()
    assert times[5] - times[2] >= 0.025
