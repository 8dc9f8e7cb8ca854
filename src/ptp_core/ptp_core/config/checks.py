# SPDX-License-Identifier: Apache-2.0
"""Range checks shared by the configuration dataclasses."""

from __future__ import annotations

import dataclasses
from typing import Any

from ptp_core.errors import ConfigError

FORMERLY = "formerly"


def formerly(name: str, default: Any) -> Any:
    """A field of a configuration that files of earlier versions call ``name``."""
    return dataclasses.field(default=default, metadata={FORMERLY: name})


def require(config: Any, field: str, minimum: float, maximum: float = float("inf")) -> None:
    """Raise ConfigError unless ``minimum <= config.field <= maximum``."""
    value = getattr(config, field)
    if not minimum <= value <= maximum:
        upper = "" if maximum == float("inf") else f" and at most {maximum}"
        raise ConfigError(
            f"{type(config).__name__}.{field} is {value}; it must be at least {minimum}{upper}"
        )
