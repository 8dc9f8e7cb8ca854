# SPDX-License-Identifier: Apache-2.0
"""Whatever an agent looks at and is told, it acts once before anybody waits for it."""

import numpy as np
import pytest

from ptp_core.agents.agent import (
    AgentSeeds,
    AgentSpec,
    CameraSpec,
    Decision,
    LatentGoal,
    LatentSpec,
    Observation,
    StateGoal,
    warm_up,
)
from ptp_core.agents.registry import build_agent
from ptp_core.errors import GoalError, ObservationError
from ptp_core.tiny_networks import tiny_networks

EYES = (CameraSpec("front", 8, 12), CameraSpec("wrist", 4, 4))
FLOATS = LatentSpec("values", (3, 2), "encoder")


class CheckingAgent:
    """Checks what it gets as any agent does, and keeps it."""

    def __init__(self, **spec):
        self.spec = AgentSpec(agent="checking", actions=("x",), **spec)
        self.seen, self.goals, self.subgoals = [], [], []

    def reset(self, observation, goal, seeds, *, subgoals=None, cancelled=None):
        self.spec.check_goal(goal)
        self.goals.append(goal.kind)
        self.subgoals.append(subgoals)

    def act(self, observation, cancelled=None):
        self.spec.check_observation(observation)
        self.seen.append(observation)
        return Decision(np.zeros(1, np.float32))


@pytest.mark.parametrize(
    ("spec", "goal"),
    [
        ({"cameras": EYES, "goals": ("image",)}, "image"),
        ({"cameras": EYES, "goals": ("image", "language"), "proprioception": ("a",)}, "language"),
        ({"cameras": EYES, "goals": ("image", "latent"), "latent": FLOATS}, "latent"),
        ({"cameras": (), "goals": ("language",), "proprioception": ("a", "b")}, "language"),
        ({"cameras": (), "goals": ("state",), "proprioception": ("a", "b")}, "state"),
    ],
)
def test_every_agent_acts_once_on_what_its_spec_names(spec, goal):
    agent = CheckingAgent(**spec)
    warm_up(agent)
    assert (len(agent.seen), agent.goals) == (1, [goal])
    assert agent.subgoals == [None if agent.spec.latent is None else ()]


@pytest.mark.parametrize("state", [np.zeros(1), np.array([0, np.nan]), np.zeros((1, 2))])
def test_a_goal_state_that_is_not_one_of_the_agents_is_named(state):
    spec = AgentSpec("felt", (), ("x",), goals=("state",), proprioception=("a", "b"))
    with pytest.raises(GoalError, match=r"must be 2 finite numbers \(a, b\), not float64"):
        spec.check_goal(StateGoal(state))


def test_an_agent_that_takes_no_black_scene_stays_as_it_is():
    class Picky(CheckingAgent):
        def act(self, observation, cancelled=None):
            raise ObservationError("the image is black")

    warm_up(agent := Picky(cameras=EYES, goals=("image",)))
    assert not agent.seen


def test_what_comes_after_it_is_as_without_it():
    rng = np.random.default_rng(0)
    first, goal = rng.integers(0, 32, (2, 144)).astype(np.uint16)
    actions = []
    for warm in (False, True):
        agent = build_agent("model_free", tiny_networks())
        if warm:
            warm_up(agent)
        agent.reset(Observation(latent=first), LatentGoal(goal), AgentSeeds(1, 2))
        actions.append(agent.act(Observation(latent=first)).action)
    assert np.array_equal(*actions)
