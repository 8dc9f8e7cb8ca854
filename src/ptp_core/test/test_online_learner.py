# SPDX-License-Identifier: Apache-2.0
"""Learning from practice: what a batch holds, how many updates are due, resuming, divergence."""

import numpy as np
import pytest
import torch

from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.trajectory import CARTESIAN, PracticeEpisode
from ptp_core.errors import CheckpointError, InputError
from ptp_core.learning.online_learner import PLENTY, OnlineLearner
from ptp_core.learning.practice_learner import without_idling
from ptp_core.policies.live_weights import LiveWeights
from ptp_core.tiny_networks import ENCODER, tiny_config, tiny_networks


def checkpoint():
    return tiny_networks(tiny_config(batch_size=20, temperature=3.0, reward_epsilon=0.01))


def episode(action, steps=12, seed=0, targets=True):
    """An episode that always does the same; its first code names the action's kind."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 16, (steps + 1, 144)).astype(np.uint16)
    actions = np.tile(np.asarray(action, np.float32), (steps, 1))
    goals = rng.integers(0, 16, (steps, 144)).astype(np.uint16) if targets else None
    return PracticeEpisode(codes, actions, goals)


LEFT = (0.8, 0.0, 0.0, 0.0, -1.0)
RIGHT = (-0.8, 0.0, 0.0, 0.0, -1.0)


def demonstrations(encoder_id=ENCODER):
    one = episode(LEFT, 30, targets=False)
    actions = np.concatenate([one.actions, one.actions[-1:]])
    return EncodedDataset(one.codes, actions, np.array([31]), encoder_id)


def weights(learner):
    return learner.weights(1).content


def test_as_many_updates_are_due_as_the_ratio_says():
    learner = OnlineLearner(checkpoint(), utd_ratio=0.25)
    due = []
    for number in range(5):
        learner.add(episode(LEFT, steps=6, seed=number))
        due.append(learner.due)
    assert due == [1, 3, 4, 6, 7]
    while learner.due > 0:
        learner.update()
    assert (learner.updates, learner.due) == (7, 0)


def test_a_batch_holds_the_configured_part_of_practice():
    learner = OnlineLearner(checkpoint(), demonstrations())
    assert (learner._sample(20, 0.6).actions[:, 0] > 0).all()  # no practice yet
    learner.add(episode(RIGHT))
    signs = learner._sample(20, 0.6).actions[:, 0] < 0
    assert signs.sum() == 12


def test_few_successes_fill_little_of_a_batch():
    learner = OnlineLearner(checkpoint(), demonstrations(), successes_only=True)
    for number in range(4):
        learner.add(episode(RIGHT, steps=PLENTY // 8, seed=number))
    signs = learner._sample(200, 0.6).actions[:, 0] < 0
    assert signs.sum() == 60  # half of what it will be
    learner.add(episode(RIGHT, steps=PLENTY))
    signs = learner._sample(200, 0.6).actions[:, 0] < 0
    assert signs.sum() == 120


def test_waiting_is_not_imitated():
    one = episode(LEFT, steps=6)
    one.actions[[1, 2, 5], :4] = 0.1
    one.actions[2:, 4] = 1.0  # the gripper closes while the arm waits
    kept = without_idling(one, CARTESIAN)
    assert (kept.actions == one.actions[[0, 2, 3, 4]]).all()
    assert (kept.codes == one.codes[[0, 2, 3, 4, 5]]).all()
    assert (kept.targets == one.targets[[0, 2, 3, 4]]).all()
    one.actions[:, :4], one.actions[:, 4] = 0.0, 1.0
    assert without_idling(one, CARTESIAN).steps == 0
    learner = OnlineLearner(checkpoint(), demonstrations(), successes_only=True)
    learner.add(one)
    assert (len(learner.online), learner.due) == (0, 6)
    learner.update()  # on demonstrations


def test_the_policy_moves_towards_what_was_done():
    learner = OnlineLearner(checkpoint(), learning_rate=3e-3)
    one = episode(RIGHT)
    learner.add(one)

    def error():
        latents = learner.checkpoint.vqvae.lookup(torch.from_numpy(one.codes.astype(np.int64)))
        with torch.no_grad():
            mean = learner.checkpoint.iql.policy_mean(latents[:-1], latents[1:])
        return float((mean - torch.tensor(RIGHT)).abs().mean())

    before = error()
    losses = [learner.update()["policy/loss"] for _ in range(150)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert error() < 0.5 * before


def test_a_resumed_learner_ends_as_an_uninterrupted_one(tmp_path):
    def learner():
        made = OnlineLearner(checkpoint(), demonstrations(), seed=3)
        made.add(episode(RIGHT))
        return made

    whole = learner()
    for _ in range(12):
        whole.update()
    first = learner()
    for _ in range(5):
        first.update()
    first.save(tmp_path / "learner.safetensors")
    second = learner()
    assert second.resume(tmp_path / "learner.safetensors")
    assert second.updates == 5
    for _ in range(7):
        second.update()
    assert weights(second) == weights(whole)
    assert (second.updates, second.due) == (whole.updates, whole.due)
    other_seed = OnlineLearner(checkpoint(), seed=4)
    with pytest.raises(CheckpointError, match="seed is 3, asked for is 4"):
        other_seed.resume(tmp_path / "learner.safetensors")


def test_numbers_that_are_not_finite_are_taken_back_to_the_last_good_weights():
    learner = OnlineLearner(checkpoint())
    learner.add(episode(RIGHT))
    learner.update()
    good = weights(learner)
    with torch.no_grad():
        learner.checkpoint.iql.v.body[0].weight[0, 0] = torch.nan
    assert learner.update()["diverged"] == 1.0
    assert learner.diverged == 1
    assert weights(learner) == good
    assert learner.update()["diverged"] == 0.0


def test_weights_that_broke_after_the_last_update_are_not_handed_out():
    learner = OnlineLearner(checkpoint())
    good = weights(learner)
    with torch.no_grad():
        learner.checkpoint.iql.policy.body[0].weight[0, 0] = torch.inf
    update = learner.weights(2)
    assert update.content == good
    assert LiveWeights(checkpoint().iql, ENCODER).stage(update)


def test_unusable_episodes_and_demonstrations_are_refused():
    learner = OnlineLearner(checkpoint())
    with pytest.raises(InputError, match="empty"):
        learner.update()
    with pytest.raises(InputError, match="not finite"):
        learner.add(episode((np.nan, 0, 0, 0, 0)))
    short = episode(LEFT)
    with pytest.raises(InputError, match="do not go with actions"):
        learner.add(PracticeEpisode(short.codes[:-3], short.actions))
    assert (len(learner.online), learner.due) == (0, 0)
    with pytest.raises(InputError, match="encode them with this checkpoint"):
        OnlineLearner(checkpoint(), demonstrations("f" * 64))
    with pytest.raises(InputError, match="utd_ratio"):
        OnlineLearner(checkpoint(), utd_ratio=-1.0)


def test_an_episode_that_is_not_learned_from_calls_for_updates_all_the_same():
    learner = OnlineLearner(checkpoint())
    learner.add(episode(RIGHT, steps=6), learn=False)
    assert (learner.due, len(learner.online)) == (0, 0)  # nothing to learn from yet
    learner.add(episode(LEFT, steps=6))
    assert (learner.due, len(learner.online)) == (12, 6)
    assert (learner._sample(20, 0.6).actions == np.float32(LEFT)).all()
