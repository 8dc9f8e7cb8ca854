# SPDX-License-Identifier: Apache-2.0
"""Single primitives: the expert leaves a goal, and an agent pursues it in the same scene."""

import numpy as np
import pytest

from ptp_core.agents.agent import AgentSpec, CameraSpec, Decision
from ptp_core.agents.registry import build_agent
from ptp_core.data.env_spec import spec_of
from ptp_core.data.trajectory import CARTESIAN
from ptp_core.diagnosis.single_primitives import RETREAT, expert_end, primitive_success
from ptp_core.errors import InputError
from ptp_core.tiny_networks import tiny_networks
from ptp_core.toy_env import PRIMITIVES, ToyEnv

DRAW = {"protocol": "varied", "episodes": 3, "seed": 1}
REACH = {"task": "demonstration", "primitive": "reach"}


class ScriptedAgent:
    """Acts as the toy's own expert does (or not at all), and keeps the goals that it was given."""

    spec = AgentSpec("scripted", (CameraSpec("camera", 48, 48),), CARTESIAN, ("image",))
    settings, learned = {}, None

    def __init__(self, env, still=False):
        self.env, self.still = env, still
        self.goals, self.starts = [], []

    def reset(self, observation, goal, seeds, *, subgoals=None, cancelled=None):
        assert list(subgoals) == [goal]
        self.goals.append(goal.images["camera"])
        self.starts.append(observation.images["camera"])

    def act(self, observation, cancelled=None):
        action = self.env._expert(self.env._success())
        return Decision(np.zeros_like(action) if self.still else action)

    def distance(self, observation):
        return None


class CrookedToy(ToyEnv):
    """The toy with an expert that goes the wrong way with the block."""

    def _expert(self, success):
        action = super()._expert(success)
        return -action if self._primitive == "carry" else action


class Unnamed(ToyEnv):
    """A toy that declares no primitives."""

    primitives = ()


def play(env, agent, **changes):
    *_, figures = primitive_success(env, agent, spec_of(env, "toy").primitives, **DRAW | changes)
    return figures


def test_an_agent_that_is_the_expert_succeeds_always_and_never_hesitates():
    env = ToyEnv()
    figures = play(env, ScriptedAgent(env))
    assert list(figures) == list(PRIMITIVES)
    for row in figures.values():
        assert (row["successes"], row["episodes"], row["expert_failed"]) == (3, 3, 0)
        assert row["success_rate"] == 1.0
        assert row["idle_fraction"] < 0.2
        assert {run["steps"] for run in row["runs"]} == {150}


def test_an_agent_that_stands_still_fails_and_hesitates_all_the_time():
    env = ToyEnv()
    figures = play(env, ScriptedAgent(env, still=True), pursuit=10)
    assert sum(row["successes"] for row in figures.values()) == 0
    assert {row["idle_fraction"] for row in figures.values()} == {1.0}


def test_the_goal_is_what_the_expert_left_in_the_scene_that_the_agent_starts_in():
    env = ToyEnv()
    agent = ScriptedAgent(env)
    figures = play(env, agent)
    for number, run in enumerate(figures["reach"]["runs"]):
        options = {**REACH, "protocol": "varied"}
        left = expert_end(env, run["seed"], options)
        assert np.array_equal(agent.goals[number], left["camera"])
        assert np.array_equal(
            agent.starts[number], env.reset(seed=run["seed"], options=options)[0]
        )
        assert not np.array_equal(agent.goals[number], agent.starts[number])


def test_the_expert_goes_on_for_a_while_once_its_work_is_done():
    class Counted(ToyEnv):
        done = after = 0

        def step(self, action):
            found = super().step(action)
            self.after += self.done
            self.done = found[-1]["expert_done"]
            return found

    env = Counted()
    assert expert_end(env, 0, REACH) is not None
    assert env.after == RETREAT


def test_scenes_that_the_expert_cannot_solve_are_not_held_against_the_agent():
    env = CrookedToy()
    figures = play(env, ScriptedAgent(env))
    assert figures["carry"] == {"episodes": 0, "successes": 0, "expert_failed": 3}
    assert figures["reach"]["successes"] == 3


def test_networks_play_it_too():
    checkpoint = tiny_networks()
    for method in ("ptp", "model_free"):
        figures = play(ToyEnv(), build_agent(method, checkpoint), pursuit=4, episodes=1)
        assert [row["episodes"] for row in figures.values()] == [1, 1]
        assert figures["carry"]["plan_seconds"] is None  # no subgoals


def test_what_an_environment_lacks_is_one_clear_line():
    env = Unnamed()
    with pytest.raises(InputError, match="Unnamed names no primitives"):
        play(env, ScriptedAgent(env))
    with pytest.raises(InputError, match='ToyEnv: info has no "expert_action"'):
        expert_end(ToyEnv(), 0, {"task": "A"})
