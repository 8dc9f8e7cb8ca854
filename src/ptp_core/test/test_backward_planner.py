# SPDX-License-Identifier: Apache-2.0
"""LBP's planner: which frames it learns from, what it calls, its loss, and that it learns."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from ptp_core.config import BackwardConfig, LatentShape
from ptp_core.errors import ConfigError, InputError
from ptp_core.networks import two_layers
from ptp_core.planners.backward_planner import BackwardPlanner, backward_frames
from ptp_core.tiny_networks import LATENT, rng

SMALL = LatentShape(2, 2, 2)
WORDS = 3  # dimensions of an instruction
CONFIG = BackwardConfig(hidden_factor=4.0, language_dropout=0.0)


def planner(config=CONFIG, latent=SMALL, words=WORDS):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BackwardPlanner(config, latent, words)


def latents(*shape, seed=1):
    return torch.randn(*shape, SMALL.size, generator=rng(seed))


def words(count, seed=2):
    return torch.randn(count, WORDS, generator=rng(seed))


class Spy(nn.Module):
    """Counts its calls."""

    def __init__(self, module):
        super().__init__()
        self.module, self.calls = module, 0

    def forward(self, x):
        self.calls += 1
        return self.module(x)


class Halfway(nn.Module):
    """The oracle of trajectories along a line: half-way between now and the latent beyond."""

    def forward(self, x):
        now, beyond = x[:, : SMALL.size], x[:, SMALL.size : 2 * SMALL.size]
        return (now + beyond) / 2


@pytest.mark.parametrize(
    ("now", "last", "ratio", "rule", "expected"),
    [
        (0, 100, 0.5, "ceil", [100, 50, 25, 13]),
        (0, 100, 0.5, "floor", [100, 50, 25, 12]),
        (20, 100, 0.5, "ceil", [100, 60, 40, 30]),
        (20, 100, 0.5, "floor", [100, 60, 40, 30]),
        (0, 100, 0.75, "ceil", [100, 75, 57, 43]),
        (0, 100, 0.75, "floor", [100, 75, 56, 42]),
        (98, 99, 0.5, "ceil", [99, 99, 99, 99]),
        (98, 99, 0.5, "floor", [99, 98, 98, 98]),
        (99, 99, 0.5, "ceil", [99, 99, 99, 99]),
        (99, 99, 0.5, "floor", [99, 99, 99, 99]),
    ],
)
def test_the_frames_are_those_of_the_paper_or_of_the_released_code(
    now, last, ratio, rule, expected
):
    found = backward_frames(np.array([now]), np.array([last]), 3, ratio, rule)
    assert found[0, ::-1].tolist() == expected


@pytest.mark.parametrize("rule", ["ceil", "floor"])
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.75, 0.9])
def test_no_subgoal_lies_behind_or_beyond_the_one_after_it(rule, ratio):
    draws = np.random.default_rng(0)
    last = draws.integers(0, 400, 2000)
    now = draws.integers(0, last + 1)
    found = backward_frames(now, last, 5, ratio, rule)
    assert (found >= now[:, None]).all() and (np.diff(found, axis=1) >= 0).all()
    assert (found[:, -1] == last).all()


def test_a_step_that_is_whole_is_not_rounded_up():
    """0.1 ** 2 * 100 is a little more than 1 in floating point."""
    assert backward_frames(np.array([0]), np.array([100]), 2, 0.1, "ceil").tolist() == [
        [1, 10, 100]
    ]


def test_a_plan_has_as_many_latents_as_planning_steps_and_a_longer_one_begins_alike():
    made = planner()
    plans = [made.subgoals(latents(4), words(4), levels=levels) for levels in (1, 3, 4)]
    assert [plan.shape for plan in plans] == [(4, count, SMALL.size) for count in (1, 3, 4)]
    assert torch.equal(plans[2][:, 1:], plans[1])  # from the goal on
    assert torch.equal(plans[1][:, 2:], plans[0])


def test_goals_are_predicted_once_or_given_and_subgoals_one_after_the_other():
    made = planner()
    spies = made.goal_predictor, made.subgoal_predictor = (
        Spy(made.goal_predictor),
        Spy(made.subgoal_predictor),
    )
    made.subgoals(latents(4), words(4))
    assert [spy.calls for spy in spies] == [1, 2]
    goals = latents(4, seed=5) / 3
    made.scale.fit(latents(100, seed=6) * 3 + 1)
    plan = made.subgoals(latents(4), None, goals)
    assert [spy.calls for spy in spies] == [1, 4]
    assert torch.equal(plan[:, -1], goals)
    with pytest.raises(InputError, match="needs an instruction or a goal image"):
        made.subgoals(latents(4), None)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_networks_have_the_released_codes_sizes_whatever_the_number_of_subgoals():
    few, many = (count(planner(BackwardConfig(subgoals=n), SMALL)) for n in (1, 4))
    assert few == many
    made = planner(BackwardConfig(), LATENT, 384)
    assert count(made.goal_predictor) == 5_262_480
    assert count(made.subgoal_predictor) == 7_336_080
    assert count(two_layers(3 * 720, 4 * 720, 720)) == 8_303_760  # instructions of 720, too
    without = planner(BackwardConfig(language=False), LATENT, 1)
    assert count(without.subgoal_predictor) == 6_230_160


def line(batch=16, n=2):
    """Latents now and targets whose frames halve without rounding, of lines that leave 0."""
    way, far = latents(batch, seed=3), 2.0 ** torch.arange(-n, 1)
    now = latents(batch, seed=4)
    return now, now[:, None] + far[None, :, None] * (way - now)[:, None]


@pytest.mark.parametrize("objective", ["sum", "coin_flip"])
def test_the_loss_of_an_oracle_is_zero(objective):
    made = planner(dataclasses.replace(CONFIG, objective=objective, noise_std=0.0))
    now, targets = line()
    made.subgoal_predictor = Halfway()
    goal = targets[:, -1]
    made.goal = lambda *_: goal
    for seed in range(4):  # both sides of the coin
        loss, metrics = made.loss(now, targets, words(16), rng(seed))
        assert float(loss.detach()) == pytest.approx(0.0, abs=1e-10)
        assert set(metrics) == {"loss", "goal_mse", "subgoal_mse"}


def test_the_default_sums_both_terms_of_equation_5():
    made = planner()
    now, targets = line()
    language = words(16)

    def mse(found, level):
        return float((found - targets[:, level]).square().mean())

    with torch.no_grad():
        goal = made.goal(now, language)
        first_given = made.subgoal(now, targets[:, 2], language)
        second_given = made.subgoal(now, targets[:, 1], language)
        first_own = made.subgoal(now, goal, language)
        second_own = made.subgoal(now, first_own, language)
        expected = mse(goal, 2) + mse(first_given, 1) + mse(second_given, 0)
        expected += mse(first_own, 1) + mse(second_own, 0)
        loss = made.loss(now, targets, language, rng())[0]
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def sides(batch):
    """Two seeds: one for own contexts, one for true contexts with noise."""
    coins = {}
    for seed in range(20):
        draws = rng(seed)
        torch.rand(batch, 1, generator=draws)  # drops instructions
        coins[bool(torch.rand((), generator=draws) < 0.5)] = seed
    return coins[True], coins[False]


def test_gradients_of_own_contexts_pass_the_first_subgoal_and_those_of_true_ones_do_not():
    made = planner(dataclasses.replace(CONFIG, objective="coin_flip"))
    now, targets = line()
    own, true = sides(16)
    contexts = []
    plain = made.subgoal

    def watched(now, beyond, language):
        contexts.append(beyond)
        return plain(now, beyond, language)

    made.subgoal = watched
    for seed, passes in ((own, True), (true, False)):
        contexts.clear()
        made.loss(now, targets, words(16), rng(seed))[0].backward()
        assert [context.requires_grad for context in contexts] == [passes, passes]
    # Eq. 5 is of f_w alone: there f_g's goal passes no gradient, f_w's first subgoal does.
    made.config = CONFIG
    contexts.clear()
    made.loss(now, targets, words(16), rng())
    assert [context.requires_grad for context in contexts] == [False, False, False, True]


def test_only_true_contexts_of_the_coin_flip_have_noise():
    config = dataclasses.replace(CONFIG, objective="coin_flip", noise_std=0.1)
    made = planner(config)
    now, targets = line(batch=2000)
    _, true = sides(2000)
    contexts = []
    made.subgoal = lambda now, beyond, language: contexts.append(beyond) or beyond
    made.loss(now, targets, words(2000), rng(true))
    noise = contexts[0] - targets[:, -1]
    assert float(noise.std()) == pytest.approx(0.1, rel=0.03)
    contexts.clear()
    made.config = CONFIG
    made.loss(now, targets, words(2000), rng())
    assert torch.equal(contexts[0], targets[:, -1])


def test_some_frames_are_learned_from_without_the_instruction():
    made = planner(dataclasses.replace(CONFIG, language_dropout=0.3))
    with torch.no_grad():
        made.no_language.fill_(7.0)
    dropped = made._dropped(words(4000), rng())
    share = (dropped == 7.0).all(dim=1).float().mean()
    assert float(share) == pytest.approx(0.3, abs=0.03)


def test_straight_lines_are_learned():
    """z_t = t / H * v: w_i is z_t + 0.5^i (z_g - z_t), to 5 %."""
    made = planner(dataclasses.replace(CONFIG, hidden_factor=16.0))
    directions = nn.functional.normalize(latents(4, seed=8), dim=1) * 4
    codes, draws = torch.eye(4)[:, :WORDS], np.random.default_rng(0)
    last = 64
    made.scale.fit(torch.linspace(0, 1, last + 1)[:, None, None].mul(directions).flatten(0, 1))
    optimiser = torch.optim.Adam(made.parameters(), 5e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 600)
    for _ in range(600):
        which, frames = draws.integers(4, size=32), draws.integers(0, last, size=32)
        steps = made.frames(frames, np.full(32, last), draws)
        way = directions[which]
        now = way * torch.from_numpy(frames / last)[:, None].float()
        targets = way[:, None] * torch.from_numpy(steps / last)[..., None].float()
        loss, _ = made.loss(now, targets, codes[which], rng(1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
    now = 0.25 * directions
    plan = made.subgoals(now, codes)
    for level, share in enumerate((0.25, 0.5, 1.0)):
        expected = now + share * (directions - now)
        error = (plan[:, level] - expected).norm(dim=1) / expected.norm(dim=1)
        assert float(error.mean()) < 0.05


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match=r"BackwardConfig\.ratio is 1"):
        BackwardConfig(ratio=1.0)
