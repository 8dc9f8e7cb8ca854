# SPDX-License-Identifier: Apache-2.0
"""What a soak counts: memory that grows, episodes that are gone, and when it passes."""

import math
import shutil

import numpy as np
import pytest

from ptp_core.episodes.bag_testing import LATENT, STATE, STEP_RECORD, TOPICS, Senders
from ptp_core.episodes.episode import EpisodeInfo
from ptp_core.episodes.episode_recorder import EpisodeRecorder, EpisodeVerdict, RecorderLimits
from ptp_core.episodes.message_definitions import Definitions
from ptp_core.episodes.session_store import Session
from ptp_nodes.tools.soak.soak_observer import SETTLED, MemoryWatch
from ptp_nodes.tools.soak.soak_run import SoakReport, lost_episodes

MIB = 2**20
STEPS = 5


@pytest.fixture
def session_folder(tmp_path):
    """A session of three episodes."""
    senders = Senders(Definitions())
    session = Session(tmp_path / "session", create={"ptp": "0.1"})
    limits = RecorderLimits(min_free=0)
    recorder = EpisodeRecorder(session, senders.definitions, TOPICS, STEP_RECORD, limits=limits)
    for first in (0, 100, 200):
        recorder.start(EpisodeInfo(episode_id=f"e{first}", task="A"))
        for seq in range(first, first + STEPS + 1):
            recorder.put(STATE, senders.state(seq, moved=seq > first))
            recorder.put(LATENT, senders.latent(seq))
        recorder.finish(EpisodeVerdict.SAVE_SUCCESS, "judged", last_observation_seq=first + STEPS)
    recorder.close()
    return session.folder


def watched(sizes, pids=None):
    """A node's memory, one sample a second [MiB]."""
    watch = MemoryWatch()
    for second, size in enumerate(sizes):
        pid = 1 if pids is None else pids[second]
        watch.sample(float(second), {"policy": (pid, int(size * MIB))})
    return watch


def test_growth_is_late_against_early_of_a_process_that_has_settled():
    settling = [10.0] * int(SETTLED)
    watch = watched([*settling, *np.linspace(100.0, 130.0, 90)])
    figures = watch.figures()["policy"]
    assert figures["early_mib"] == pytest.approx(105.0, abs=1.0)
    assert figures["late_mib"] == pytest.approx(125.0, abs=1.0)
    assert watch.growth() == pytest.approx(20 / 105, abs=0.01)


def test_a_process_that_was_started_again_does_not_count_while_it_settles():
    life = [10.0] * int(SETTLED) + [100.0] * 20
    watch = watched(life * 3, pids=[n for n in (1, 2, 3) for _ in life])
    assert watch.growth() == pytest.approx(0.0)


def test_too_short_a_run_tells_nothing():
    assert math.isnan(watched([100.0] * 10).growth())


@pytest.mark.parametrize(
    ("changes", "passed"),
    [
        ({}, True),
        ({"confirmed": 0}, False),
        ({"lost": 1}, False),
        ({"outside": 1}, False),
        ({"strayed": 0.019}, True),
        ({"strayed": 0.021}, False),
        ({"oldest": 0.99}, True),
        ({"oldest": 1.01}, False),
        ({"complaints": ["the arm moved"]}, False),
        ({"growth": 0.11}, False),
        ({"growth": math.nan}, True),
        ({"ended_early": True}, False),
    ],
)
def test_it_passes_only_when_nothing_went_wrong(changes, passed):
    report = SoakReport(**{"confirmed": 5, "growth": 0.05, **changes})
    assert report.passed is passed
    assert report.as_dict()["passed"] is passed


def test_missing_and_unreadable_episodes_are_lost(session_folder):
    assert lost_episodes(session_folder, 3) == 0
    assert lost_episodes(session_folder, 4) == 1
    bag = next((session_folder / "episodes" / "episode_000001").glob("*.mcap"))
    bag.write_bytes(bag.read_bytes()[:100])
    assert lost_episodes(session_folder, 3) == 1
    shutil.rmtree(session_folder / "episodes" / "episode_000002")
    assert lost_episodes(session_folder, 3) == 2
    assert lost_episodes(session_folder, 3, first=2) == 1
    assert lost_episodes(session_folder, 3, first=3) == 0
