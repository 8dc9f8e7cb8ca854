# SPDX-License-Identifier: Apache-2.0
"""GCP: order of the midpoints, what a node sees, how it is chosen, what a plan promises."""

import math
from itertools import pairwise

import pytest
import torch

from ptp_core.config import GcpConfig, MidpointConfig
from ptp_core.errors import ConfigError, InputError, PlanCancelled
from ptp_core.planners.gcp_planner import (
    GcpPlanner,
    MidpointGenerator,
    Midpoints,
    MidpointSearch,
    balanced_triples,
    midpoint_costs,
)
from ptp_core.planners.mppi import spawn
from ptp_core.tiny_networks import LATENT, distance_value, rng, tiny_vqvae

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def make_networks(device="cpu"):
    torch.manual_seed(0)
    midpoints = MidpointGenerator(MidpointConfig(hidden_channels=4, hidden_units=32), LATENT)
    midpoints.requires_grad_(False)
    for parameter in midpoints.parameters():
        parameter.mul_(3)  # so that predictions depend on z
    return tiny_vqvae().to(device), midpoints.to(device)


@pytest.fixture
def networks():
    return make_networks()


@pytest.fixture
def pair(networks):
    return networks[0].lookup(torch.randint(32, (2, 144), generator=rng(2)))


def planner(networks, **settings):
    return GcpPlanner(*networks, distance_value, GcpConfig(**settings))


def spied(propose, calls):
    def spy(left, right, noise):
        calls.append((left, right, noise))
        return propose(left, right, noise)

    return spy


# A generator whose midpoints are known: half-way, and z beside it.


def half_way(left, right, noise):
    latents = ((left + right) / 2)[:, None] + noise
    return Midpoints(noise, latents.round().long(), latents)


def exactly_half_way(left, right, noise):
    return half_way(left, right, 0 * noise)


def line(propose, **settings):
    """Search from 0 to 8 on a line."""
    search = MidpointSearch(propose, distance_value, 1, GcpConfig(**settings))
    return search.solve(torch.zeros(1), torch.full((1,), 8.0), rng())


@pytest.mark.parametrize(("depth", "nodes"), [(1, 1), (2, 3), (3, 7), (4, 15)])
def test_a_tree_has_a_batched_call_a_layer_and_all_nodes_in_order(depth, nodes):
    calls = []
    tree = line(spied(exactly_half_way, calls), depth=depth, samples=(3, 2, 2, 1))
    assert [call[2].shape for call in calls] == [
        (2**layer, samples, 1) for layer, samples in enumerate((3, 2, 2, 1)[:depth])
    ]
    step = 8 / 2**depth
    assert tree.latents[:, 0].tolist() == [step * (node + 1) for node in range(nodes)]


def test_the_middle_comes_first_then_the_middles_of_the_halves():
    calls = []
    line(spied(exactly_half_way, calls))
    order = [((left + right) / 2)[:, 0].tolist() for left, right, _ in calls]
    assert order == [[4], [2, 6], [1, 3, 5, 7]]
    # The order, and the parents, of the trees that the generator learns from.
    trained = balanced_triples(14, 3)[:, 1]
    assert [(time + 1) / 2 for time in trained] == [time for layer in order for time in layer]


def test_a_node_sees_exactly_its_two_neighbours_of_the_layers_above(networks, pair):
    calls = []
    each = planner(networks)
    each.search.propose = spied(each.propose, calls)
    plan = each.plan(*pair, rng())
    times = torch.cat([pair[:1], plan.latents])  # 0 the start ... 8 the goal
    for layer, (left, right, _) in enumerate(calls):
        parents = times[:: 8 // 2**layer]
        assert torch.equal(left, parents[:-1])
        assert torch.equal(right, parents[1:])


def test_parents_are_quantised(networks, pair):
    calls = []
    each = planner(networks)
    each.search.propose = spied(each.propose, calls)
    each.plan(*pair, rng())
    for left, right, _ in calls:
        for parents in (left, right):
            assert torch.equal(networks[0].quantise(parents)[1], parents)


def test_the_right_half_never_changes_the_left_half(networks, pair):
    def disturb_the_right(left, right, noise):
        half = len(noise) // 2  # 0 at the top: the middle stays
        changed = noise.clone()
        changed[half:] = -changed[half:] if half else changed
        return each.propose(left, right, changed)

    each = planner(networks)
    plain = each.plan(*pair, rng())
    each.search.propose = disturb_the_right
    disturbed = each.plan(*pair, rng())
    assert torch.equal(plain.codes[:4], disturbed.codes[:4])
    for layer, (before, after) in enumerate(zip(plain.z, disturbed.z)):
        half = 2**layer // 2
        assert torch.equal(before[:half], after[:half])
    for node in (4, 5, 6):
        assert not torch.equal(plain.codes[node], disturbed.codes[node])


def test_each_midpoint_is_the_best_of_its_candidates(networks, pair):
    each = planner(networks, samples=(6, 5, 4))
    calls, proposed = [], []

    def propose(left, right, noise):
        calls.append((left, right))
        proposed.append(each.propose(left, right, noise))
        return proposed[-1]

    each.search.propose = propose
    plan = each.plan(*pair, rng())
    for layer, ((left, right), candidates) in enumerate(zip(calls, proposed)):
        spacing = 8 // 2**layer
        chosen = plan.latents[spacing // 2 - 1 :: spacing]
        total = 0.0
        for segment in range(2**layer):
            costs = [
                float((left[segment] - middle).norm() + (middle - right[segment]).norm())
                for middle in candidates.latents[segment]
            ]
            assert len(set(costs)) > 1
            best = costs.index(min(costs))
            assert torch.equal(candidates.latents[segment, best], chosen[segment])
            assert torch.equal(candidates.z[segment, best], plan.z[layer][segment, 0])
            total += costs[best]
        assert plan.costs[f"level_{layer}"] == pytest.approx(total, rel=1e-5)


def test_the_cost_is_that_of_left_to_middle_and_of_middle_to_right():
    def one_way(latents, goals):  # unlike a distance, V depends on the direction
        return -(goals - 3 * latents).sum(-1)

    left, right = torch.tensor([[1.0], [10.0]]), torch.tensor([[5.0], [20.0]])
    middles = torch.tensor([[[2.0], [4.0]], [[0.0], [15.0]]])
    expected = [[(2 - 3) + (5 - 6), (4 - 3) + (5 - 12)], [(0 - 30) + 20, (15 - 30) + (20 - 45)]]
    assert midpoint_costs(left, middles, right, one_way).tolist() == expected


def test_many_pairs_are_valued_in_bounded_batches(monkeypatch):
    sizes = []

    def value(latents, goals):
        sizes.append(len(latents))
        return distance_value(latents, goals)

    left, right = torch.randn(2, 3, 7, generator=rng())
    middles = torch.randn(3, 5, 7, generator=rng(1))
    whole = midpoint_costs(left, middles, right, value)
    monkeypatch.setattr("ptp_core.planners.gcp_planner.PAIRS_AT_ONCE", 8)
    assert torch.allclose(midpoint_costs(left, middles, right, value), whole)
    assert sizes == [30, 8, 8, 8, 6]


def test_lower_layers_leave_upper_layers_as_they_are(networks, pair):
    plans = [planner(networks, depth=depth).plan(*pair, rng(4)) for depth in (1, 2, 3)]
    for coarse, fine in pairwise(plans):
        assert torch.equal(fine.codes[1::2], coarse.codes)
        for upper, same in zip(coarse.z, fine.z):
            assert torch.equal(upper, same)
    crowded = planner(networks, samples=(10, 10, 30)).plan(*pair, rng(4))
    assert torch.equal(crowded.codes[1::2], plans[1].codes)


def test_more_candidates_come_nearer_to_the_shortest_way():
    lengths = []
    for samples in (1, 10, 200):
        search = MidpointSearch(half_way, distance_value, 3, GcpConfig(samples=(samples,) * 3))
        tree = search.solve(torch.zeros(3), torch.full((3,), 8.0), rng())
        lengths.append(float(tree.costs[-1].sum()))
    shortest = 8 * math.sqrt(3)
    assert lengths[0] > lengths[1] > lengths[2] > shortest
    assert lengths[2] < shortest + 0.5


def test_z_comes_from_the_learned_prior(networks, pair):
    _, midpoints = networks
    midpoints.prior_head.weight.zero_()
    midpoints.prior_head.bias[:8] = 3.0
    midpoints.prior_head.bias[8:] = math.log(0.25)
    plan = planner(networks).plan(*pair, rng())
    streams = rng()
    for z, samples in zip(plan.z, (10, 10, 5)):
        for chosen, stream in zip(z, spawn(streams, len(z))):
            candidates = 3.0 + 0.5 * torch.randn(samples, 8, generator=stream)
            assert (candidates - chosen).abs().amax(1).min() < 1e-5


def test_the_posterior_is_never_asked_for_a_plan(networks, pair):
    _, midpoints = networks
    heard = []
    for name in ("prior_encoder", "prior_head", "posterior_encoder", "posterior_head"):
        getattr(midpoints, name).register_forward_hook(lambda *_, name=name: heard.append(name))
    planner(networks).plan(*pair, rng())
    assert heard == ["prior_encoder", "prior_head"] * 3
    midpoints.loss(*pair[:, None], pair[:1], rng())  # the hooks do hear the posterior
    assert "posterior_head" in heard


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("depth", "count"), [(1, 2), (2, 4), (3, 8)])
def test_a_plan_has_codes_and_latents_from_near_to_far_and_ends_at_the_goal(
    networks, pair, depth, count, device
):
    each = planner(make_networks(device), depth=depth)
    plan = each.plan(*pair.to(device), rng())
    assert each.config.subgoals == count
    assert (plan.codes.shape, plan.codes.dtype) == ((count, 144), torch.int64)
    assert (plan.latents.shape, plan.latents.dtype) == ((count, 720), torch.float32)
    assert plan.latents.device.type == plan.codes.device.type == "cpu"
    assert torch.isfinite(plan.latents).all()
    assert torch.equal(networks[0].lookup(plan.codes), plan.latents)
    assert torch.equal(plan.latents[-1], pair[1])
    assert not torch.equal(plan.latents[0], plan.latents[-1])
    assert [z.shape for z in plan.z] == [(2**layer, 1, 8) for layer in range(depth)]
    assert plan.cost == pytest.approx(sum(plan.costs[f"level_{i}"] for i in range(depth)))
    assert plan.cost == plan.costs["value"] + plan.costs["distance"] + plan.costs["prior"]
    way = torch.cat([pair[:1], plan.latents])
    length = float((way[1:] - way[:-1]).norm(dim=1).sum())
    assert plan.costs[f"level_{depth - 1}"] == pytest.approx(length, rel=1e-4)
    on_cpu = planner(networks, depth=depth).plan(*pair, rng())
    assert torch.allclose(plan.latents, on_cpu.latents, atol=1e-4)


def test_a_plan_depends_on_its_generator_alone(networks, pair):
    first, second, other = (planner(networks).plan(*pair, rng(seed)) for seed in (0, 0, 1))
    remembered = planner(networks)
    remembered.plan(*pair, rng(5), remember=True)
    assert torch.equal(first.codes, second.codes)
    assert first.cost == second.cost
    assert torch.equal(first.codes, remembered.plan(*pair, rng()).codes)
    assert not torch.equal(first.codes, other.codes)


def test_a_batch_of_segments_equals_the_segments_one_by_one(networks):
    search = planner(networks).search
    codes = torch.randint(32, (2, 5, 144), generator=rng(6))
    left, right = networks[0].lookup(codes)
    with torch.no_grad():
        together, costs = search.best_midpoints(left, right, 30, [rng(s) for s in range(5)])
        for row in range(5):
            alone, cost = search.best_midpoints(
                left[row : row + 1], right[row : row + 1], 30, [rng(row)]
            )
            assert torch.equal(alone.codes[0], together.codes[row])
            assert torch.allclose(alone.z[0], together.z[row], atol=1e-5)
            assert float(cost) == pytest.approx(float(costs[row]), rel=1e-5)


def test_feedback_comes_from_every_layer_and_cancelling_stops_between_two(networks, pair):
    heard = []
    plan = planner(networks).plan(*pair, rng(), on_iteration=heard.append)
    assert [(each.level, each.levels, each.iteration) for each in heard] == [
        (0, 3, 0),
        (1, 3, 0),
        (2, 3, 0),
    ]
    assert [each.best_cost for each in heard] == [plan.costs[f"level_{i}"] for i in range(3)]
    assert heard[-1].fraction == 1.0

    heard.clear()
    with pytest.raises(PlanCancelled):
        planner(networks).plan(
            *pair, rng(), on_iteration=heard.append, cancelled=lambda: len(heard) == 2
        )
    assert len(heard) == 2


def test_new_weights_count_from_the_next_plan_on(networks, pair):
    each = planner(networks)
    before = each.plan(*pair, rng())
    networks[1].head.weight.mul_(-1)
    assert not torch.equal(before.codes, each.plan(*pair, rng()).codes)


def test_unusable_latents_are_refused(networks, pair):
    with pytest.raises(InputError, match="start latent has shape"):
        planner(networks).plan(pair, pair[1], rng())
    broken = pair[1].clone()
    broken[3] = float("nan")
    with pytest.raises(InputError, match="goal latent has values that are not finite"):
        planner(networks).plan(pair[0], broken, rng())


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="3 values for 4 layers"):
        GcpConfig(depth=4)
    with pytest.raises(ConfigError, match="must be at least 1"):
        GcpConfig(samples=(10, 0, 5))
    with pytest.raises(ConfigError, match=r"GcpConfig\.depth is 0"):
        GcpConfig(depth=0)
