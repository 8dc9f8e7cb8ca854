# SPDX-License-Identifier: Apache-2.0
"""The main function of every node: make it, spin it, end it with a meaningful exit code."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from ptp_core.errors import PtpError
from ptp_ros.network_interfaces import limit, unheard_peers

RCLError = rclpy_implementation.RCLError  # broken ROS arguments or parameter files
SIGNALS = (signal.SIGINT, signal.SIGTERM)
BEGIN_AGAIN = 75  # exit code of a node that shall be started again: it can be found now
LOOK = 2.0  # s between looks for peers that could not be found at the start
FAREWELLS = 10  # rounds of the executor for what the stopping node still has to send


def run(
    create: Callable[[], Node], args: Sequence[str] | None = None, *, niceness: int = 0
) -> int:
    """Spin the node that ``create()`` makes until it is told to stop; the exit code.

    The node may have ``start()``, called before spinning, ``stop()``, called after it while
    messages can still be sent, and ``exit_code``, returned when it ends by shutting its context
    down. One with ``may_begin_again`` ends with `BEGIN_AGAIN` when a peer that could not be found
    as it started (`ptp_ros.network_interfaces`) can be found: its supervisor starts it again.
    SIGINT and SIGTERM stop it; a second one ends the process at once. ``niceness``: as of `nice`,
    for a node that must not take a core from those that move the arm.
    """
    os.nice(niceness)
    # rclpy's own handlers close the context at once, so that whatever runs then fails to
    # publish. Here every thread leaves the signals to one that waits for them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return _run(create, args)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(create: Callable[[], Node], args: Sequence[str] | None) -> int:
    try:
        limit()
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = create()
    except (PtpError, RCLError) as error:
        rclpy.logging.get_logger("ptp").fatal(str(error))
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    told, again = threading.Event(), threading.Event()
    if troubles := unheard_peers():
        for trouble in troubles:
            node.get_logger().warning(trouble)
        work = (node, len(troubles), told, again)
        threading.Thread(target=_wait_for_peers, args=work, daemon=True).start()
    threading.Thread(target=_wait_for_signals, args=(told, executor), daemon=True).start()
    # What was made so far lives as long as the process: keep the collector off it, so that a
    # collection never delays a command.
    gc.collect()
    gc.freeze()
    # A thread that got something to do takes over at once, not after Python's usual 5 ms.
    sys.setswitchinterval(1e-4)
    try:
        if hasattr(node, "start"):
            node.start()
        while not (told.is_set() or again.is_set()) and rclpy.ok():
            executor.spin_once()
    except ExternalShutdownException:
        pass
    finally:
        if hasattr(node, "stop"):
            node.stop()
        for _ in range(FAREWELLS):
            if rclpy.ok():
                executor.spin_once(timeout_sec=0.01)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return BEGIN_AGAIN if again.is_set() else getattr(node, "exit_code", 0)


def _wait_for_peers(node: Node, count: int, told: threading.Event, again: threading.Event) -> None:
    """Until fewer than ``count`` peers are out of reach; then have the node begin again."""
    while len(unheard_peers()) >= count:
        if told.wait(LOOK):
            return
    if getattr(node, "may_begin_again", False):
        node.get_logger().warning("a peer is there: beginning again, to be found by it")
        again.set()
        with contextlib.suppress(AttributeError, RCLError):  # it has just ended by itself
            node.executor.create_task(lambda: None)  # the executor looks up
    else:
        node.get_logger().warning("a peer is there: start this node again, to be found by it")


def _wait_for_signals(told: threading.Event, executor: SingleThreadedExecutor) -> None:
    signal.sigwait(SIGNALS)
    told.set()
    with contextlib.suppress(AttributeError, RCLError):  # it has just ended by itself
        executor.create_task(lambda: None)  # the executor looks up
    number = signal.sigwait(SIGNALS)
    os._exit(128 + number)
