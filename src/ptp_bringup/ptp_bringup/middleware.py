# SPDX-License-Identifier: Apache-2.0
"""How nodes find each other: what every process of a stack has in its environment."""

from __future__ import annotations

from ptp_bringup.shared import shared_root


def variables() -> dict[str, str]:
    """Environment variables of the middleware; what the user has set goes first.

    Nodes stay on this machine, and Fast DDS announces them often (`config/dds/fastdds.xml`).
    """
    return {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(shared_root() / "config" / "dds" / "fastdds.xml"),
    }
