# SPDX-License-Identifier: Apache-2.0
"""Controls: plans that nothing was searched for, and plans of true pictures."""

import numpy as np
import pytest
import torch

from ptp_core.agents.registry import AgentOptions, build_agent
from ptp_core.agents.subgoal_agent import SubgoalAgent
from ptp_core.config import GcpConfig, LeapConfig, PlannerConfig
from ptp_core.errors import ConfigError, InputError
from ptp_core.planners.costs import unroll
from ptp_core.planners.mppi import spawn
from ptp_core.planners.planner import unsearched
from ptp_core.rollout.episode_results import EpisodeSeeds
from ptp_core.rollout.run_episode import run_episode
from ptp_core.tiny_networks import rng, tiny_baselines, tiny_networks
from ptp_core.toy_env import ToyEnv


@pytest.fixture(scope="module")
def checkpoint():
    return tiny_networks()


@pytest.fixture
def pair(checkpoint):
    return checkpoint.vqvae.lookup(torch.randint(32, (2, 144), generator=rng(2)))


def agent_of(name, checkpoint, subgoals="planned"):
    """On the checkpoint's networks, and for a baseline on random ones of its own."""
    own = tiny_baselines(checkpoint)
    return build_agent(name, own.get(name, checkpoint), AgentOptions(subgoals=subgoals))


def test_a_random_subgoal_is_one_draw_of_the_prior_through_the_generator(checkpoint, pair):
    plan = agent_of("ptp_single_subgoal", checkpoint, "random").planner.plan(*pair, rng(5))
    generator = checkpoint.generators.level(0)
    z = torch.randn((1, 2, generator.z_dim), generator=spawn(rng(5), 1)[0])
    codes, _ = unroll(generator, checkpoint.vqvae, pair[:1], z[None])
    assert torch.equal(plan.z[0], z)
    assert torch.equal(plan.codes[0], codes[0, 0, 0])
    assert torch.equal(plan.latents[1], pair[1])


@pytest.mark.parametrize("name", ["ptp", "ptp_no_hierarchy", "ptp_single_subgoal", "leap", "gcp"])
def test_the_cost_chooses_nothing_of_a_random_plan(pair, name):
    learner = tiny_networks()
    planner = agent_of(name, learner, "random").planner
    before = planner.plan(*pair, rng())
    with torch.no_grad():
        for parameter in learner.iql.v.parameters():
            parameter.mul_(-3.0)
    after = planner.plan(*pair, rng())
    assert all(torch.equal(one, other) for one, other in zip(before.z, after.z, strict=True))
    assert torch.equal(before.codes, after.codes)
    assert before.costs["value"] != after.costs["value"]
    assert not torch.equal(before.z[0], planner.plan(*pair, rng(1)).z[0])


def test_random_plans_are_as_long_as_planned_ones_and_make_no_use_of_earlier_plans(
    checkpoint, pair
):
    for name in ("ptp", "leap", "gcp"):
        planned = agent_of(name, checkpoint).planner.plan(*pair, rng())
        drawn = agent_of(name, checkpoint, "random").planner.plan(*pair, rng())
        assert drawn.codes.shape == planned.codes.shape
    agent = agent_of("ptp", checkpoint, "random")
    first = agent.planner.plan(*pair, rng())
    for seed in range(40):
        agent.planner.plan(*pair, rng(seed), remember=True)
    assert all(len(buffer) >= 32 for buffer in agent.buffers) and len(agent.buffers) == 3
    again = agent.planner.plan(*pair, rng())
    assert all(torch.equal(one, other) for one, other in zip(again.z, first.z, strict=True))


def test_only_the_search_is_taken_away():
    ptp = unsearched(PlannerConfig(value_weight=0.5, search="descent"))
    assert (ptp.samples, ptp.rounds, ptp.levels, ptp.value_weight) == (1, 1, 3, 0.5)
    leap = unsearched(LeapConfig(subgoals=4))
    assert (leap.subgoals, leap.samples, leap.iterations, leap.initial_std) == (4, 1, 1, 1.0)
    assert unsearched(GcpConfig(depth=2)).samples == (1, 1)


def test_controls_are_for_methods_that_plan(checkpoint):
    for subgoals in ("random", "oracle"):
        with pytest.raises(ConfigError, match=f"{subgoals} subgoals are for methods that plan"):
            agent_of("model_free", checkpoint, subgoals)
    options = AgentOptions(planner={"samples": 3}, subgoals="oracle")
    with pytest.raises(ConfigError, match="leave the planner out"):
        build_agent("ptp", checkpoint, options)
    agent = agent_of("leap", checkpoint, "oracle")  # the environment gives the subgoals
    assert agent.planner is None and agent.settings["planner"] is None


class StagedEnv(ToyEnv):
    """The toy with a plan of three stages, whose pictures it gives when asked."""

    def reset(self, *, seed=None, options=None):
        asked = options.pop("stage_images", False)
        image, info = super().reset(seed=seed, options=options)
        if asked:
            info["stage_images"] = np.stack([image // 2, image // 3])
        return image, info


def play(env, checkpoint, **changes):
    plans = []
    seeds = EpisodeSeeds(env=1, plan=2, policy=3)
    options = {"task": "A", "protocol": "paper"}
    result = run_episode(
        env,
        SubgoalAgent(checkpoint),
        options=options,
        seeds=seeds,
        on_plan=plans.append,
        **changes,
    )
    return result, plans


def test_oracle_subgoals_are_the_environments_pictures_and_then_the_goal(checkpoint):
    result, (plan,) = play(StagedEnv(max_steps=12), checkpoint, oracle=True)
    env = StagedEnv()
    image, info = env.reset(seed=1, options={"task": "A", "stage_images": True})
    pictures = np.stack([image // 2, image // 3, info["goal_image"]])
    assert torch.equal(plan.codes, checkpoint.vqvae.encode(torch.from_numpy(pictures)))
    assert torch.equal(plan.latents, checkpoint.vqvae.lookup(plan.codes))
    assert result.subgoals_reached + result.subgoals_timed_out == 3
    assert (result.plan_seconds, result.plan_cost, result.plan_costs) == (None, None, None)


def test_without_the_oracle_the_environment_is_not_asked_and_nothing_is_told(checkpoint):
    assert play(StagedEnv(max_steps=12), checkpoint)[1] == []


def test_an_environment_without_stage_pictures_is_one_clear_error(checkpoint):
    with pytest.raises(InputError, match='ToyEnv: info has no "stage_images"'):
        play(ToyEnv(max_steps=3), checkpoint, oracle=True)
