# SPDX-License-Identifier: Apache-2.0
"""The policy that is told what to do: what it acts on, and that it learns an instruction."""

import dataclasses

import pytest
import torch

from ptp_core.config import DiffusionConfig, GoalFusionConfig, InstructedPolicyConfig
from ptp_core.errors import InputError
from ptp_core.learning.diffusion_bc import DiffusionBC
from ptp_core.policies.instructed_policy import InstructedPolicy
from ptp_core.tiny_networks import LATENT, rng

WORDS = 3
CONFIG = InstructedPolicyConfig(
    horizon=2,
    channels=4,
    condition_units=32,
    dropout=0.0,
    head=DiffusionConfig(hidden_units=64, blocks=1, dropout=0.0, draws=4, sampling_steps=5),
    fusion=GoalFusionConfig(blocks=1, feedforward=8),
    learning_rate=3e-3,
)


def policy(levels=2, own=4, config=CONFIG):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = InstructedPolicy(config, LATENT, 5, own, WORDS, levels).eval()
        for film in made.films:
            torch.nn.init.normal_(film.layer.weight)
    return made


def inputs(levels=2, own=4, count=3):
    latents = torch.randn(count, LATENT.size, generator=rng(1))
    subgoals = torch.randn(count, levels, LATENT.size, generator=rng(2)) if levels else None
    return (
        latents,
        subgoals,
        torch.randn(count, WORDS, generator=rng(3)),
        torch.randn(count, own, generator=rng(4)) if own else None,
    )


@pytest.mark.parametrize(("levels", "own"), [(2, 4), (1, 0), (0, 4), (0, 0)])
def test_every_input_that_it_has_changes_its_conditions(levels, own):
    made = policy(levels, own)
    given = inputs(levels, own)
    with torch.no_grad():
        plain, attention = made.conditions(*given)
        assert plain.shape == (3, 32)
        assert (attention is None) == (levels == 0)
        for place, value in enumerate(given):
            if value is not None:
                changed = [*given]
                changed[place] = value + 1.0
                assert not torch.allclose(made.conditions(*changed)[0], plain)


def test_no_instruction_is_a_learned_one():
    made = policy()
    latents, subgoals, _, own = inputs()
    with torch.no_grad():
        made.no_language.fill_(0.7)
        silent = made.conditions(latents, subgoals, None, own)[0]
        same = made.conditions(latents, subgoals, torch.full((3, WORDS), 0.7), own)[0]
    torch.testing.assert_close(silent, same)


def test_missing_inputs_are_named():
    latents, subgoals, language, own = inputs()
    with pytest.raises(InputError, match="needs 4 numbers of proprioception, not 0"):
        policy().conditions(latents, subgoals, language)
    with pytest.raises(InputError, match="needs 2 subgoals, not 0"):
        policy().conditions(latents, None, language, own)
    with pytest.raises(InputError, match="needs 0 subgoals, not 2"):
        policy(levels=0).conditions(latents, subgoals, language, own)


def test_latents_and_proprioception_are_standardised():
    made = policy()
    latents, subgoals, language, own = inputs()
    with torch.no_grad():
        plain = made.conditions(latents, subgoals, language, own)[0]
        made.scale.mean.fill_(2.0)
        made.scale.std.fill_(3.0)
        made.set_scale(torch.ones(4), torch.full((4,), 2.0))
        shifted = made.conditions(latents * 3 + 2, subgoals * 3 + 2, language, own * 2 + 1)[0]
    torch.testing.assert_close(shifted, plain, rtol=1e-3, atol=1e-4)


def test_the_instruction_alone_decides_what_is_done():
    """One of two instructions asks for motion one way, the other for the opposite."""
    config = dataclasses.replace(CONFIG, proprioception=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made, average = (InstructedPolicy(config, LATENT, 5, 0, WORDS, 0) for _ in range(2))
        latent = torch.randn(1, LATENT.size, generator=rng(1))
        words, cloning, draws = torch.eye(WORDS), DiffusionBC(made, average), rng(2)
        for _ in range(120):
            which = torch.randint(2, (32,), generator=draws)
            chunks = torch.where(which == 0, 0.6, -0.6)[:, None, None].expand(-1, 2, 5)
            conditions, _ = made.conditions(latent.expand(32, -1), None, words[which])
            cloning.step(conditions, chunks, torch.ones(32, 2), draws)
    conditions, _ = average.conditions(latent.expand(40, -1), None, words[[0, 1] * 20])
    sampled = average.head.sample(conditions, rng(3))
    assert sampled[0::2].mean() > 0.4 and sampled[1::2].mean() < -0.4
