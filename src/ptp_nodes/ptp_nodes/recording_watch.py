# SPDX-License-Identifier: Apache-2.0
"""A node that tells a program how the recording of demonstrations goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ptp_interfaces.msg import RecorderStatus
from rclpy.node import Node

from ptp_ros.aside import node_aside
from ptp_ros.topics import LATCHED, RECORDER_STATUS


class RecordingWatch(Node):
    """Calls ``heard(episodes saved, steps of the one that is recorded)`` at each news."""

    def __init__(self, heard: Callable[[int, int], None], **options: Any) -> None:
        super().__init__("recording_watch", **options)
        self._heard = heard
        self.create_subscription(RecorderStatus, RECORDER_STATUS, self._arrived, LATCHED)

    def _arrived(self, status: RecorderStatus) -> None:
        recording = status.state == RecorderStatus.RECORDING
        self._heard(status.episodes, status.steps if recording else 0)


@contextmanager
def watching_recorder(heard: Callable[[int, int], None], domain: int) -> Iterator[None]:
    """Listen to the recorder of a ROS domain, from a thread, while the block runs."""
    with node_aside(lambda context: RecordingWatch(heard, context=context), domain):
        yield
