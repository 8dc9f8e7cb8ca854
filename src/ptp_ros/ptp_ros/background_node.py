# SPDX-License-Identifier: Apache-2.0
"""Temporary node in a background thread, for programs that are no nodes themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from ptp_ros.network_interfaces import limit

N = TypeVar("N", bound=Node)


@contextmanager
def node_aside(create: Callable[[Context], N], domain: int | None = None) -> Iterator[N]:
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

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            pass
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=spin, name="aside", daemon=True)
    thread.start()
    try:
        yield node
    finally:
        executor.shutdown()
        thread.join(5.0)
        node.destroy_node()
        rclpy.try_shutdown(context=context)
    if errors:
        raise errors[0]
