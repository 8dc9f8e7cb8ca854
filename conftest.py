# SPDX-License-Identifier: Apache-2.0
"""Keep ROS tests apart: a domain of its own for every test, and no traffic off this machine.

Let Ctrl-C reach what the tests start. Run a test of real processes a second time when it fails,
and fail the whole run when that happens too often.
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
pytest.register_assert_rewrite("ptp_robot.backend_contract", "ptp_robot.driver_testing")

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


MOST_RERUNS = 3  # in a run; more of them are no accidents of a busy machine
OUT_OF_TIME = r"Timeout \(>"  # pytest-timeout's; a test that used all its time has no second try


def pytest_configure(config):
    """Count reruns where all reports arrive: pytest-xdist's workers send theirs on."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(RerunBudget(), "rerun_budget")


def pytest_collection_modifyitems(items):
    """Give a second try to tests of real processes, and to no others."""
    for item in items:
        if item.get_closest_marker("process"):
            item.add_marker(pytest.mark.flaky(reruns=1, rerun_except=OUT_OF_TIME))


class RerunBudget:
    """Counts reruns; more than MOST_RERUNS fail the run."""

    def __init__(self) -> None:
        self.rerun: list[str] = []

    def pytest_runtest_logreport(self, report):
        """Note a test that failed and is run again."""
        if report.outcome == "rerun":
            self.rerun.append(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session, exitstatus):
        """Fail a run that passed by too many reruns."""
        if len(self.rerun) > MOST_RERUNS and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        """Say so."""
        if len(self.rerun) > MOST_RERUNS:
            names = ", ".join(sorted(set(self.rerun)))
            terminalreporter.line(
                f"FAILED: {len(self.rerun)} reruns, and {MOST_RERUNS} are allowed in a run: "
                f"make these tests reliable: {names}",
                red=True,
            )


@pytest.fixture(autouse=True)
def ros_domain(monkeypatch):
    """The ROS_DOMAIN_ID that this test and the processes it starts have for themselves."""
    with domain_id(_next_domain) as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        yield domain
