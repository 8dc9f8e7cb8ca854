# SPDX-License-Identifier: Apache-2.0
"""What a Sawyer is asked for again and again until its state shows it (Rethink's SDK)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ptp_robot.backends.sawyer_topics import ENABLE, RESET, STOP

__all__ = ["REQUESTS", "Request"]


class Request(NamedTuple):
    """A message, and what to say when the robot did not answer it in time [s]."""

    topic: str
    message: Mapping[str, Any]
    failure: str


REQUESTS = {
    "enable": Request(
        ENABLE,
        {"data": True},
        "the robot did not turn its motors on within {:g} s: look at its screen, clear the fault, "
        "then enable again",
    ),
    "disable": Request(
        ENABLE,
        {"data": False},
        "the robot did not turn its motors off within {:g} s: press the emergency stop",
    ),
    "stop": Request(STOP, {}, "the robot did not stop within {:g} s: press the emergency stop"),
    "reset": Request(
        RESET,
        {},
        "the robot did not forget its error within {:g} s: read its log, restart the robot",
    ),
}
