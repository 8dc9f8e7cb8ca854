# SPDX-License-Identifier: Apache-2.0
"""A real graph for each test, and a checkpoint of tiny random networks."""

import pytest

from ptp_nodes.testing import tiny_checkpoint
from ptp_ros.testing import Graph


@pytest.fixture
def graph():
    with Graph() as graph:
        yield graph


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    tiny_checkpoint(folder)
    return folder
