# SPDX-License-Identifier: Apache-2.0
"""Senders without a graph, a session folder, and recorders that end with their test."""

import pytest

from ptp_core.episodes.bag_testing import IMAGE, STEP_RECORD, TOPICS, Senders
from ptp_core.episodes.episode_recorder import EpisodeRecorder, RecorderLimits
from ptp_core.episodes.session_store import Session


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
        options.setdefault("limits", RecorderLimits(min_free=0))
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
