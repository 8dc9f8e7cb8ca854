# SPDX-License-Identifier: Apache-2.0
"""The main function of every node: make it, spin it, end it with a meaningful exit code."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

from ptp_core.errors import PtpError

RCLError = rclpy_implementation.RCLError  # broken ROS arguments or parameter files


def run(create: Callable[[], Node], args: Sequence[str] | None = None) -> int:
    """Spin the node that ``create()`` makes until it is told to stop; the exit code.

    The node may have ``start()``, called before spinning, ``stop()``, called before it is
    destroyed, and ``exit_code``, returned when it ends by shutting its context down.
    """
    try:
        rclpy.init(args=args)
        node = create()
    except (PtpError, RCLError) as error:
        rclpy.logging.get_logger("ptp").fatal(str(error))
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    # What was made so far lives as long as the process: keep the collector off it, so that a
    # collection never delays a command.
    gc.collect()
    gc.freeze()
    # A thread that got something to do takes over at once, not after Python's usual 5 ms.
    sys.setswitchinterval(1e-4)
    try:
        if hasattr(node, "start"):
            node.start()
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if hasattr(node, "stop"):
            node.stop()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return getattr(node, "exit_code", 0)
