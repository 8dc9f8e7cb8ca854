# SPDX-License-Identifier: Apache-2.0
"""Pass the methods and part types that a program registered on to its worker processes."""

from __future__ import annotations

from dataclasses import dataclass

from ptp_core.agents.method import Method
from ptp_core.agents.registry import register, registered
from ptp_core.training.part_types import PartType, register_part, registered_parts


@dataclass(frozen=True)
class OwnNames:
    """What a worker registers first. Can be pickled if the registered functions can."""

    methods: tuple[Method, ...]
    parts: tuple[PartType, ...]

    def register(self) -> None:
        """Register them in this process."""
        for part in self.parts:
            register_part(part)
        for method in self.methods:
            register(method)


def own_names() -> OwnNames:
    """Return what this process has registered."""
    return OwnNames(registered(), registered_parts())
