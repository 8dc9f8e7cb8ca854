# SPDX-License-Identifier: Apache-2.0
"""Goal fusion: order counts through the level embedding alone, and the average is a switch."""

import pytest
import torch

from ptp_core.config import GoalFusionConfig
from ptp_core.errors import ConfigError
from ptp_core.policies.goal_fusion import GoalFusion
from ptp_core.tiny_networks import rng

SIZE, WORDS, LEVELS = 720, 8, 3


def fusion(**changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GoalFusion(GoalFusionConfig(**changes), SIZE, WORDS, LEVELS).eval()


def inputs(count=2):
    shapes = (count, LEVELS, SIZE), (count, SIZE), (count, WORDS)
    return [torch.randn(shape, generator=rng(seed)) for seed, shape in enumerate(shapes)]


def change_by_order(made):
    subgoals, current, language = inputs()
    with torch.no_grad():
        one = made(subgoals, current, language)[0]
        other = made(subgoals[:, [2, 0, 1]], current, language)[0]
    return float((one - other).abs().max())


@pytest.mark.parametrize("query", ["learned", "current"])
def test_subgoals_are_told_apart_by_their_level_alone(query):
    settings = {"query": query, "feedforward": 16}
    assert change_by_order(fusion(**settings, level_embedding=False)) < 1e-5
    assert change_by_order(fusion(**settings)) > 1e-3


def test_the_average_is_a_switch():
    subgoals, current, language = inputs()
    made = fusion(method="average")
    goal, attention = made(subgoals, current, language)
    torch.testing.assert_close(goal, subgoals.mean(1))
    torch.testing.assert_close(attention, torch.full((2, LEVELS), 1 / 3))
    assert not list(made.parameters())


def test_it_is_multi_head_attention_with_one_query():
    """As torch's own layer, whose projections of keys and values are applied to each key."""
    made = fusion(blocks=1, feedforward=16, language=False, level_embedding=False)
    block = made.blocks[0]
    torch.nn.init.normal_(block.value.weight, std=0.05, generator=rng(5))
    torch.nn.init.normal_(block.value.bias, generator=rng(6))
    theirs = torch.nn.MultiheadAttention(SIZE, 8, batch_first=True)
    with torch.no_grad():
        weights = [layer.weight for layer in (block.query, block.key, block.value)]
        theirs.in_proj_weight.copy_(torch.cat(weights))
        biases = [block.query.bias, torch.zeros(SIZE), block.value.bias]
        theirs.in_proj_bias.copy_(torch.cat(biases))
        theirs.out_proj.weight.copy_(block.out.weight)
        theirs.out_proj.bias.copy_(block.out.bias)
        subgoals, current, language = inputs()
        found, weights = theirs(made.query.expand(2, 1, -1), subgoals, subgoals)
        x = block.norms[0](made.query + found[:, 0])
        expected = block.norms[1](x + block.feedforward(x))
        goal, attention = made(subgoals, current, language)
    torch.testing.assert_close(goal, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(attention, weights[:, 0], rtol=1e-4, atol=1e-5)


def test_what_is_query_and_what_is_key_follows_the_settings():
    subgoals, current, language = inputs()
    with torch.no_grad():
        paper, released = (
            fusion(feedforward=16),
            fusion(feedforward=16, query="current", language=False),
        )
        keys = [made(subgoals, current, language)[1].shape[1] for made in (paper, released)]
        assert keys == [LEVELS + 1, LEVELS]
        changed = [
            [
                not torch.allclose(made(*other)[0], made(subgoals, current, language)[0])
                for other in ((subgoals, -current, language), (subgoals, current, -language))
            ]
            for made in (paper, released)
        ]
    assert changed == [[False, True], [True, False]]
    assert len(fusion(blocks=3, feedforward=16).blocks) == 3


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"fusion\.heads is 7"):
        fusion(heads=7)
