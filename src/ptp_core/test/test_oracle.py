# SPDX-License-Identifier: Apache-2.0
"""Oracle subgoals beside the agent's own plans: equal scenes, counts, parts of the goal."""

import numpy as np
import pytest

from ptp_core.agents.registry import AgentOptions, build_agent
from ptp_core.config import FollowerConfig
from ptp_core.diagnosis.oracle import oracle_success
from ptp_core.errors import InputError
from ptp_core.rollout.episode_results import wilson_interval
from ptp_core.tiny_networks import tiny_networks
from ptp_core.toy_env import ToyEnv

DRAW = {"protocol": "varied", "episodes": 2, "seed": 3, "max_steps": 6}


class StagedToy(ToyEnv):
    """The toy with images of stages on request; it is solved where they were requested."""

    def __init__(self):
        super().__init__()
        self.seeds = []

    def reset(self, *, seed=None, options=None):
        self._asked = options.get("stage_images", False)
        self.seeds.append((seed, self._asked))
        image, info = super().reset(seed=seed, options=options)
        if self._asked:
            info["stage_images"] = np.stack([image // 2])
        return image, info

    def _info(self):
        parts = {"block": self._asked, "hand": self._steps < 6}
        return {**super()._info(), "success": self._asked, "parts": parts}


@pytest.fixture(scope="module")
def agent():
    return build_agent("ptp", tiny_networks())


def test_both_kinds_of_subgoals_are_counted_apart_in_the_same_scenes(agent):
    env = StagedToy()
    *_, figures = oracle_success(env, agent, ["A", "B"], **DRAW)
    assert list(figures) == ["A", "B"]
    for kinds in figures.values():
        oracle, planned = kinds["oracle"], kinds["planned"]
        assert (oracle["successes"], planned["successes"]) == (2, 0)
        assert oracle["success_interval_95"] == list(wilson_interval(2, 2))
        assert oracle["parts"] == {"block": 1.0, "hand": 0.0}
        assert planned["parts"] == {"block": 0.0, "hand": 0.0}
        assert (oracle["plan_seconds"], planned["plan_seconds"] > 0) == (None, True)
        assert 0 <= planned["idle_fraction"] <= 1
    played = env.seeds[1:]  # the first reset only asks whether there are images
    assert [asked for _, asked in played] == [True, False] * 4
    seeds = [seed for seed, _ in played]
    assert seeds[0::2] == seeds[1::2] and len(set(seeds)) == 4


def test_the_figures_grow_by_one_episode_at_a_time(agent):
    grown = oracle_success(StagedToy(), agent, ["A"], **DRAW)
    assert set(next(grown)["A"]) == {"oracle"}
    assert next(grown)["A"]["planned"]["episodes"] == 1
    assert len(list(grown)) == 2


def test_a_method_without_a_planner_pursues_the_goal_itself():
    follower = FollowerConfig(timeout=2, distance_threshold=0.0)
    agent = build_agent("model_free", tiny_networks(), AgentOptions(follower=follower))
    *_, figures = oracle_success(StagedToy(), agent, ["A"], **DRAW)
    rows = figures["A"]
    assert moved_past(rows["planned"]) == 0 < moved_past(rows["oracle"])


def moved_past(row):
    return row["subgoals_reached"] + row["subgoals_timed_out"]


def test_an_environment_without_stage_images_is_one_clear_line(agent):
    with pytest.raises(InputError, match="ToyEnv gives no images of its stages"):
        next(oracle_success(ToyEnv(), agent, ["A"], **DRAW))
