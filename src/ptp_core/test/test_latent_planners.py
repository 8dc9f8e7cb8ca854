# SPDX-License-Identifier: Apache-2.0
"""What planners of instructions have in common, and what each baseline predicts."""

import numpy as np
import pytest
import torch

from ptp_core.config import BackwardConfig, ForwardConfig, ParallelConfig, ProposerConfig
from ptp_core.errors import GoalError
from ptp_core.planners.backward_planner import BackwardPlanner
from ptp_core.planners.forward_planner import ForwardPlanner
from ptp_core.planners.parallel_planner import ParallelPlanner
from ptp_core.planners.subgoal_proposer import SubgoalProposer
from ptp_core.tiny_networks import LATENT, rng

WORDS = 3
MADE = {
    "backward": (BackwardPlanner, BackwardConfig(hidden_factor=0.05), 3),
    "forward": (ForwardPlanner, ForwardConfig(hidden_factor=0.05, subgoals=2), 2),
    "parallel": (ParallelPlanner, ParallelConfig(hidden_factor=0.05, subgoals=1), 2),
    "proposer": (SubgoalProposer, ProposerConfig(channels=8, blocks=1), 1),
}


def planner(name):
    kind, config, levels = MADE[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = kind(config, LATENT, WORDS).eval()
        made.scale.fit(torch.randn(64, LATENT.size) * 0.1 + 0.3)
    return made, levels


def inputs(count):
    latents = torch.randn(count, LATENT.size, generator=rng(1)) * 0.1 + 0.3
    return latents, torch.randn(count, WORDS, generator=rng(2))


@pytest.mark.parametrize("name", MADE)
def test_plans_are_finite_repeatable_and_the_same_alone_or_in_a_batch(name):
    made, levels = planner(name)
    latents, language = inputs(3)
    plan = made.subgoals(latents, language, generator=rng(3))
    assert plan.shape == (3, levels, LATENT.size) and levels == made.levels
    assert torch.isfinite(plan).all()
    assert torch.equal(plan, made.subgoals(latents, language, generator=rng(3)))
    if name == "proposer":  # draws: one stream for the batch
        assert not torch.equal(plan, made.subgoals(latents, language, generator=rng(4)))
        return
    alone = [made.subgoals(latents[i : i + 1], language[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), plan, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
@pytest.mark.parametrize("name", MADE)
def test_plans_on_a_gpu_are_those_of_the_cpu(name):
    made, _ = planner(name)
    latents, language = inputs(3)
    expected = made.subgoals(latents, language, generator=rng(3))
    made.to("cuda")
    found = made.subgoals(latents.cuda(), language.cuda(), generator=rng(3))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MADE)
def test_frames_go_from_near_to_far_within_the_trajectory(name):
    made, levels = planner(name)
    frames, last = np.array([0, 5, 95, 100]), np.array([100, 100, 100, 100])
    found = made.frames(frames, last, np.random.default_rng(0))
    assert found.shape == (4, levels) and found.dtype == np.int64
    assert (found >= frames[:, None]).all() and (found <= 100).all()
    assert (np.diff(found, axis=1) >= 0).all()


@pytest.mark.parametrize("name", MADE)
def test_a_step_of_training_lowers_the_loss(name):
    made, levels = planner(name)
    latents, language = inputs(16)
    targets = torch.randn(16, levels, LATENT.size, generator=rng(5)) * 0.1 + 0.3
    optimiser = torch.optim.Adam(made.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        loss, metrics = made.loss(latents, targets, language, rng(6))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", MADE)
def test_goal_latents_end_the_plan_or_are_refused(name):
    made, _ = planner(name)
    latents, language = inputs(2)
    goals = latents.flip(0)
    if made.goal_images:
        assert torch.equal(made.subgoals(latents, None, goals)[:, -1], goals)
        return
    for given in (language, None):
        with pytest.raises(GoalError, match="takes an instruction and no goal image"):
            made.subgoals(latents, given, goals)


def test_the_forward_planner_goes_on_from_its_own_prediction():
    made, _ = planner("forward")
    assert made.frames(np.array([0, 85]), np.array([100, 100]), None).tolist() == [
        [10, 20],
        [95, 100],
    ]
    latents, language = inputs(2)
    plan = made.subgoals(latents, language)
    again = made.subgoals(plan[:, 0], language)
    torch.testing.assert_close(again[:, 0], plan[:, 1], rtol=1e-4, atol=1e-5)


def test_the_proposers_frame_lies_as_far_ahead_as_susies():
    made, _ = planner("proposer")
    expected = {0: {11, 12, 13}, 5: {16, 17, 18}, 15: {19}}
    for now, frames in expected.items():
        drawn = made.frames(np.full(200, now), np.full(200, 19), np.random.default_rng(0))
        assert set(drawn[:, 0].tolist()) == frames


def test_guidance_weighs_both_conditions_as_susies():
    made, _ = planner("proposer")
    latents, language = inputs(4)
    noisy, step = torch.randn(4, LATENT.size, generator=rng(7)), torch.tensor([3, 10, 20, 40])
    nothing, silent = torch.zeros_like(latents), torch.zeros_like(language)
    with torch.no_grad():
        for module in made.modules():  # conditions have no effect in the first step of training
            if hasattr(module, "layer"):
                torch.nn.init.normal_(module.layer.weight, generator=rng(8))
        whole = made(noisy, step, latents, language)
        seen = made(noisy, step, latents, silent)
        none = made(noisy, step, nothing, silent)
        assert not torch.allclose(whole, seen) and not torch.allclose(seen, none)
        for image, text, expected in (
            (1.0, 1.0, whole),
            (0.0, 0.0, none),
            (2.5, 7.5, none + 2.5 * (seen - none) + 7.5 * (whole - seen)),
        ):
            made.config = ProposerConfig(
                channels=8, blocks=1, image_guidance=image, text_guidance=text
            )
            found = made.guided(noisy, step, latents, language)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_each_condition_is_dropped_as_often_as_the_settings_say():
    made, _ = planner("proposer")
    current, language = made.drop(torch.ones(10_000, 2), torch.ones(10_000, 3), rng())
    gone = [(values == 0).all(dim=1) for values in (current, language)]
    kept = [(values == 1).all(dim=1) for values in (current, language)]
    assert all((one | other).all() for one, other in zip(gone, kept, strict=True))
    for one in gone:
        assert float(one.float().mean()) == pytest.approx(0.1, abs=0.015)
    assert float((gone[0] & gone[1]).float().mean()) == pytest.approx(0.01, abs=0.005)
