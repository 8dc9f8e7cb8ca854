# SPDX-License-Identifier: Apache-2.0
"""Keep ROS tests apart: a domain of its own for every test, and no traffic off this machine.

And let Ctrl-C reach what the tests start.
"""

import itertools
import os
import random
import signal
import tempfile
from pathlib import Path

import pytest
from domain_coordinator import domain_id

# Its tests say what they saw when they fail, as those in test files do.
pytest.register_assert_rewrite("ptp_robot.testing", "ptp_robot.testing_driver")

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

# Property tests leave nothing in the checkout.
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(Path(tempfile.gettempdir()) / "ptp_hypothesis")

# A shell makes its background jobs ignore Ctrl-C, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# One walk over the 100 usable domains a session: a test never gets the domain of the test before
# it, whose participants may still be known to others. The coordinator holds a port for each domain
# in use, so that sessions beside this one, or workers of it, take others.
_walk = itertools.count(random.randrange(100))


def _next_domain() -> int:
    return next(_walk) % 100 + 1


@pytest.fixture(autouse=True)
def ros_domain(monkeypatch):
    """The ROS_DOMAIN_ID that this test and the processes it starts have for themselves."""
    with domain_id(_next_domain) as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        yield domain
