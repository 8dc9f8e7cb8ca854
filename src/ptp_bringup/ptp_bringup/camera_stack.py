# SPDX-License-Identifier: Apache-2.0
"""The stack that looks through a camera."""

from __future__ import annotations

from ptp_bringup.pieces import COMMON, NETWORKS, RVIZ, device, numbers
from ptp_bringup.stack import Argument, From, NodeSpec, Stack

CAMERA = Stack(
    name="camera",
    description="look through a camera, or at a video file, as the encoder does",
    arguments=(
        Argument("device", "0", "camera: number or /dev/video...; or a video file"),
        Argument("crop", "0", "pixels of the square that is cut out; 0: the largest"),
        Argument("offset", "0,0", "of the square from the picture's centre, right,down [pixels]"),
        Argument("rate", "10.0", "pictures a second, Hz"),
        *COMMON,
    ),
    nodes=(
        NodeSpec(
            "ptp_nodes",
            "camera",
            "camera",
            {
                "device": From("device", device),
                "crop": From("crop", int),
                "offset": From("offset", numbers),
                "rate": From("rate", float),
            },
        ),
        NodeSpec("ptp_nodes", "encoder", "encoder", NETWORKS),
        NodeSpec("ptp_nodes", "view", "view", essential=False, respawn=True),
        RVIZ,
    ),
)
