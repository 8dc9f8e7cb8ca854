# SPDX-License-Identifier: Apache-2.0
"""Networks of legs are judged on the stages of a scripted plan, and their plan beside the true."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from ptp_core.agents.registry import build_agent
from ptp_core.data.env_spec import reset_options
from ptp_core.diagnosis.leg_judgements import leg_judgements
from ptp_core.errors import ConfigError, InputError
from ptp_core.rollout.episode_results import episode_seeds
from ptp_core.tiny_networks import tiny_networks
from ptp_core.toy_env import ToyEnv

DRAW = {"protocol": "varied", "episodes": 2, "seed": 4}


class StagedToy(ToyEnv):
    """The toy with one stage before its goal."""

    def reset(self, *, seed=None, options=None):
        image, info = super().reset(seed=seed, options=options)
        if options.get("stage_images"):
            info["stage_images"] = np.stack([image // 2])
        return image, info


def legs_agent(bias=None):
    """``bias``: of the classifier's answer, whether two states show the same work."""
    checkpoint = tiny_networks(diffusion=True)
    if bias is not None:
        checkpoint.part("classifier").body[-1].bias.fill_(bias)
    return build_agent("ptp_legs", checkpoint)


def judged(agent, env=None, tasks=("A", "B"), **changes):
    *_, figures = leg_judgements(env or StagedToy(), agent, tasks, **DRAW | changes)
    return figures


def test_every_stage_is_a_leg_and_every_scene_counts():
    figures = judged(legs_agent())
    assert set(figures) == {"A", "B"}
    for row in figures.values():
        assert [leg["scenes"] for leg in row["legs"]] == [2, 2]
        assert (row["plans"]["scenes"], row["plans"]["true_legs"]) == (2, 2.0)
        assert row["plans"]["missed"] in (0.0, 0.5, 1.0)


@pytest.mark.parametrize(("bias", "same"), [(30.0, 1.0), (-30.0, 0.0)])
def test_shares_are_what_the_classifier_says(bias, same):
    row = judged(legs_agent(bias), tasks=("A",))["A"]
    for leg in row["legs"]:
        assert (leg["known"], leg["told_apart"]) == (same, 1 - same)
        assert leg["work_left"] == pytest.approx(0.0 if same else 30.0, abs=1.0)
    assert row["plans"]["first"] == same


def test_the_error_is_that_of_the_end_drawn_from_the_true_start():
    agent, env = legs_agent(), StagedToy()
    leg = judged(agent, env, ("A",), episodes=1)["A"]["legs"][0]
    seeds = episode_seeds(DRAW["seed"], "A", 0)
    options = {**reset_options("A", "varied"), "stage_images": True}
    image, info = env.reset(seed=seeds.env, options=options)
    seen = torch.from_numpy(np.stack([image, *info["stage_images"]]))
    planner = agent.planner
    with torch.no_grad():
        start, end = planner.vqvae.lookup(planner.vqvae.encode(seen))
        z = planner.generator.encode(start[None], end[None])[0]
        drawn = planner.vqvae.quantise(planner.generator(z, start[None]))[1][0]
    assert leg["error"] == pytest.approx(float(functional.smooth_l1_loss(drawn, end)))
    assert leg["copied"] == pytest.approx(float(functional.smooth_l1_loss(start, end)))


def test_an_agent_without_legs_and_an_environment_without_stages_are_clear_errors():
    with pytest.raises(ConfigError, match="diffusion_bc plans no legs"):
        judged(build_agent("diffusion_bc", tiny_networks(diffusion=True)))
    with pytest.raises(InputError, match="ToyEnv gives no images of its stages"):
        judged(legs_agent(), ToyEnv())
