# SPDX-License-Identifier: Apache-2.0
"""Every stage takes the sizes of its data: images of 32 x 32 and 7 actions, of 48 x 48 and 5."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium.spaces import Box

from ptp_core.config import (
    DataConfig,
    GeneratedGoalsConfig,
    IQLConfig,
    LatentShape,
    PlannerConfig,
    SubgoalGeneratorConfig,
    TrainConfig,
    VQVAEConfig,
)
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.encoded_dataset import encoded_demonstrations
from ptp_core.data.trajectory import CARTESIAN
from ptp_core.errors import ConfigError, DatasetError, SpecError
from ptp_core.practice.practice_runner import InProcessPractice
from ptp_core.practice.practice_settings import PracticeConfig
from ptp_core.rollout.evaluation import EvaluationConfig, evaluate
from ptp_core.tiny_networks import tiny_baselines_config, tiny_checkpoint
from ptp_core.toy_env import ToyEnv
from ptp_core.training.baseline_training import pretrain_baselines
from ptp_core.training.checkpoint import load_checkpoint
from ptp_core.training.pretraining import pretrain

TOY = "ptp_core.toy_env:make_env"
SMALL = f"{__name__}:SmallEnv"
NAMES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")


class SmallEnv(ToyEnv):
    """The middle of the toy's images, 32 x 32, and the seven actions of a free-moving tool."""

    action_names = NAMES
    cameras = {"camera": (32, 32)}  # noqa: RUF012

    def __init__(self, max_steps=400):
        super().__init__(max_steps)
        self.observation_space = Box(0, 255, (32, 32, 3), np.uint8)
        self.action_space = Box(-1.0, 1.0, (7,), np.float32)

    def step(self, action):
        return super().step(np.asarray(action)[[0, 1, 2, 5, 6]])

    def dataset_attributes(self):
        channels = [{"name": name} for name in NAMES]
        return {**super().dataset_attributes(), "action_channels": channels}

    def _expert(self, success):
        dx, dy, dz, dyaw, gripper = super()._expert(success)
        return np.array([dx, dy, dz, 0, 0, dyaw, gripper], np.float32)

    @staticmethod
    def _image(hand, block):
        return ToyEnv._image(hand, block)[8:40, 8:40]


def config(env, size):
    return TrainConfig(
        device="cpu",
        log_every=5,
        data=DataConfig(env=env, trajectories=6, steps=75, num_envs=1),
        vqvae=VQVAEConfig(
            image_size=size,
            embedding_dim=5 if size == 48 else 3,
            codebook_size=32,
            hidden_channels=8,
            residual_channels=4,
            residual_blocks=1,
            resampling="pixel_shuffle",
            codebook_update="ema",
            revive_after=5,
            reconstruction_weighting="foreground",
            batch_size=8,
            steps=20,
        ),
        generators=SubgoalGeneratorConfig(
            hidden_channels=4, hidden_units=16, batch_size=8, steps=5
        ),
        iql=IQLConfig(
            policy_hidden=(16,),
            q_hidden=(16,),
            value_hidden=(16,),
            policy_conv=4,
            projection_dim=16,
            batch_size=16,
            steps=5,
        ),
        imagined=GeneratedGoalsConfig(steps=5),
        planner=PlannerConfig(samples=4, iterations=1),
    )


@pytest.fixture(scope="module", params=[(TOY, 48), (SMALL, 32)], ids=["48-5", "32-7"])
def trained(request, tmp_path_factory):
    """Data, checkpoint and baselines of one environment."""
    env, size = request.param
    folder = tmp_path_factory.mktemp("sizes")
    settings = config(env, size)
    collect(settings.data, folder / "data", progress=False)
    checkpoint = pretrain(settings, folder / "data", folder / "run", progress=False)
    baselines = pretrain_baselines(
        tiny_baselines_config(),
        checkpoint,
        folder / "data",
        folder / "baselines",
        progress=False,
    )
    return SimpleNamespace(
        env=env, size=size, data=folder / "data", checkpoint=checkpoint, baselines=baselines
    )


def test_a_checkpoint_has_the_sizes_and_names_of_its_data(trained):
    loaded = load_checkpoint(trained.checkpoint)
    small = trained.size == 32
    assert loaded.vqvae.latent == (LatentShape(3, 8, 8) if small else LatentShape(5, 12, 12))
    assert loaded.actions == (NAMES if small else CARTESIAN)
    codes = encoded_demonstrations(trained.data, loaded, trained.data.parent / "codes").codes
    assert codes.shape[1] == (64 if small else 144)


@pytest.mark.parametrize(
    "method", ["ptp", "ptp_single_subgoal", "model_free", "leap", "gcp", "gcbc"]
)
def test_every_method_acts_with_these_sizes(trained, method):
    asked = EvaluationConfig(
        checkpoint=trained.baselines.get(method, trained.checkpoint),
        env=trained.env,
        method=method,
        tasks=("A",),
        episodes=1,
        max_steps=3,
    )
    assert evaluate(asked, num_envs=0, progress=False)["tasks"]["A"]["runs"][0]["steps"] == 3


def test_practice_learns_with_these_sizes(trained, tmp_path):
    demonstrations = encoded_demonstrations(
        trained.data, load_checkpoint(trained.checkpoint), tmp_path / "codes"
    )
    asked = PracticeConfig(
        checkpoint=trained.checkpoint,
        env=trained.env,
        method="model_free",
        epochs=1,
        episodes=1,
        max_steps=5,
        evaluation_episodes=1,
        learn_from="all",
        utd_ratio=1.0,
        reuse_plans=False,
    )
    practice = InProcessPractice(asked, tmp_path / "run", demonstrations)
    practice.run(progress=False)
    practice.close()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["updates"] == 5
    left = load_checkpoint(tmp_path / "run" / "checkpoint")
    assert left.actions == load_checkpoint(trained.checkpoint).actions


def test_what_does_not_fit_is_one_line_before_work_is_done(trained, tmp_path):
    other = 80 - trained.size
    wrong = config(trained.env, other)
    sizes = f"{trained.size} x {trained.size}; the encoder needs {other} x {other}"
    with pytest.raises(DatasetError, match=sizes):
        pretrain(wrong, trained.data, tmp_path / "run", progress=False)
    odd = dataclasses.replace(wrong, vqvae=dataclasses.replace(wrong.vqvae, image_size=other + 4))
    with pytest.raises(DatasetError, match=f"needs {other + 4} x {other + 4}"):
        pretrain(odd, trained.data, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_an_agent_of_other_sizes_does_not_act_here(trained):
    asked = EvaluationConfig(
        checkpoint=trained.checkpoint,
        env=TOY if trained.env == SMALL else SMALL,
        method="model_free",
        tasks=("A",),
        episodes=1,
    )
    with pytest.raises(SpecError, match="use an agent that was trained on"):
        evaluate(asked, num_envs=0, progress=False)


def test_demonstrations_with_other_actions_are_refused(trained, tmp_path):
    learned, other = (NAMES, CARTESIAN) if trained.size == 32 else (CARTESIAN, NAMES)
    tiny_checkpoint(tmp_path / "tiny", config=config(TOY, trained.size), actions=other)
    with pytest.raises(DatasetError, match=f"its actions are {', '.join(learned)}, those of"):
        encoded_demonstrations(
            trained.data, load_checkpoint(tmp_path / "tiny"), tmp_path / "codes"
        )


def test_a_grid_that_the_generators_cannot_halve_twice_is_named():
    with pytest.raises(ConfigError, match="multiple of 16"):
        VQVAEConfig(image_size=40).latent.halved_twice("a subgoal generator")
    with pytest.raises(ConfigError, match="image_size is 42; it must be a multiple of 4"):
        VQVAEConfig(image_size=42)
