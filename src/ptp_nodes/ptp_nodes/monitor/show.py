# SPDX-License-Identifier: Apache-2.0
"""Puts the parts of the page together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import rerun as rr

from ptp_description import sawyer_urdf_path
from ptp_nodes.monitor.board import Board
from ptp_nodes.monitor.node import MonitorNode
from ptp_nodes.monitor.page import NAME, Page
from ptp_robot.shapes import read_shapes
from ptp_ros.aside import node_aside


@contextmanager
def showing(
    recording: rr.RecordingStream, rate: float, domain: int | None = None
) -> Iterator[None]:
    """Draw what happens on the graph into ``recording`` while the block runs."""
    shapes = read_shapes(sawyer_urdf_path())
    board = Board(Page(recording, shapes), shapes, rate)
    with node_aside(lambda context: MonitorNode(board, context=context), domain):
        yield


def recording_to(uri: str) -> rr.RecordingStream:
    """A recording that goes to a server."""
    recording = rr.RecordingStream(NAME)
    recording.connect_grpc(uri)
    return recording
