# SPDX-License-Identifier: Apache-2.0
"""Behaviour cloning of chunks: which frames, goals and labels are drawn, and that it learns."""

import dataclasses

import numpy as np
import pytest
import torch

from ptp_core.config import ChunkedPolicyConfig, DiffusionConfig, RelabellingConfig
from ptp_core.data.encoded_dataset import EXPERT_ACTIONS, EncodedDataset
from ptp_core.data.trajectory import Metadata, Segment
from ptp_core.errors import DatasetError
from ptp_core.learning.diffusion_bc import ChunkSampler, DiffusionBC
from ptp_core.policies.chunked_policy import ChunkedPolicy
from ptp_core.tiny_networks import LATENT, rng

LENGTHS = np.array([20, 20, 20])
BURST = slice(25, 28)  # of the second trajectory
CONFIG = ChunkedPolicyConfig(
    horizon=4,
    channels=4,
    condition_units=32,
    dropout=0.0,
    proprioception=False,
    head=DiffusionConfig(hidden_units=64, blocks=1, dropout=0.0, draws=4, sampling_steps=5),
    learning_rate=3e-3,
    batch_size=32,
)


@pytest.fixture
def data():
    """The frame's number stands in its first code; the expert asks for 0.01 times it."""
    frames = int(LENGTHS.sum())
    codes = np.zeros((frames, LATENT.codes), np.uint16)
    codes[:, 0] = np.arange(frames)
    expert = np.repeat(0.01 * np.arange(frames, dtype=np.float32)[:, None], 5, axis=1)
    actions = expert.copy()
    actions[BURST] = -1.0
    metadata = [
        Metadata(success=success, segments=(Segment(0, 20, "push", done=10, success=success),))
        for success in (True, True, False)
    ]
    return EncodedDataset(
        codes, actions, LENGTHS, "id", metadata=metadata, columns={EXPERT_ACTIONS: expert}
    )


def draw(data, config=CONFIG, count=4000):
    return ChunkSampler(data, config).draw(count, np.random.default_rng(0))


def test_labels_are_what_the_expert_asked_for_and_failures_are_left_out(data):
    batch = draw(data)
    frames = batch.codes[:, 0].astype(int)
    assert frames.max() < 40  # the third one failed
    expected = 0.01 * np.minimum(frames[:, None] + np.arange(4), frames[:, None] // 20 * 20 + 19)
    np.testing.assert_allclose(batch.chunks[..., 0], expected, atol=1e-6)
    executed = draw(data, dataclasses.replace(CONFIG, labels="executed"))
    assert (executed.chunks == -1.0).any() and not (batch.chunks == -1.0).any()


def test_states_before_the_work_is_done_are_drawn_more_often(data):
    frames = draw(data, count=20_000).codes[:, 0] % 20
    # 10 frames of weight 2.5 and 9 of weight 1.
    assert (frames < 10).mean() == pytest.approx(25 / 34, abs=0.02)


def test_a_goal_beyond_a_burst_is_the_last_frame(data):
    config = dataclasses.replace(
        CONFIG, relabelling=RelabellingConfig(future=1.0, next=0.0, original=0.0)
    )
    batch = draw(data, config)
    frames, goals = batch.codes[:, 0].astype(int), batch.goals[:, 0].astype(int)
    assert ((goals > frames) & (goals // 20 == frames // 20)).all()
    crossing = (frames >= 20) & (frames < BURST.stop) & (goals > BURST.start)
    assert crossing.sum() > 50 and (goals[crossing] == 39).all()
    assert len(set(goals[frames < 20])) > 10


def test_steps_from_the_goal_on_count_only_at_the_end(data):
    config = dataclasses.replace(
        CONFIG, relabelling=RelabellingConfig(future=1.0, next=0.0, original=0.0)
    )
    batch = draw(data, config)
    frames, goals = batch.codes[:, 0].astype(int), batch.goals[:, 0].astype(int)
    steps = frames[:, None] + np.arange(4)
    last = frames // 20 * 20 + 19
    inside = (goals < last)[:, None]
    expected = np.where(inside, steps < goals[:, None], steps <= last[:, None])
    np.testing.assert_array_equal(batch.weights, expected)


def test_columns_that_the_data_lack_are_named(data):
    without = dataclasses.replace(data, columns={})
    with pytest.raises(DatasetError, match="set labels to executed"):
        ChunkSampler(without, CONFIG)
    with pytest.raises(DatasetError, match="set the policy's proprioception to false"):
        ChunkSampler(data, dataclasses.replace(CONFIG, proprioception=True))


def test_the_averaged_policy_learns_what_depends_on_the_goal():
    """One of two goals asks for motion one way, the other for the opposite."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy, average = (ChunkedPolicy(CONFIG, LATENT, 5, 0) for _ in range(2))
        states = torch.randn(3, LATENT.size, generator=rng(1))
        cloning, draws = DiffusionBC(policy, average), rng(2)
        for _ in range(150):
            which = torch.randint(2, (32,), generator=draws)
            chunks = torch.where(which == 0, 0.6, -0.6)[:, None, None].expand(-1, 4, 5)
            start = states[:1].expand(32, -1)
            weights = torch.ones(32, 4)
            cloning.update(start, states[1 + which], None, chunks, weights, draws)
    sampled = average.sample(states[:1].expand(40, -1), states[[1, 2] * 20], None, rng(3))
    assert sampled[0::2].mean() > 0.4 and sampled[1::2].mean() < -0.4
