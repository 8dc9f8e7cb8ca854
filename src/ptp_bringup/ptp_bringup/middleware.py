# SPDX-License-Identifier: Apache-2.0
"""How nodes find each other: what every process of a stack has in its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ptp_ros.interfaces import PROFILES, RANGE, limit


def variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment variables of the middleware, where the user's are ``environ`` (os.environ).

    Nodes stay on this machine and the networks of their peers, and Fast DDS announces them often
    (`config/dds/fastdds.xml`), unless the user has set otherwise.
    """
    chosen = dict(os.environ if environ is None else environ)
    limit(chosen)
    return {name: chosen[name] for name in (RANGE, PROFILES)}
