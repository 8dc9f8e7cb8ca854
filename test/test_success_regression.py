# SPDX-License-Identifier: Apache-2.0
"""The released checkpoint solves task B with the planner, and hardly without a search.

Contact differs between machines, so the same episodes end otherwise elsewhere; the thresholds
leave room for that. Over the base seeds 0 to 5, 8 episodes each, the planner succeeded in 39 of
48 (5, 8, 7, 5, 7, 7) and random subgoals in 8 of 48 (1, 2, 0, 0, 2, 3). SEED is the first of them
at which both counts are at least 2 on the right side of their thresholds.

A negated cost succeeds as often as random subgoals, 5 times in 24, and may do so 4 times in 8.
Therefore the costs are looked at too: no term of the paper's cost is negative while V is not
positive, and a search that works finds a cheaper plan than a single draw.
"""

import dataclasses

import pytest
import torch

from ptp_bringup.shared import released_checkpoint
from ptp_core.planners.factory import make_planner
from ptp_core.planners.seeding import spawn
from ptp_core.practice.evaluation import EvaluationConfig, evaluate
from ptp_core.training.checkpoint import load_checkpoint

SEED = 2
EPISODES = 8
SEARCHED = 3  # successes with the planner, at least
DRAWN = 2  # successes with random subgoals, at most

# 16 episodes of 400 steps: half a minute on two idle cores, many on a machine that is busy.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint(released_checkpoint())


def without_search(checkpoint):
    """Settings that take the first plan drawn from the prior, whatever it costs."""
    return dataclasses.replace(checkpoint.config.planner, search="mppi", samples=1, iterations=0)


def runs(checkpoint, planner):
    """What became of the 8 episodes."""
    config = EvaluationConfig(
        checkpoint=checkpoint.folder,
        tasks=("B",),
        protocol="paper",
        episodes=EPISODES,
        seed=SEED,
        max_steps=400,
        planner=planner,
    )
    return evaluate(config, workers=2, progress=False)["tasks"]["B"]["runs"]


def test_a_plan_without_search_is_one_draw_from_the_prior(checkpoint):
    planner = make_planner(checkpoint, without_search(checkpoint))
    ends = checkpoint.vqvae.lookup(torch.arange(288).view(2, 144))
    plan = planner.plan(*ends, torch.Generator().manual_seed(5))
    (rng,) = spawn(torch.Generator().manual_seed(5), 1)
    assert torch.equal(plan.z[0][0], torch.randn(plan.z[0][0].shape, generator=rng))


def test_planned_subgoals_solve_task_b_and_random_ones_hardly(checkpoint):
    searched = runs(checkpoint, checkpoint.config.planner)
    drawn = runs(checkpoint, without_search(checkpoint))
    for found, random in zip(searched, drawn, strict=True):
        assert 0.0 < found["final_cost"] < random["final_cost"]
    assert sum(run["success"] for run in searched) >= SEARCHED
    assert sum(run["success"] for run in drawn) <= DRAWN
