# SPDX-License-Identifier: Apache-2.0
"""Threads beside the executor see the newest item, and only that."""

import threading
from concurrent.futures import ThreadPoolExecutor

from ptp_ros.worker import NewestFirst, NewestSlot


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
