# SPDX-License-Identifier: Apache-2.0
"""Senders without a graph, a session folder, and recorders that end with their test."""

import pytest

from ptp_core.data.episodes.recorder import EpisodeRecorder
from ptp_core.data.episodes.states import Limits
from ptp_core.data.episodes.store import Session
from ptp_core.data.episodes.testing import IMAGE, STEP_RECORD, TOPICS, Senders


@pytest.fixture(scope="session")
def senders():
    return Senders()


@pytest.fixture
def recording_session(tmp_path):
    return Session(tmp_path / "session", create={"ptp": "0.1"})


@pytest.fixture
def make(recording_session, senders):
    made = []

    def make(**options):
        options.setdefault("limits", Limits(min_free=0))
        recorder = EpisodeRecorder(
            recording_session,
            senders.definitions,
            TOPICS,
            STEP_RECORD,
            spare=[IMAGE.name],
            **options,
        )
        made.append(recorder)
        return recorder

    yield make
    for recorder in made:
        recorder.close()
