# SPDX-License-Identifier: Apache-2.0
"""Which `module:factory` is run: one that comes with the stack, or stands on the command line.

Whoever names a factory has a program run. A file of results or of settings may come from others:
what it names is run only if the user has named it, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

from ptp_core.errors import InputError

SHIPPED = (
    "ptp_sim.env:make_env",
    "ptp_sim.driven_env:make_env",
    "ptp_core.toy_env:make_env",
)


def check_factory(name: object, named: Collection[str], source: str) -> None:
    """Raise InputError unless ``name``, of the file ``source``, is shipped or ``named``."""
    if name not in (*SHIPPED, *named):
        raise InputError(
            f"{source} names the environment {str(name)[:100]!r}, which would be run as a "
            "program: if you trust it, name it with --env, too"
        )


def let_in(named: Collection[str]) -> None:
    """Let modules of the current folder be imported, where the user has named one.

    They come last: they shadow nothing.
    """
    if any(name not in SHIPPED for name in named):
        sys.path.append(os.getcwd())
