# SPDX-License-Identifier: Apache-2.0
"""Stacks as users start them, and a checkpoint that is quick to load."""

import pytest

from ptp_bringup.running_stack import UpProcess
from ptp_core.tiny_networks import tiny_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Folder of a checkpoint with tiny networks."""
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    tiny_checkpoint(folder)
    return folder


@pytest.fixture
def up():
    """Starts `ptp up` with the words given; all are stopped at the end of the test."""
    started = []

    def up(*words):
        started.append(UpProcess(*words))
        return started[-1]

    yield up
    for one in started:
        one.close()
