# SPDX-License-Identifier: Apache-2.0
"""Running a node: the main function of its process, or a background thread of another program."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from ptp_core.errors import PtpError
from ptp_ros.middleware import limit, unheard_peers

N = TypeVar("N", bound=Node)
RCLError = rclpy_implementation.RCLError  # broken ROS arguments or parameter files
SIGNALS = (signal.SIGINT, signal.SIGTERM)
RESTART = 75  # exit code of a node that must be restarted so that a peer can discover it
PEER_PERIOD = 2.0  # s between checks for peers that were unreachable at the start
LAST_SPINS = 10  # executor rounds in which a stopping node sends its last messages


def run(
    create: Callable[[], Node], args: Sequence[str] | None = None, *, niceness: int = 0
) -> int:
    """Spin the node that ``create()`` makes until a signal stops it; returns the exit code.

    The node may have ``start()``, called before spinning, ``stop()``, called after it while
    messages can still be sent, and ``exit_code``, returned when it ends by shutting its context
    down. A node with ``may_begin_again`` ends with `RESTART` when a peer that was unreachable at
    its start (`ptp_ros.middleware`) becomes reachable; its supervisor restarts it.
    SIGINT and SIGTERM stop the node; a second signal ends the process at once. ``niceness``: as
    of `nice`, for a node that must not take a core from nodes that move the arm.
    """
    os.nice(niceness)
    # rclpy's own handlers close the context at once, so that running callbacks fail to publish.
    # Here all threads block the signals, and one thread waits for them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return _run(create, args)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def background_node(create: Callable[[Context], N], domain: int | None = None) -> Iterator[N]:
    """Context manager: the node that ``create(context)`` makes spins in a thread.

    ``domain`` None: that of ROS_DOMAIN_ID. The caller keeps handling signals. An exception of a
    callback is raised at the end of the block.
    """
    limit()
    context = Context()
    rclpy.init(
        args=[], context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO
    )
    node = create(context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    errors: list[BaseException] = []
    stopped = threading.Event()

    def spin() -> None:
        try:
            while not stopped.is_set() and context.ok():
                executor.spin_once()
        except ExternalShutdownException:
            pass
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=spin, name="background", daemon=True)
    thread.start()
    try:
        yield node
    finally:
        stopped.set()
        # This wakes it. To shut it down while it spins would destroy what it still uses.
        executor.create_task(lambda: None)
        thread.join(5.0)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
    if errors:
        raise errors[0]


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
    stopped, restart = threading.Event(), threading.Event()
    if troubles := unheard_peers():
        for trouble in troubles:
            node.get_logger().warning(trouble)
        work = (node, len(troubles), stopped, restart)
        threading.Thread(target=_wait_for_peers, args=work, daemon=True).start()
    threading.Thread(target=_wait_for_signals, args=(stopped, executor), daemon=True).start()
    # The objects made so far live as long as the process. Exclude them from garbage collection, so
    # that a collection never delays a command.
    gc.collect()
    gc.freeze()
    # Switch to a waiting thread at once, not after Python's default of 5 ms.
    sys.setswitchinterval(1e-4)
    try:
        if hasattr(node, "start"):
            node.start()
        while not (stopped.is_set() or restart.is_set()) and rclpy.ok():
            executor.spin_once()
    except ExternalShutdownException:
        pass
    finally:
        if hasattr(node, "stop"):
            node.stop()
        for _ in range(LAST_SPINS):
            if rclpy.ok():
                executor.spin_once(timeout_sec=0.01)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return RESTART if restart.is_set() else getattr(node, "exit_code", 0)


def _wait_for_peers(
    node: Node, count: int, stopped: threading.Event, restart: threading.Event
) -> None:
    """Wait until fewer than ``count`` peers are unreachable; then let the node restart."""
    while len(unheard_peers()) >= count:
        if stopped.wait(PEER_PERIOD):
            return
    if getattr(node, "may_begin_again", False):
        node.get_logger().warning("a peer is there: beginning again, to be found by it")
        restart.set()
        with contextlib.suppress(AttributeError, RCLError):  # the node has just ended
            node.executor.create_task(lambda: None)  # wakes the executor
    else:
        node.get_logger().warning("a peer is there: start this node again, to be found by it")


def _wait_for_signals(stopped: threading.Event, executor: SingleThreadedExecutor) -> None:
    signal.sigwait(SIGNALS)
    stopped.set()
    with contextlib.suppress(AttributeError, RCLError):  # the node has just ended
        executor.create_task(lambda: None)  # wakes the executor
    number = signal.sigwait(SIGNALS)
    os._exit(128 + number)
