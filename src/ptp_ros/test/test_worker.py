# SPDX-License-Identifier: Apache-2.0
"""Threads of nodes: the newest item, items that wait, a fixed rate, messages that repeat."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from ptp_ros.worker import NewestFirst, NewestSlot, RateLoop, Throttle


def test_a_reader_gets_the_newest_item_and_the_count():
    slot = NewestSlot()
    slot.put("old")
    slot.put("new")
    assert slot.wait(0, 0.0) == ("new", 2)


def test_a_reader_without_news_gives_up_with_the_old_count():
    slot = NewestSlot()
    slot.put("old")
    assert slot.wait(1, 0.0) == ("old", 1)


def test_a_waiting_reader_is_woken_by_news_and_by_the_end():
    slot, seen = NewestSlot(), []
    reader = threading.Thread(target=lambda: seen.extend([slot.wait(0, 30), slot.wait(1, 30)]))
    reader.start()
    slot.put("news")
    slot.close()
    reader.join(10)
    assert seen == [("news", 1), ("news", 1)]


def test_items_that_wait_are_replaced_and_counted():
    gate, done = threading.Event(), []

    def process(item):
        gate.wait(10)
        done.append(item)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(gate.wait, 10)  # the thread is busy
        worker = NewestFirst(pool, process)
        for item in (1, 2, 3):
            worker.put(item)
        gate.set()
    assert done == [3]
    assert worker.dropped == 2


def test_an_item_after_the_end_is_let_go():
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    NewestFirst(pool, print).put(1)


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
