# SPDX-License-Identifier: Apache-2.0
"""Relabelling and the replay buffer of codes."""

import hashlib

import numpy as np
import pytest

from ptp_core.config import RelabellingConfig
from ptp_core.data.replay_buffer import ReplayBuffer
from ptp_core.errors import ConfigError, InputError
from ptp_core.learning.relabelling import ORIGINAL, hindsight_goals
from ptp_core.tiny_networks import ACTIONS, LATENT


def trajectory(number: int, length: int = 10):
    """Frames whose first two codes are trajectory and frame number; actions name the frame."""
    codes = np.zeros((length, 144), dtype=np.uint16)
    codes[:, 0], codes[:, 1] = number, np.arange(length)
    actions = np.zeros((length, 5), dtype=np.float32)
    actions[:, 0] = np.arange(length)
    return codes, actions


def test_goals_come_in_the_configured_proportions_and_ranges():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 9, 20_000)
    goals = hindsight_goals(frames, np.full(20_000, 9), RelabellingConfig(), rng)
    original = goals == ORIGINAL
    assert original.mean() == pytest.approx(0.3, abs=0.02)
    hindsight = goals[~original] - frames[~original]
    assert hindsight.min() == 1
    assert goals.max() == 9
    early = (frames == 0) & ~original
    # From frame 0 nine future frames are possible; "next" adds 10% of all to the first.
    assert (goals[early] == 1).mean() == pytest.approx((0.6 / 9 + 0.1) / 0.7, abs=0.03)


def test_a_batch_holds_consecutive_frames_and_goals_of_the_same_trajectory():
    buffer = ReplayBuffer(100, LATENT.codes, ACTIONS)
    for number in range(5):
        buffer.add_trajectory(*trajectory(number))
    assert len(buffer) == 45
    batch = buffer.sample(500, np.random.default_rng(0))
    assert batch.codes.shape == (500, 144)
    assert batch.codes.dtype == np.uint16
    assert (batch.codes[:, 0] == batch.next_codes[:, 0]).all()
    assert (batch.codes[:, 0] == batch.goal_codes[:, 0]).all()
    assert (batch.next_codes[:, 1] == batch.codes[:, 1] + 1).all()
    assert (batch.goal_codes[:, 1] > batch.codes[:, 1]).all()
    assert (batch.actions[:, 0] == batch.codes[:, 1]).all()
    assert set(np.unique(batch.codes[:, 1])) == set(range(9))


def test_the_original_goal_is_the_last_frame_or_the_recorded_one():
    original = RelabellingConfig(future=0.0, next=0.0, original=1.0)
    rng = np.random.default_rng(0)
    demonstrations = ReplayBuffer(50, LATENT.codes, ACTIONS, original)
    demonstrations.add_trajectory(*trajectory(0))
    assert (demonstrations.sample(50, rng).goal_codes[:, 1] == 9).all()

    practice = ReplayBuffer(50, LATENT.codes, ACTIONS, original)
    codes, actions = trajectory(0)
    goals = np.zeros((9, 144), dtype=np.uint16)
    goals[:, 5] = np.where(np.arange(9) < 4, 100, 200)
    practice.add_trajectory(codes, actions[:9], goals)
    batch = practice.sample(50, rng)
    assert (batch.goal_codes[:, 5] == np.where(batch.codes[:, 1] < 4, 100, 200)).all()


def test_the_oldest_trajectories_make_room():
    buffer = ReplayBuffer(35, LATENT.codes, ACTIONS)
    for number in range(10):
        buffer.add_trajectory(*trajectory(number))
        batch = buffer.sample(200, np.random.default_rng(number))
        assert len(buffer) == 9 * min(number + 1, 3)
        assert set(np.unique(batch.codes[:, 0])) == set(range(max(0, number - 2), number + 1))
        assert (batch.codes[:, 0] == batch.next_codes[:, 0]).all()


def test_a_transition_takes_at_most_350_bytes():
    assert ReplayBuffer(10_000, LATENT.codes, ACTIONS).bytes_per_transition <= 350


def test_what_does_not_fit_is_refused():
    buffer = ReplayBuffer(20, LATENT.codes, ACTIONS)
    codes, actions = trajectory(0)
    with pytest.raises(InputError, match="144"):
        buffer.add_trajectory(codes[:, :100], actions)
    with pytest.raises(InputError, match="do not go with actions"):
        buffer.add_trajectory(codes, actions[:5])
    with pytest.raises(InputError, match="do not fit"):
        buffer.add_trajectory(*trajectory(0, 21))
    with pytest.raises(InputError, match="empty"):
        buffer.sample(4, np.random.default_rng(0))


def digest(batch):
    arrays = (batch.codes, batch.actions, batch.next_codes, batch.goal_codes)
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def test_the_papers_relabelling_gives_the_batches_that_it_always_gave():
    # Recorded before goals of other kinds existed: no draw may come in between.
    rng = np.random.default_rng(5)
    buffer = ReplayBuffer(200, LATENT.codes, ACTIONS)
    for length in (30, 12, 50, 7):
        codes = rng.integers(0, 512, (length, 144)).astype(np.uint16)
        buffer.add_trajectory(codes, rng.uniform(-1, 1, (length, 5)).astype(np.float32))
    batch = buffer.sample(64, np.random.default_rng(9))
    assert digest(batch).startswith("b8d7b9655e6b6aa39fee1789d2eafa67")
    imagined = rng.integers(0, 512, (200, 144)).astype(np.uint16)
    batch = buffer.sample(64, np.random.default_rng(9), imagined, 0.5)
    assert digest(batch).startswith("6ff39141588be39327d72e5035b541cc")


def test_random_goals_are_frames_of_other_trajectories_that_are_still_there():
    config = RelabellingConfig(future=0.0, next=0.0, original=0.0, random=1.0)
    buffer = ReplayBuffer(35, LATENT.codes, ACTIONS, config)
    rng = np.random.default_rng(0)
    buffer.add_trajectory(*trajectory(0))
    assert (buffer.sample(50, rng).goal_codes[:, 0] == 0).all()  # there is no other one
    for number in range(1, 5):
        buffer.add_trajectory(*trajectory(number))
    batch = buffer.sample(500, rng)
    assert (batch.goal_codes[:, 0] != batch.codes[:, 0]).all()
    assert set(batch.goal_codes[:, 0]) == {2, 3, 4}
    with pytest.raises(InputError, match="frames of other trajectories"):
        hindsight_goals(np.zeros(3, int), np.full(3, 9), config, rng)


def test_probabilities_must_sum_to_one():
    with pytest.raises(ConfigError, match=r"sum to 1\.3"):
        RelabellingConfig(random=0.3)
