# SPDX-License-Identifier: Apache-2.0
"""A few demonstrations change the policy: losses fall, actions come nearer, also held-out ones."""

import numpy as np
import pytest

from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.errors import InputError
from ptp_core.learning.online_learner import agreement, fine_tune
from ptp_core.tiny_networks import ENCODER, tiny_config, tiny_networks

ACTION = (-0.8, 0.0, 0.3, 0.0, 1.0)


def checkpoint():
    return tiny_networks(tiny_config(batch_size=20, reward_epsilon=0.01))


def shown(count=3, steps=30):
    """Demonstrations that always do the same, each of other pictures."""
    frames = count * (steps + 1)
    codes = np.random.default_rng(0).integers(0, 16, (frames, 144)).astype(np.uint16)
    actions = np.tile(np.asarray(ACTION, np.float32), (frames, 1))
    return EncodedDataset(codes, actions, np.full(count, steps + 1), ENCODER)


def test_the_policy_comes_nearer_to_what_was_shown_and_to_more_of_it():
    made = checkpoint()
    training, held_out = shown(4).split(0.75)
    before = [agreement(made, data) for data in (training, held_out)]
    seen = []
    # At the paper's learning rate. At ten times that the order of sums decides where it ends.
    learner = fine_tune(made, training, 200, progress=seen.append)
    after = [agreement(made, data) for data in (training, held_out)]
    assert (learner.updates, len(seen)) == (200, 200)
    for old, new in zip(before, after, strict=True):
        assert new.action_distance < 0.5 * old.action_distance
        assert new.policy_loss < 0.5 * old.policy_loss
        assert new.q_loss < old.q_loss


def test_the_distance_is_measured_towards_the_last_picture_over_every_step():
    made, data = checkpoint(), shown(1)
    for parameter in made.iql.policy.parameters():
        parameter.data.zero_()
    # A policy that always asks for zero is as far away as the action is long.
    assert agreement(made, data).action_distance == pytest.approx(np.linalg.norm(ACTION))


def test_no_steps_and_steps_that_diverge_are_refused():
    made = checkpoint()
    with pytest.raises(InputError, match="at least 1"):
        fine_tune(made, shown(), 0)
    made.iql.v.body[0].weight.data[0, 0] = np.nan
    with pytest.raises(InputError, match="diverged after 1 steps"):
        fine_tune(made, shown(), 3)
