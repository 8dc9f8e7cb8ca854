# SPDX-License-Identifier: Apache-2.0
"""The guests that ``--env`` knows by name: ``ogbench:visual-scene-play-v0``.

Loads no torch and no gymnasium.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ptp_core.guests.guest import Guest

if TYPE_CHECKING:
    import gymnasium


def ogbench() -> Guest:
    """OGBench (arXiv 2410.20092), which ``make ogbench`` installs."""
    return Guest(
        name="ogbench",
        python=guest_python("ogbench"),
        module="ptp_core.guests.ogbench_env",
        cure='run "make ogbench", or set PTP_OGBENCH_PYTHON to a Python that has it',
        variables={
            # Without a display only EGL or OSMesa draws; llvmpipe otherwise takes every core.
            "MUJOCO_GL": "egl",
            "OMP_NUM_THREADS": "1",
            "LP_NUM_THREADS": "1",
        },
        call_seconds=300.0,  # the first demonstration builds a second simulation and its renderer
    )


GUESTS: dict[str, Callable[[], Guest]] = {"ogbench": ogbench}


def guest_python(name: str) -> Path:
    """The Python of a guest: PTP_<NAME>_PYTHON, or that of ``.venv-<name>`` beside .venv."""
    named = os.environ.get(f"PTP_{name.upper()}_PYTHON")
    return Path(named) if named else Path(sys.prefix).parent / f".venv-{name}" / "bin" / "python"


def is_guest(name: str) -> bool:
    """Whether a guest has the first half of ``guest:environment``."""
    return name.partition(":")[0] in GUESTS


def guest_factory(name: str) -> Callable[..., gymnasium.Env]:
    """The factory of ``guest:environment``, for a name that `is_guest`."""
    guest, _, environment = name.partition(":")
    return functools.partial(_make, guest, environment)


def _make(guest: str, environment: str, **arguments) -> gymnasium.Env:
    from ptp_core.guests.guest_env import GuestEnv  # gymnasium is slow to load

    return GuestEnv(GUESTS[guest](), name=environment, **arguments)
