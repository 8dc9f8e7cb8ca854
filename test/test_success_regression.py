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

import pytest
import torch

from ptp_bringup.share_folder import released_checkpoint
from ptp_core.agents.ptp import make_planner
from ptp_core.planners.mppi import spawn
from ptp_core.planners.planner import unsearched
from ptp_core.rollout.evaluation import EvaluationConfig, evaluate
from ptp_core.training.checkpoint import load_checkpoint

SEED = 2
EPISODES = 8
PLANNED = 3  # successes with the planner, at least
RANDOM = 2  # successes with random subgoals, at most

# 16 episodes of 400 steps: half a minute on two idle cores, many on a machine that is busy.
pytestmark = pytest.mark.timeout(900)


def runs(subgoals):
    """What became of the 8 episodes."""
    config = EvaluationConfig(
        checkpoint=released_checkpoint(),
        env="ptp_sim.env:make_env",
        tasks=("B",),
        protocol="paper",
        episodes=EPISODES,
        seed=SEED,
        max_steps=400,
        subgoals=subgoals,
    )
    return evaluate(config, num_envs=2, progress=False)["tasks"]["B"]["runs"]


def test_a_random_plan_is_one_draw_from_the_prior():
    checkpoint = load_checkpoint(released_checkpoint())
    planner = make_planner(checkpoint, unsearched(checkpoint.config.planner))
    ends = checkpoint.vqvae.lookup(torch.arange(288).view(2, 144))
    plan = planner.plan(*ends, torch.Generator().manual_seed(5))
    (rng,) = spawn(torch.Generator().manual_seed(5), 1)
    assert torch.equal(plan.z[0][0], torch.randn(plan.z[0][0].shape, generator=rng))


def test_planned_subgoals_solve_task_b_and_random_ones_hardly():
    planned, random = runs("planned"), runs("random")
    for found, drawn in zip(planned, random, strict=True):
        assert 0.0 < found["final_cost"] < drawn["final_cost"]
    assert sum(run["success"] for run in planned) >= PLANNED
    assert sum(run["success"] for run in random) <= RANDOM
