# SPDX-License-Identifier: Apache-2.0
"""The authors' arrangement of the planner: other steps, the same plan."""

import torch

from ptp_cli.bench.bench_agent import AuthorsPlanner, one_hot_quantise
from ptp_core.config import PlannerConfig
from ptp_core.planners.hierarchical_planner import HierarchicalPlanner
from ptp_core.tiny_networks import rng, tiny_networks, tiny_vqvae


def test_one_hot_rows_give_the_nearest_codes():
    vqvae = tiny_vqvae()
    raw = torch.randn(3, 720, generator=rng()) * 0.1
    for ours, theirs in zip(vqvae.quantise(raw), one_hot_quantise(vqvae, raw)):
        assert torch.equal(ours, theirs)


def test_segments_one_after_the_other_give_the_plan_of_the_batch():
    parts = tiny_networks()
    codes = torch.randint(32, (2, 144), generator=rng(1))
    pair = parts.vqvae.lookup(codes)
    config = PlannerConfig(samples=16, iterations=2)
    plans = [
        kind(parts.vqvae, parts.generators, parts.iql.value, config).plan(*pair, rng(3))
        for kind in (HierarchicalPlanner, AuthorsPlanner)
    ]
    assert torch.equal(plans[0].codes, plans[1].codes)
    assert abs(plans[0].cost - plans[1].cost) < 1e-4 * plans[0].cost
    for ours, theirs in zip(*(plan.z for plan in plans)):
        assert torch.allclose(ours, theirs, atol=1e-5)
