# SPDX-License-Identifier: Apache-2.0
"""All stacks by name. Each stands in a file of its own: nodes, parameters, arguments."""

from __future__ import annotations

from ptp_bringup.camera_stack import CAMERA
from ptp_bringup.practice_stack import PRACTICE
from ptp_bringup.real_stack import REAL
from ptp_bringup.sim_stack import SIM
from ptp_bringup.stack import Stack
from ptp_bringup.teleop_stack import TELEOP
from ptp_core.errors import ConfigError

STACKS = {stack.name: stack for stack in (SIM, TELEOP, PRACTICE, CAMERA, REAL)}


def stack_named(name: str) -> Stack:
    """The stack of that name. Raises ConfigError."""
    if name not in STACKS:
        raise ConfigError(f'there is no stack "{name}"; there are {", ".join(STACKS)}')
    return STACKS[name]
