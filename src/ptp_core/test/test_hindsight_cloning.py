# SPDX-License-Identifier: Apache-2.0
"""Practice for a cloned policy: pieces of episodes that changed something, and learning them."""

import numpy as np
import pytest
import torch

from ptp_core.data.trajectory import PracticeEpisode
from ptp_core.errors import InputError
from ptp_core.learning.hindsight_cloning import (
    LONGEST,
    SETTLED,
    HindsightCloner,
    changed_pieces,
    demonstrations_of,
)
from ptp_core.tiny_networks import LATENT, tiny_networks


class ExactClassifier:
    """The same work where the first number of both latents is the same."""

    @staticmethod
    def probability(latents, goals):
        return (latents[:, 0] == goals[:, 0]).float()


def latents_of(states):
    latents = torch.zeros(len(states), LATENT.size)
    latents[:, 0] = torch.tensor(states, dtype=torch.float32)
    latents[:, 1] = torch.arange(len(states))  # the arm
    return latents


def test_a_piece_ends_when_a_change_has_stood_for_some_steps():
    states = [0] * 20 + [1] * 30 + [2] * 10
    pieces = changed_pieces(latents_of(states), ExactClassifier)
    assert pieces == [(0, 20 + SETTLED), (20 + SETTLED, 50 + SETTLED)]


def test_a_change_that_does_not_stand_is_none():
    flicker = [0] * 10 + [1] * SETTLED + [0] * 30
    assert changed_pieces(latents_of(flicker), ExactClassifier) == []
    moving = list(range(60))  # never at rest
    assert changed_pieces(latents_of(moving), ExactClassifier) == []
    assert changed_pieces(latents_of([0] * 50), ExactClassifier) == []


def test_a_piece_is_no_longer_than_a_demonstration():
    states = [0] * 200 + [1] * 20
    assert changed_pieces(latents_of(states), ExactClassifier) == [
        (200 + SETTLED - LONGEST, 200 + SETTLED)
    ]


@pytest.fixture
def checkpoint():
    """With a classifier that compares the first code alone."""
    made = tiny_networks(diffusion=True)
    made.part("classifier").probability = lambda latents, goals: (
        latents[:, 0] == goals[:, 0]
    ).float()
    return made


def episode(states, seed=0):
    """Moves all the time; the first code is the state's."""
    draws = np.random.default_rng(seed)
    codes = draws.integers(32, size=(len(states), LATENT.codes)).astype(np.uint16)
    codes[:, 0] = states
    actions = draws.uniform(0.5, 1.0, (len(states) - 1, 5)).astype(np.float32)
    return PracticeEpisode(codes, actions)


def test_a_failed_episode_teaches_what_it_changed(checkpoint):
    learner = HindsightCloner(checkpoint, utd_ratio=0.1, learning_rate=3e-3)
    assert learner.due == 0
    failed = episode([3] * 20 + [7] * 40)
    learner.add(failed)
    assert [piece.steps for piece in learner.pieces] == [20 + SETTLED]
    np.testing.assert_array_equal(learner.pieces[0].codes[-1], failed.codes[20 + SETTLED])
    assert learner.due == 5  # of 59 steps
    before = {k: v.clone() for k, v in checkpoint.part("chunked").state_dict().items()}
    losses = [learner.update()["loss"] for _ in range(60)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    after = checkpoint.part("chunked").state_dict()
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
    assert learner.updates == 60 and learner.due < 0


def test_an_episode_without_a_change_teaches_nothing_but_its_steps_count(checkpoint):
    learner = HindsightCloner(checkpoint, utd_ratio=1.0)
    learner.add(episode([3] * 40))
    assert not learner.pieces and learner.steps == 39 and learner.due == 0
    with pytest.raises(InputError, match="nothing to learn from"):
        learner.update()


def test_steps_that_ask_for_nothing_are_dropped(checkpoint):
    learner = HindsightCloner(checkpoint)
    waits = episode([3] * 20 + [7] * 20)
    waits.actions[:, 4] = 1.0  # the gripper stays closed
    waits.actions[5:12, :4] = 0.0
    learner.add(waits)
    assert learner.pieces[0].steps == 20 + SETTLED - 7


def test_batches_are_half_pieces_and_half_demonstrations(checkpoint):
    shown = [episode([1] * 30, seed) for seed in range(1, 4)]
    demonstrations = demonstrations_of(shown, checkpoint.encoder_id)
    demonstrations.columns = {"expert_actions": demonstrations.actions}
    learner = HindsightCloner(checkpoint, demonstrations)
    learner.add(episode([3] * 20 + [7] * 30))
    pieces, offline = learner._draw()
    assert len(pieces.codes) == len(offline.codes)
    assert set(pieces.codes[:, 0]) <= {3, 7} and set(offline.codes[:, 0]) == {1}


def test_a_resumed_learner_makes_the_same_updates(checkpoint, tmp_path):
    def begin():
        made = tiny_networks(diffusion=True)
        made.part("classifier").probability = checkpoint.part("classifier").probability
        learner = HindsightCloner(made, seed=4)
        learner.add(episode([3] * 20 + [7] * 30))
        return learner

    whole, first, second = begin(), begin(), begin()
    expected = [whole.update()["loss"] for _ in range(6)]
    got = [first.update()["loss"] for _ in range(3)]
    first.save(tmp_path / "state.safetensors")
    assert second.resume(tmp_path / "state.safetensors")
    got += [second.update()["loss"] for _ in range(3)]
    assert got == expected


def test_weights_that_are_not_finite_are_taken_back(checkpoint):
    learner = HindsightCloner(checkpoint)
    learner.add(episode([3] * 20 + [7] * 30))
    with torch.no_grad():
        learner._cloning.policy.head.last.bias.fill_(float("nan"))
    assert learner.update()["diverged"] == 1.0 and learner.diverged == 1
    assert np.isfinite(learner.update()["loss"])
    update = learner.weights(1)
    assert all(torch.isfinite(v).all() for v in checkpoint.part("chunked").state_dict().values())
    assert update.version == 1
