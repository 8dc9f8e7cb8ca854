# SPDX-License-Identifier: Apache-2.0
"""Agents that take instructions: they plan while they act, and refuse what they cannot do."""

import dataclasses

import numpy as np
import pytest
import torch

from ptp_core.agents.agent import (
    AgentSeeds,
    ImageGoal,
    LanguageGoal,
    LatentGoal,
    Observation,
    warm_up,
)
from ptp_core.agents.registry import AgentOptions, build_agent
from ptp_core.config import FollowerConfig, PlannerConfig
from ptp_core.errors import ConfigError, GoalError, InputError
from ptp_core.tiny_networks import SENTENCES, rng, tiny_instructed
from ptp_core.training.instructed_training import INSTRUCTED_METHODS, PLANNERS

SEEDS = AgentSeeds(1, 2)
SAY = LanguageGoal(SENTENCES[1])


def observation(seed=0):
    image = torch.randint(256, (12, 12, 3), dtype=torch.uint8, generator=rng(seed))
    image = image.repeat_interleave(4, 0).repeat_interleave(4, 1)
    return Observation({"camera": image.numpy()})


def agent(name, **options):
    own = "lbp" if name == "lbp_goal_image" else name
    return build_agent(name, tiny_instructed(own), AgentOptions(**options))


def play(made, goal=SAY, steps=4, seeds=SEEDS):
    made.reset(observation(), goal, seeds)
    return [made.act(observation(step)) for step in range(steps)]


def actions(decisions):
    return np.stack([decision.action for decision in decisions])


@pytest.mark.parametrize("name", [*INSTRUCTED_METHODS, "lbp_goal_image"])
def test_episodes_repeat_themselves_and_differ_by_instruction_and_seed(name):
    made = agent(name)
    decisions = play(made)
    for decision in decisions:
        made.spec.check_action(decision.action)
        assert decision.latent.shape == (144,) and np.abs(decision.action).max() <= 1
    np.testing.assert_array_equal(actions(decisions), actions(play(made)))
    assert not np.array_equal(actions(decisions), actions(play(made, LanguageGoal(SENTENCES[2]))))
    assert not np.array_equal(actions(decisions), actions(play(made, seeds=AgentSeeds(1, 3))))


@pytest.mark.parametrize("name", INSTRUCTED_METHODS)
def test_images_and_codes_of_them_give_the_same_decisions(name):
    made = agent(name)
    seen = play(made)
    made.reset(Observation(latent=made.encode(observation())), SAY, SEEDS)
    coded = [
        made.act(Observation(latent=made.encode(observation(step)))) for step in range(len(seen))
    ]
    np.testing.assert_array_equal(actions(seen), actions(coded))


@pytest.mark.parametrize(
    ("name", "levels", "new"),
    [
        ("lbp", 3, [True] * 4),
        ("lbp_forward", 3, [True] * 4),
        ("lbp_parallel", 3, [True] * 4),
        ("susie_style", 1, [True, False, False, True]),
        ("lcbc", 0, [False] * 4),
        ("glcbc", 1, [False] * 4),
    ],
)
def test_a_method_plans_at_every_step_or_as_its_name_says(name, levels, new):
    decisions = play(agent(name))
    assert [decision.plan is not None for decision in decisions] == new
    for decision in decisions:
        if decision.plan is not None:
            assert decision.plan.latents.shape == (levels, 720)
            assert decision.plan.codes.shape == (levels, 144)
            np.testing.assert_array_equal(decision.plan.codes[0], decision.target)
        if levels:
            assert decision.distance > 0
            attention = [decision.info[f"attention_{i}"] for i in range(levels + 1)]
            assert sum(attention) == pytest.approx(1.0, abs=1e-5)
        else:
            assert decision.target is None and decision.distance is None


def test_a_goal_image_replaces_the_goal_predictor():
    made = agent("lbp")
    planner = made.planner
    planner.goal_predictor.forward = None  # calling it would raise
    goal = ImageGoal(observation(9).images)
    decisions = play(made, goal)
    target = made.vqvae.lookup(made.vqvae.encode(torch.from_numpy(goal.images["camera"])[None]))
    for decision in decisions:
        assert torch.equal(decision.plan.latents[-1], target[0])
    as_latent = play(made, LatentGoal(made.encode(observation(9))))
    np.testing.assert_array_equal(actions(decisions), actions(as_latent))
    assert made.distance(observation(9)) == 0.0
    np.testing.assert_array_equal(made.goal_latent, made.encode(observation(9)))


def test_a_new_sentence_in_the_middle_of_an_episode_replans_at_once():
    """With one prediction left, the action is the first of the newest chunk."""
    for name in ("lbp", "susie_style"):
        made = agent(name)
        made.reset(observation(), SAY, SEEDS)
        for step in range(2):
            made.act(observation(step))
        made.pursue(LanguageGoal(SENTENCES[2]))
        state = made._noise.get_state()
        decision = made.act(observation(2))
        assert decision.plan is not None
        draws = torch.Generator()
        draws.set_state(state)
        latent = made.vqvae.lookup(torch.from_numpy(decision.latent.astype(np.int64)))[None]
        language = made.sentences.embed(SENTENCES[2])[None]
        plan = decision.plan.latents[None]
        with torch.no_grad():
            conditions, _ = made.learned.conditions(latent, plan, language)
        chunk = made.learned.head.sample(conditions, draws)[0]
        np.testing.assert_array_equal(decision.action, chunk[0].numpy())


def test_a_sentence_that_is_refused_changes_nothing():
    made = agent("lbp")
    expected = actions(play(made, steps=3))
    made.reset(observation(), SAY, SEEDS)
    found = [made.act(observation(0)).action]
    for text, message in (
        ("", "the instruction for lbp is empty"),
        ("sing a song", r'"sing a song" is not among the 3 .*nearest are'),
        ("go " * 200, "has 600 characters; 400 are allowed"),
    ):
        with pytest.raises(GoalError, match=message) as raised:
            made.pursue(LanguageGoal(text))
        assert "\n" not in str(raised.value)
    found += [made.act(observation(step)).action for step in (1, 2)]
    np.testing.assert_array_equal(np.stack(found), expected)


def test_glcbc_pursues_what_a_demonstration_of_the_sentence_ended_with():
    made = agent("glcbc")
    made.reset(observation(), SAY, SEEDS)
    codes = made._fixed.codes[1].numpy()
    np.testing.assert_array_equal(made.goal_latent, codes)
    assert made.distance(Observation(latent=codes.astype(np.uint16))) == 0.0


@pytest.mark.parametrize("name", ["lcbc", "lbp_forward", "lbp_parallel", "susie_style"])
def test_goal_images_are_refused_by_methods_that_cannot_use_them(name):
    made = agent(name)
    with pytest.raises(GoalError, match=f"{name} takes language goals, not a goal of kind image"):
        made.reset(observation(), ImageGoal(observation(9).images), SEEDS)


def test_what_an_agent_cannot_do_is_one_clear_error():
    made = agent("lbp")
    with pytest.raises(InputError, match="call reset before act"):
        made.act(observation())
    with pytest.raises(GoalError, match="cannot pursue given subgoals"):
        made.reset(observation(), SAY, SEEDS, subgoals=[SAY])
    for name in ("lcbc", "lbp_forward"):
        silent = agent(name)
        play(silent)
        with pytest.raises(InputError, match=f"{name} knows no latent of the goal"):
            _ = silent.goal_latent
        assert silent.distance(observation()) is None
    for options in (
        {"follower": FollowerConfig()},
        {"planner": PlannerConfig()},
        {"subgoals": "oracle"},
    ):
        with pytest.raises(ConfigError):
            agent("lbp", **options)


def test_settings_name_what_decisions_depend_on():
    assert agent("lbp").settings["planner"]["ratio"] == 0.5
    assert agent("lcbc").settings == {
        "planner": None,
        "policy": {"sampling_steps": 5, "temperature": 1.0, "ensemble_decay": 0.25},
    }
    assert set(PLANNERS) < set(INSTRUCTED_METHODS)


def test_one_checkpoint_serves_instructions_and_images_and_says_which_it_prefers():
    told, shown = agent("lbp"), agent("lbp_goal_image")
    assert told.spec.goals == ("language", "image", "latent")
    assert shown.spec.goals == ("image", "latent", "language")
    np.testing.assert_array_equal(actions(play(told)), actions(play(shown)))


def test_it_warms_up_and_feels_what_its_policy_was_trained_with():
    made = agent("lbp")
    warm_up(made)
    assert made._since > 0  # it acted
    checkpoint = tiny_instructed("lcbc")
    assert checkpoint.spec.proprioception == ()
    spec = dataclasses.replace(checkpoint.spec, proprioception=("x",))
    checkpoint.spec = spec
    assert build_agent("lcbc", checkpoint).spec.proprioception == ()  # its policy feels nothing
