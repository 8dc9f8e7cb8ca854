# SPDX-License-Identifier: Apache-2.0
"""The critic's ranking: critics whose ranking is known, on a chain of latents."""

import numpy as np
import pytest
import torch

from ptp_core.config import DataConfig, IQLConfig
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.dataset import Dataset
from ptp_core.data.encoded_dataset import EXPERT_ACTIONS, EncodedDataset
from ptp_core.data.trajectory import CARTESIAN, Metadata, Segment
from ptp_core.diagnosis.critic_ranking import critic_ranking, held_out
from ptp_core.errors import DatasetError
from ptp_core.learning.iql import IQL
from ptp_core.tiny_networks import LATENT, tiny_vqvae

LENGTH, DONE = 30, 20
RIGHT = np.array([1.0, 0.0, 0.0, 0.0, -1.0], np.float32)
LEFT = np.array([-0.5, 0.0, 0.0, 0.0, -1.0], np.float32)


def chain(expert=(RIGHT, LEFT), done=DONE):
    """A trajectory for each expert action; its states are the codes 0, 1, ... of every tile."""
    count = len(expert)
    actions = np.repeat(np.stack(expert), LENGTH, axis=0)
    segments = (Segment(0, LENGTH, "go", done=done),)
    return EncodedDataset(
        codes=np.tile(np.arange(LENGTH), count)[:, None].repeat(LATENT.codes, 1).astype(np.uint16),
        actions=actions,
        lengths=np.full(count, LENGTH),
        encoder_id="id",
        metadata=[Metadata(segments=segments)] * count,
        columns={EXPERT_ACTIONS: actions},
    )


def line_vqvae():
    """Codes on a line: the first number of code i is i / LENGTH, so latents say how far it is."""
    vqvae = tiny_vqvae()
    vqvae.codebook.zero_()
    vqvae.codebook[:, 0] = torch.arange(len(vqvae.codebook)) / LENGTH
    return vqvae


def linear_critic(action=(0.0,) * 5, progress=0.0):
    """Q(s, a, g) = action . a - 1; V(s, g) = progress * (how far s is) - 1. Nothing is random."""
    settings = {"q_hidden": (), "value_hidden": (), "policy_hidden": (8,)}
    iql = IQL(IQLConfig(**settings, temperature=1.0), LATENT, len(CARTESIAN)).requires_grad_(False)
    for network in (*iql.q_target.networks, iql.v):
        for parameter in network.parameters():
            parameter.zero_()
        network.body[-1].bias.fill_(-1.0)
    for network in iql.q_target.networks:
        network.body[-1].weight[0, -len(CARTESIAN) :] = torch.tensor(action)
    iql.v.body[-1].weight[0, 0] = progress
    return iql


def ranking(critic, data=None):
    return critic_ranking(critic, line_vqvae(), data or chain())


def shares(figures):
    return {name: entry["share"] for name, entry in figures["better_than"].items()}


def test_a_critic_that_knows_the_way_ranks_the_expert_first():
    figures = ranking(linear_critic((1.0, 0.0, 0.0, 0.0, -0.2)), chain(expert=(RIGHT,)))
    assert shares(figures) == {
        "no motion": 1.0,
        "opposite motion": 1.0,
        "motion of another frame": None,  # all frames move alike
        "flipped gripper": 1.0,
    }
    assert figures["better_than"]["no motion"]["steps"] == figures["steps"] == DONE


def test_a_critic_that_is_wrong_ranks_it_last():
    figures = ranking(linear_critic((-1.0, 0.0, 0.0, 0.0, 0.2)), chain(expert=(RIGHT,)))
    assert {share for share in shares(figures).values() if share is not None} == {0.0}


def test_a_critic_that_knows_one_way_only_is_right_in_half_of_the_steps():
    figures = ranking(linear_critic((1.0, 0.0, 0.0, 0.0, 0.0)))
    found = shares(figures)
    assert (found["no motion"], found["opposite motion"]) == (0.5, 0.5)
    assert found["flipped gripper"] == 0.5  # equal values
    other = figures["better_than"]["motion of another frame"]
    assert other["share"] == 0.5  # each motion to the right is given to a frame that went left
    assert 0 < other["steps"] < figures["steps"]


def test_a_critic_that_knows_nothing_is_at_chance():
    figures = ranking(linear_critic())
    assert set(shares(figures).values()) == {0.5}
    assert figures["v_rises"]["share"] == 0.5


@pytest.mark.parametrize(("progress", "share"), [(1.0, 1.0), (-1.0, 0.0)])
def test_values_that_rise_along_the_work_are_seen(progress, share):
    figures = ranking(linear_critic(progress=progress))
    assert figures["v_rises"] == {"share": share, "steps": 2 * (DONE - 5)}


def test_only_steps_before_the_work_is_done_count():
    assert ranking(linear_critic())["steps"] == 2 * DONE
    assert ranking(linear_critic(), chain(done=None))["steps"] == 2 * (LENGTH - 1)
    with pytest.raises(DatasetError, match="no step in which the work"):
        ranking(linear_critic(), chain(done=0))


def test_weights_are_those_of_the_policys_loss():
    """Q is -1 + dx, clamped at 0, and V is -1: the advantage is 1 to the right, -0.5 to the left.

    (IQL eq. 7 with a temperature of 1.)
    """
    critic = linear_critic((1.0, 0.0, 0.0, 0.0, 0.0))
    weights = ranking(critic)["weights"]
    assert weights["p10"] == pytest.approx(np.exp(-0.5))
    assert weights["p90"] == pytest.approx(np.e)


def test_data_without_expert_actions_are_refused():
    data = chain()
    data.columns = {}
    with pytest.raises(DatasetError, match="no expert actions"):
        ranking(linear_critic(), data)


def test_the_validation_part_is_held_out(tmp_path):
    toy = DataConfig(env="ptp_core.toy_env:make_env", trajectories=10, steps=2, num_envs=1)
    collect(toy, tmp_path / "data", progress=False)
    data = Dataset(tmp_path / "data")
    assert held_out(data, 0.6).indices == [6, 7, 8, 9]
    assert held_out(data, 0.6, most=2).indices == [6, 9]
    part = held_out(data, 0.6).load()
    assert len(part.metadata) == 4 and len(data) == 10
