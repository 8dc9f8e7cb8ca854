# SPDX-License-Identifier: Apache-2.0
"""The agent that pursues planned subgoals, and the checks of what it is given."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from ptp_core.agents.agent import (
    AgentSeeds,
    AgentSpec,
    ImageGoal,
    LanguageGoal,
    LatentGoal,
    Observation,
)
from ptp_core.agents.ptp import make_planner
from ptp_core.agents.registry import build_agent
from ptp_core.agents.subgoal_agent import SubgoalAgent
from ptp_core.config import FollowerConfig
from ptp_core.data.trajectory import CAMERA
from ptp_core.errors import ConfigError, GoalError, InputError, ObservationError
from ptp_core.tiny_networks import tiny_config, tiny_networks

SEEDS = AgentSeeds(plan=3, policy=4)
MEAN = FollowerConfig(timeout=2, distance_threshold=0.0, sample_actions=False)


@pytest.fixture(scope="module")
def checkpoint():
    return tiny_networks(dataclasses.replace(tiny_config(), follower=FollowerConfig(timeout=2)))


def codes(seed, *shape):
    return np.random.default_rng(seed).integers(0, 32, (*shape, 144), dtype=np.uint16)


def seen(seed):
    return Observation(latent=codes(seed))


def image(seed):
    tiles = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return tiles.repeat(4, 0).repeat(4, 1)


def goals(array):
    return [LatentGoal(each) for each in array]


def test_the_same_seed_gives_the_same_actions(checkpoint):
    agent, runs = SubgoalAgent(checkpoint), []
    for seed in (1, 1, 2):
        seeds = AgentSeeds(plan=0, policy=seed)
        agent.reset(seen(9), LatentGoal(codes(1)), seeds, subgoals=goals(codes(0, 3)))
        runs.append([agent.act(seen(2 + step)).action for step in range(4)])
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert all(action.dtype == np.float32 and action.shape == (5,) for action in runs[0])


def test_actions_depend_on_the_subgoal_and_end_at_the_goal(checkpoint):
    agent, goal = SubgoalAgent(checkpoint, follower=MEAN), LatentGoal(codes(1))
    plan = codes(0, 2)
    agent.reset(seen(2), goal, SEEDS, subgoals=goals(plan))
    decisions = [agent.act(seen(2)) for _ in range(8)]
    assert [each.subgoal_index for each in decisions] == [0, 0, 0, 1, 1, 2, 2, 2]
    wanted = [plan[0]] * 3 + [plan[1]] * 2 + [codes(1)] * 3
    assert np.array_equal([each.target for each in decisions], wanted)
    assert np.array_equal(decisions[0].latent, codes(2))
    agent.reset(seen(2), goal, SEEDS, subgoals=[])
    assert np.array_equal(agent.act(seen(2)).action, decisions[-1].action)
    assert not np.array_equal(decisions[0].action, decisions[-1].action)


def test_images_and_their_codes_give_the_same_decisions(checkpoint):
    agent = SubgoalAgent(checkpoint, make_planner(checkpoint), MEAN)
    shown = Observation({CAMERA: image(0)})
    agent.reset(shown, ImageGoal({CAMERA: image(1)}), SEEDS)
    by_image = agent.act(shown)
    encoded, goal = Observation(latent=agent.encode(shown)), LatentGoal(agent.goal_latent)
    agent.reset(encoded, goal, SEEDS)
    by_codes = agent.act(encoded)
    assert np.array_equal(by_image.action, by_codes.action)
    assert torch.equal(by_image.plan.codes, by_codes.plan.codes)
    assert by_image.plan.cost == by_codes.plan.cost
    assert agent.distance(shown) == agent.distance(encoded) > 0


@pytest.mark.parametrize(
    ("replan", "steps_with_a_plan"),
    [("once", [0]), (3, [0, 3, 6]), (1, [0, 1, 2, 3, 4, 5, 6, 7]), ("on_reach", [0, 3, 6])],
)
def test_plans_are_made_when_the_agent_is_told_to(checkpoint, replan, steps_with_a_plan):
    agent = SubgoalAgent(checkpoint, make_planner(checkpoint), MEAN, replan=replan)
    agent.reset(seen(2), LatentGoal(codes(1)), SEEDS)
    decisions = [agent.act(seen(2)) for _ in range(8)]
    assert [n for n, each in enumerate(decisions) if each.plan] == steps_with_a_plan
    # Each plan's draws go on where the one before ended.
    draws = [each.plan.z[0] for each in decisions if each.plan]
    assert all(not torch.equal(*pair) for pair in itertools.pairwise(draws))


class Told:
    """A planner of one subgoal, with ``direct`` of the goal alone, that keeps what it is told."""

    def __init__(self, checkpoint, direct):
        self.planner, self.direct = make_planner(checkpoint), direct
        self.codes = torch.from_numpy(codes(1).astype(np.int64))[None]
        self.missed = []  # whether each earlier plan's goal was missed
        self.given_up = []  # of each earlier plan

    def plan(self, start, goal, generator, *, earlier, **options):
        self.missed.append(None if earlier is None else earlier.missed)
        self.given_up.append(() if earlier is None else earlier.given_up)
        plan = self.planner.plan(start, goal, generator, **options)
        kept = self.codes if self.direct else plan.codes[:1]
        latents = goal[None] if self.direct else plan.latents[:1]
        return dataclasses.replace(plan, codes=kept, latents=latents)


@pytest.mark.parametrize("direct", [False, True])
def test_a_planner_is_told_when_the_goal_was_missed_and_not_of_a_missed_subgoal(
    checkpoint, direct
):
    told = Told(checkpoint, direct)
    agent = SubgoalAgent(checkpoint, told, MEAN, replan="on_reach")  # nothing is ever near
    agent.reset(seen(2), LatentGoal(codes(1)), SEEDS)
    for _ in range(8):
        agent.act(seen(2))
    assert told.missed == [None, direct, direct]


def test_a_planner_is_told_every_first_subgoal_that_was_given_up_in_this_episode(checkpoint):
    told = Told(checkpoint, direct=False)
    agent = SubgoalAgent(checkpoint, told, MEAN, replan="on_reach")  # nothing is ever near
    agent.reset(seen(2), LatentGoal(codes(1)), SEEDS)
    pursued = [agent.act(seen(2)).plan for _ in range(8)]
    first, second, _ = (plan.latents[0] for plan in pursued if plan is not None)
    assert [len(given_up) for given_up in told.given_up] == [0, 1, 2]
    assert torch.equal(told.given_up[2][0], first) and torch.equal(told.given_up[2][1], second)
    agent.reset(seen(2), LatentGoal(codes(1)), SEEDS)
    assert told.given_up[3] == ()

    near = dataclasses.replace(MEAN, distance_threshold=1e6)
    told = Told(checkpoint, direct=False)
    agent = SubgoalAgent(checkpoint, told, near, replan="on_reach")  # everything is near
    agent.reset(seen(2), LatentGoal(codes(1)), SEEDS)
    for _ in range(8):
        agent.act(seen(2))
    assert told.given_up == [()]


def test_the_arm_rests_at_the_goal_and_the_gripper_stays_as_the_policy_says(checkpoint):
    near = dataclasses.replace(MEAN, distance_threshold=0.1, hold=2)
    actions = {}
    for rest in (False, True):
        agent = SubgoalAgent(checkpoint, None, dataclasses.replace(near, rest=rest))
        agent.reset(seen(1), LatentGoal(codes(1)), SEEDS)
        there = [agent.act(seen(1)).action for _ in range(4)]
        actions[rest] = [*there, *(agent.act(seen(2)).action for _ in range(2))]
    for step, (moving, resting) in enumerate(zip(actions[False], actions[True], strict=True)):
        # Near for two steps, and then not yet far for two; the step after reset never counts.
        if step in (2, 3, 4):
            assert not resting[:4].any() and moving[:4].any()
            assert resting[4] == moving[4] and resting.dtype == np.float32
        else:
            np.testing.assert_array_equal(moving, resting)


def test_a_plan_of_no_steps_is_refused(checkpoint):
    with pytest.raises(ConfigError, match="replan is 0"):
        SubgoalAgent(checkpoint, replan=0)


def test_what_the_agent_cannot_use_is_named(checkpoint):
    agent = SubgoalAgent(checkpoint, name="model_free")
    goal = LatentGoal(codes(1))
    with pytest.raises(InputError, match="reset before act"):
        agent.act(seen(0))
    with pytest.raises(
        GoalError, match=r"model_free takes image or latent goals, not .* language"
    ):
        agent.reset(seen(0), LanguageGoal("close the drawer"), SEEDS)
    with pytest.raises(GoalError, match="goal latent has shape"):
        agent.reset(seen(0), LatentGoal(codes(0, 1)), SEEDS)
    with pytest.raises(GoalError, match="goal has codes outside 0 to 31"):
        agent.reset(seen(0), goal, SEEDS, subgoals=goals(codes(0, 2) + np.uint16(30)))
    with pytest.raises(GoalError, match='no image of camera "camera"'):
        agent.reset(seen(0), ImageGoal({"wrist": image(0)}), SEEDS)
    agent.reset(seen(0), goal, SEEDS)
    with pytest.raises(ObservationError, match=r'no image of camera "camera".* it has none'):
        agent.act(Observation())
    with pytest.raises(ObservationError, match=r"uint8 \(24, 24, 3\); model_free needs"):
        agent.act(Observation({CAMERA: image(0)[::2, ::2]}))


def test_a_spec_comes_back_from_a_manifest(checkpoint):
    spec = SubgoalAgent(checkpoint).spec
    assert AgentSpec.from_dict(spec.to_dict(), "here") == spec


def test_missing_proprioception_is_named(checkpoint):
    spec = SubgoalAgent(checkpoint).spec
    spec = dataclasses.replace(spec, proprioception=("x [m]", "y [m]"))
    for given in (None, np.zeros(3, np.float32)):
        with pytest.raises(ObservationError, match=r"needs proprioception of 2 numbers \(x \[m\]"):
            spec.check_observation(Observation(latent=codes(0), proprioception=given))
    broken = np.array([0.0, np.nan], np.float32)
    with pytest.raises(ObservationError, match="not finite"):
        spec.check_observation(Observation(latent=codes(0), proprioception=broken))


def test_settings_say_how_chunks_are_sampled():
    chunked = tiny_networks(diffusion=True)
    for method in ("ptp_legs", "diffusion_bc"):
        sampled = build_agent(method, chunked).settings["policy"]
        assert sampled == {"sampling_steps": 2, "temperature": 1.0, "ensemble_decay": 0.25}
    assert "policy" not in build_agent("ptp", tiny_networks()).settings
