# SPDX-License-Identifier: Apache-2.0
"""Numbers of our messages by name. rosetta is not needed here.

A decoder of rosetta 0.2 is ``fn(message, spec)``; ``spec.names`` is the contract's ``select``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def observation(message: Any, spec: Any) -> np.ndarray:
    """Proprioception float32 (N,) of an Observation, by the names of its dimensions."""
    values = dict(zip(message.proprioception_names, message.proprioception))
    return _numbers(spec.names, values, None, "Observation")


def arm_state(message: Any, spec: Any) -> np.ndarray:
    """Fields of an ArmState, float32 (N,); a name may lead into it, as "pose.position.x"."""
    return _numbers(spec.names, {}, message, "ArmState")


def step_record(message: Any, spec: Any) -> np.ndarray:
    """Numbers of the action by name, and other fields of a StepRecord, float32 (N,)."""
    values = dict(zip(message.action_names, message.action))
    return _numbers(spec.names, values, message, "StepRecord")


def _numbers(names: Sequence[str], values: dict[str, float], message: Any, kind: str):
    found = []
    for name in names:
        value = values[name] if name in values else _field(message, name)
        if value is None:
            raise ValueError(
                f"{kind} has no number {name}; it has {', '.join(values) or 'fields'}"
            )
        found.append(float(value))
    return np.array(found, np.float32)


def _field(message: Any, name: str) -> Any | None:
    for word in name.split("."):
        message = getattr(message, word, None)
    return message if isinstance(message, (bool, int, float, np.number)) else None
