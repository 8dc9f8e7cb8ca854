# SPDX-License-Identifier: Apache-2.0
"""A ROS domain for one run, so that no other arm hears its commands."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator

from domain_coordinator import domain_id

from ptp_ros.interfaces import PROFILES, RANGE, limit
from ptp_ros.peers import PEERS


@contextlib.contextmanager
def own_domain() -> Iterator[int]:
    """ROS domain of this run, in the environment: no other arm may hear these commands.

    ROS_DOMAIN_ID, where it is set, else one that no other demo or test of this machine uses.
    """
    names = ("ROS_DOMAIN_ID", PEERS, RANGE, PROFILES)
    before = {name: os.environ.get(name) for name in names}
    held = contextlib.ExitStack()
    try:
        # This process must hear what the nodes hear.
        os.environ[RANGE] = "LOCALHOST"
        os.environ.pop(PEERS, None)
        limit()
        if before["ROS_DOMAIN_ID"]:
            domain = int(before["ROS_DOMAIN_ID"])
        else:
            domain = held.enter_context(domain_id(lambda: random.randint(1, 100)))
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        yield domain
    finally:
        held.close()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
