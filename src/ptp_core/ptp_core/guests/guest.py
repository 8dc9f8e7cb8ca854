# SPDX-License-Identifier: Apache-2.0
"""Where an environment with a Python of its own is, and how it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Guest:
    """An environment in a Python of its own: where it is, and how it is made."""

    name: str  # for error lines
    python: Path  # the interpreter of its environment
    module: str  # of the maker
    maker: str = "make_env"  # what it is called with are the arguments of `GuestEnv`
    folder: Path | None = None  # put first on the guest's module path
    cure: str = "install it, or name another Python"  # where the Python or a module is missing
    variables: Mapping[str, str] = field(default_factory=dict)  # where ours has no such variable
    start_seconds: float = 300.0  # to start, import and make it
    call_seconds: float = 120.0  # for one reset or step
