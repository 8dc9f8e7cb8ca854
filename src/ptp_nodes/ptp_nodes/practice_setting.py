# SPDX-License-Identifier: Apache-2.0
"""Settings of practice as ROS parameters, with the defaults and texts of every other program."""

from __future__ import annotations

from typing import Any

from ptp_core.practice.practice_settings import ABOUT
from ptp_ros.parameters import parameter

METHOD = "how subgoals come about: a name of ptp_core.agents.registry; the same for all nodes"


def practice_setting(name: str, minimum: float | None = None, maximum: float | None = None) -> Any:
    """A field for the setting ``name`` of `PracticeSettings`, its default that of preset ours."""
    about = next(about for about in ABOUT if about.name == name)
    return parameter(
        about.ours, about.help, minimum=minimum, maximum=maximum, choices=about.choices
    )
