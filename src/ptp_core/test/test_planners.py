# SPDX-License-Identifier: Apache-2.0
"""Planner: what it finds, what it costs, what it remembers, how it is stopped."""

import math

import pytest
import torch

from ptp_core.config import PlannerConfig, SubgoalGeneratorConfig
from ptp_core.config.train_config import planner_config
from ptp_core.errors import CheckpointError, ConfigError, InputError, PlanCancelled
from ptp_core.planners.costs import plan_cost, unroll
from ptp_core.planners.hierarchical_planner import HierarchicalPlanner
from ptp_core.planners.mppi import MPPI
from ptp_core.planners.plan_buffer import PlanBuffer, load_buffers, save_buffers
from ptp_core.planners.planner_benchmark import benchmark_planners
from ptp_core.planners.subgoal_generator import (
    GeneratorHierarchy,
    SubgoalGenerator,
    context_features,
    decode_from_features,
)
from ptp_core.tiny_networks import LATENT, distance_value, rng, tiny_vqvae

TINY = PlannerConfig(samples=12, iterations=2, sigmas=(0.5, 0.2), return_best="best_so_far")


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    config = SubgoalGeneratorConfig(hidden_channels=4, hidden_units=32)
    generators = GeneratorHierarchy(config, LATENT).requires_grad_(False)
    for parameter in generators.parameters():
        parameter.mul_(3)  # so that predictions depend on z
    return tiny_vqvae(), generators


@pytest.fixture(scope="module")
def pair(networks):
    codes = torch.randint(32, (2, 144), generator=rng(2))
    return networks[0].lookup(codes)


def planner(networks, config=TINY):
    return HierarchicalPlanner(*networks, distance_value, config)


# A generator whose best plan is known: every prediction adds z to the state.


def add_z(start, z):
    latents = start[:, None, None] + z.cumsum(2)
    return latents.round().long(), latents


def toy_search(**settings):
    config = PlannerConfig(value_weight=0.0, **settings)

    def cost(start, goal, latents, z):
        return plan_cost(start, goal, latents, z, distance_value, config)

    return MPPI(add_z, cost, config)


def test_mppi_finds_the_known_optimum():
    start, goal = torch.zeros(1, 2), torch.tensor([[1.6, -1.2]])
    found = toy_search(samples=512).solve(start, goal, (2, 2), [rng()])
    # Two equal steps have the least ||z||^2 of all that arrive.
    assert torch.allclose(found.latents[0, -1], goal[0], atol=0.1)
    assert torch.allclose(found.z[0], goal / 2, atol=0.35)
    least = 0.01 * 2 * float((goal / 2).square().sum())
    assert least <= float(found.costs.total) < least + 0.1


def test_a_batch_of_segments_equals_the_segments_one_by_one():
    starts = torch.randn(3, 2, generator=rng(5))
    goals = torch.randn(3, 2, generator=rng(6))
    search = toy_search(samples=64)
    together = search.solve(starts, goals, (2, 2), [rng(seed) for seed in range(3)])
    for index in range(3):
        row = slice(index, index + 1)
        alone = search.solve(starts[row], goals[row], (2, 2), [rng(index)])
        assert torch.allclose(alone.z, together.z[row], atol=1e-6)
        assert torch.allclose(alone.costs.total, together.costs.total[row], atol=1e-6)


def test_the_best_of_all_rounds_is_never_worse_than_any_round():
    start, goal = torch.zeros(1, 2), torch.tensor([[3.0, 3.0]])
    rounds = []
    found = toy_search(samples=8, sigmas=(2.0,) * 5, return_best="best_so_far").solve(
        start, goal, (2, 2), [rng(3)], on_iteration=lambda _, t: rounds.append(float(t.total))
    )
    assert len(rounds) == 6
    assert float(found.costs.total) == min(rounds) < rounds[-1]
    last = toy_search(samples=8, sigmas=(2.0,) * 5).solve(start, goal, (2, 2), [rng(3)])
    assert float(last.costs.total) == rounds[-1]


def test_the_cost_has_the_terms_of_the_authors_and_of_the_paper():
    start, goal = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
    latents = torch.tensor([[[[0.0, 1.0], [0.0, 4.0]]]])
    z = torch.tensor([[[[1.0, 2.0], [0.0, 2.0]]]])
    authors = plan_cost(start, goal, latents, z, distance_value, PlannerConfig())
    assert float(authors.distance) == pytest.approx(3.0)
    assert float(authors.value) == pytest.approx(0.001 * (1 + 3 + 3))  # K + 1 pairs
    assert float(authors.prior) == pytest.approx(0.01 * 9)
    assert float(authors.total) == pytest.approx(3.0 + 0.007 + 0.09)
    config = PlannerConfig(include_last_value_term=False, prior_term="log_prob")
    paper = plan_cost(start, goal, latents, z, distance_value, config)
    assert float(paper.value) == pytest.approx(0.001 * (1 + 3))
    log_probability = -9 / 2 - 4 / 2 * math.log(2 * math.pi)
    assert float(paper.prior) == pytest.approx(-0.01 * log_probability)


def test_samples_that_share_a_context_are_predicted_as_if_alone(networks):
    vqvae, generators = networks
    net = generators.level(0)
    context = vqvae.lookup(torch.randint(32, (2, 144), generator=rng(7)))
    z = torch.randn(2, 5, 8, generator=rng(8))
    shared = decode_from_features(net, z, context_features(net, context))
    for row in range(2):
        alone = net(z[row], context[row].expand(5, -1))
        assert torch.allclose(shared[row], alone, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 8, 100])
def test_unrolling_does_not_depend_on_the_block_size(networks, batch, monkeypatch):
    vqvae, generators = networks
    start = vqvae.lookup(torch.randint(32, (3, 144), generator=rng(9)))
    z = torch.randn(3, 4, 2, 8, generator=rng(10))
    monkeypatch.setattr("ptp_core.planners.costs.CPU_BATCH", batch)
    codes, latents = unroll(generators.level(1), vqvae, start, z)
    first = vqvae.quantise(generators.level(1)(z[2, 3, :1], start[2:]))[1]
    second = vqvae.quantise(generators.level(1)(z[2, 3, 1:], first))[1]
    assert torch.equal(latents[2, 3], torch.cat([first, second]))
    assert torch.equal(vqvae.lookup(codes[2, 3]), latents[2, 3])


@pytest.mark.parametrize(
    ("settings", "segments", "count"),
    [
        ({}, [1, 2, 4], 8),
        ({"levels": 2, "subgoals": 4}, [1, 2], 4),
        ({"levels": 1, "subgoals": 3}, [1], 3),
        ({"subgoal_count": "top_level", "subgoals": 8, "samples": 2}, [1, 8, 16], 32),
    ],
)
def test_levels_refine_each_segment_and_the_plan_ends_at_the_goal(
    networks, pair, settings, segments, count
):
    config = PlannerConfig(**{"samples": 4, "iterations": 1, **settings})
    plan = planner(networks, config).plan(*pair, rng())
    assert [len(z) for z in plan.z] == segments
    assert (plan.codes.shape, plan.codes.dtype) == ((count, 144), torch.int64)
    assert torch.equal(networks[0].lookup(plan.codes), plan.latents)
    assert torch.equal(plan.latents[-1], pair[1])
    assert not torch.equal(plan.latents[0], plan.latents[-1])
    by_level = sum(plan.costs[f"level_{level}"] for level in range(len(segments)))
    by_term = sum(plan.costs[name] for name in ("distance", "value", "prior"))
    assert plan.cost == pytest.approx(by_level) == pytest.approx(by_term, rel=1e-5)


def test_a_refined_plan_keeps_the_coarse_subgoals(networks, pair):
    vqvae, _ = networks
    generators = GeneratorHierarchy(
        SubgoalGeneratorConfig(hidden_channels=4, hidden_units=32), LATENT
    )
    for level in range(3):  # the same net everywhere, so that one level is the top of two
        generators.level(level).load_state_dict(networks[1].level(0).state_dict())
    plans = [
        planner((vqvae, generators), PlannerConfig(samples=8, levels=levels, subgoals=subgoals))
        for levels, subgoals in ((1, 2), (2, 4))
    ]
    coarse, fine = (each.plan(*pair, rng(4)) for each in plans)
    assert torch.equal(fine.codes[1::2], coarse.codes)


def test_one_level_of_the_coarsest_generator_is_the_top_of_the_whole_hierarchy(networks, pair):
    settings = {"samples": 8, "levels": 1, "subgoals": 2}
    whole = planner(networks, PlannerConfig(samples=8)).plan(*pair, rng(4))
    coarse, fine = (
        planner(networks, PlannerConfig(horizons=horizons, **settings)).plan(*pair, rng(4))
        for horizons in ("coarsest", "finest")
    )
    assert torch.equal(coarse.codes, whole.codes[3::4])
    assert not torch.equal(fine.codes, coarse.codes)


def test_without_replacement_the_plan_ends_where_the_prediction_ends(networks, pair):
    settings = {"samples": 4, "iterations": 0, "replace_final_subgoal": False}
    plan = planner(networks, PlannerConfig(**settings)).plan(*pair, rng())
    assert not torch.equal(plan.latents[-1], pair[1])


def test_a_plan_depends_on_its_generator_alone(networks, pair):
    first, second, other = (planner(networks).plan(*pair, rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.codes, second.codes)
    assert first.cost == second.cost
    assert not torch.equal(first.codes, other.codes)


def test_threads_do_not_change_a_plan(networks, pair):
    config = PlannerConfig(samples=150, iterations=1)  # several blocks in every level
    plans = [
        HierarchicalPlanner(*networks, distance_value, config, threads=threads).plan(*pair, rng())
        for threads in (1, 3)
    ]
    assert torch.equal(plans[0].codes, plans[1].codes)
    assert plans[0].cost == plans[1].cost


def test_feedback_comes_from_every_round_and_cancelling_stops_between_two(networks, pair):
    heard = []
    planner(networks).plan(*pair, rng(), on_iteration=heard.append)
    rounds = [(feedback.level, feedback.iteration) for feedback in heard]
    assert rounds == [(level, iteration) for level in range(3) for iteration in range(3)]
    assert heard[-1].fraction == 1.0
    assert all(math.isfinite(feedback.best_cost) for feedback in heard)

    heard.clear()
    with pytest.raises(PlanCancelled):
        planner(networks).plan(
            *pair, rng(), on_iteration=heard.append, cancelled=lambda: len(heard) == 4
        )
    assert len(heard) == 4


def test_unusable_latents_are_refused(networks, pair):
    with pytest.raises(InputError, match="start latent has shape"):
        planner(networks).plan(pair, pair[1], rng())
    broken = pair[1].clone()
    broken[3] = float("nan")
    with pytest.raises(InputError, match="goal latent has values that are not finite"):
        planner(networks).plan(pair[0], broken, rng())


def test_a_full_ring_forgets_the_oldest_plan_and_a_restart_forgets_all():
    ring, restart = PlanBuffer(3, 2, 1), PlanBuffer(3, 2, 1, wrap="restart")
    for number in range(4):
        for buffer in (ring, restart):
            buffer.append(torch.full((2, 1), float(number)))
    assert len(ring) == 3
    assert sorted(ring.sample(3, rng())[:, 0, 0].tolist()) == [1, 2, 3]
    assert len(restart) == 1
    assert restart.sample(3, rng())[:, 0, 0].tolist() == [3]


def test_samples_of_the_buffer_are_different_plans():
    buffer = PlanBuffer(50, 1, 1)
    for number in range(40):
        buffer.append(torch.tensor([[float(number)]]))
    assert len(set(buffer.sample(30, rng()).flatten().tolist())) == 30


def test_half_of_the_first_samples_come_from_a_buffer_with_enough_plans():
    config = {"samples": 100, "iterations": 0, "prior_only_probability": 0.0}
    seen = []

    def rollout(start, z):
        seen.append(z)
        return add_z(start, z)

    buffer = PlanBuffer(1000, 2, 2)
    search = toy_search(**config)
    search.rollout = rollout
    point = torch.zeros(1, 2)
    for plans in range(1, 61):
        buffer.append(torch.full((2, 2), 100.0 + plans))
        if plans in (31, 32, 60):
            search.solve(point, point, (2, 2), [rng()], buffer=buffer)
    assert [int((z > 50).all(-1).all(-1).sum()) for z in seen] == [0, 32, 50]


def test_plans_enter_the_buffers_only_when_asked(networks, pair, tmp_path):
    first = planner(networks)
    first.plan(*pair, rng())
    assert [len(buffer) for buffer in first.buffers] == [0, 0, 0]
    plan = first.plan(*pair, rng(), remember=True)
    assert [len(buffer) for buffer in first.buffers] == [1, 2, 4]
    save_buffers(tmp_path / "plans.safetensors", first.buffers)

    second = planner(networks)
    load_buffers(tmp_path / "plans.safetensors", second.buffers)
    assert [len(buffer) for buffer in second.buffers] == [1, 2, 4]
    assert torch.equal(second.buffers[2].entries[:4], plan.z[2])


def test_a_plan_buffer_file_that_does_not_fit_is_one_clear_error(networks, pair, tmp_path):
    path = tmp_path / "plans.safetensors"
    save_buffers(path, [PlanBuffer(5, 2, 8) for _ in range(3)])
    with pytest.raises(CheckpointError, match="shape"):
        load_buffers(path, planner(networks).buffers)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CheckpointError, match=r"plans\.safetensors"):
        load_buffers(path, planner(networks).buffers)


def test_presets_and_files_name_a_planner(tmp_path):
    assert planner_config("paper") == PlannerConfig.paper()
    assert planner_config("fast").samples < planner_config("paper").samples
    path = tmp_path / "train.yaml"
    path.write_text("planner: {samples: 77}")
    assert planner_config(str(path)).samples == 77
    with pytest.raises(ConfigError, match="neither a preset"):
        planner_config("quickest")


def test_the_benchmark_plans_the_same_pairs_with_every_planner(networks, pair):
    planners = {"few": planner(networks), "more": planner(networks, PlannerConfig(samples=48))}
    figures = benchmark_planners(planners, [tuple(pair), tuple(pair.flip(0))])
    for name, each in planners.items():
        expected = [each.plan(*p, rng(i)).cost for i, p in enumerate([pair, pair.flip(0)])]
        assert [plan["cost"] for plan in figures[name]["plans"]] == pytest.approx(expected)
        assert figures[name]["seconds"] > 0


def test_the_papers_generator_is_used_as_it_is_trained():
    # The planner's faster path and the path that training uses share every weight.
    torch.manual_seed(0)
    net = SubgoalGenerator(SubgoalGeneratorConfig(), LATENT)
    context, z = torch.randn(1, 720), torch.randn(1, 3, 8)
    with torch.no_grad():
        fast = decode_from_features(net, z, context_features(net, context))[0]
        assert torch.allclose(fast, net(z[0], context.expand(3, -1)), atol=1e-5)
