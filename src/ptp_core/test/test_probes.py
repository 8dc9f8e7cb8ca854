# SPDX-License-Identifier: Apache-2.0
"""Probes find what an input holds, do not find what it lacks, and see what an encoder loses."""

import dataclasses

import numpy as np
import pytest
import torch

from ptp_core.config import DataConfig
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.dataset import Dataset
from ptp_core.diagnosis.probes import (
    MOST_LOSS,
    first_frames,
    position_probes,
    probe_inputs,
    regress,
)
from ptp_core.errors import DatasetError
from ptp_core.tiny_networks import tiny_vqvae
from ptp_core.toy_env import ToyEnv

FRAMES = 150


class SceneToy(ToyEnv):
    """The toy, which tells where hand and block are at the reset."""

    def reset(self, *, seed=None, options=None):
        image, info = super().reset(seed=seed, options=options)
        points = {"hand": self._hand, "block": self._block}
        scene = {f"{n}_{axis}": p[i] for n, p in points.items() for i, axis in enumerate("xy")}
        return image, {**info, "scene": scene}


TOY = DataConfig(env=f"{__name__}:SceneToy", trajectories=30, steps=2, num_envs=1)


@pytest.fixture(scope="module")
def images():
    env = ToyEnv()
    options = {"task": "demonstration"}
    return np.stack([env.reset(seed=seed, options=options)[0] for seed in range(FRAMES)])


def probes(vqvae, images, numbers):
    *_, figures = position_probes(vqvae, images, numbers)
    return figures


def test_a_linear_probe_finds_a_linear_number_exactly_and_not_one_that_is_absent():
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randn(400, 12, generator=draws, dtype=torch.float64)
    planted = inputs @ torch.randn(12, generator=draws, dtype=torch.float64) + 7
    absent = torch.randn(400, generator=draws, dtype=torch.float64)
    found = regress("linear", inputs, torch.stack([planted, absent], 1), 320)
    assert (found[:, 0] - planted[320:]).abs().max() < 1e-4
    assert (found[:, 1] - absent[320:]).square().mean() > 0.8 * absent[320:].var()


def test_only_a_kernel_finds_what_is_no_linear_function():
    draws = torch.Generator().manual_seed(1)
    inputs = 2 * torch.rand(400, 2, generator=draws, dtype=torch.float64) - 1
    curved = (inputs.square().sum(1) * 3).sin()[:, None]
    errors = {
        name: (regress(name, inputs, curved, 320) - curved[320:]).abs().median()
        for name in ("linear", "kernel")
    }
    assert errors["kernel"] < 0.01 < 0.2 < errors["linear"]


def test_a_position_in_the_latents_is_recovered_and_one_that_nothing_shows_is_not(images):
    vqvae = tiny_vqvae()
    latents = probe_inputs(vqvae, images)["latents"].numpy()
    shown = latents @ np.linalg.svd(latents - latents.mean(0))[2][:3].sum(0)  # what varies most
    hidden = np.random.default_rng(1).uniform(-1, 1, FRAMES)
    figures = probes(vqvae, images, {"shown": shown, "hidden": hidden, "same": np.ones(FRAMES)})
    assert (figures["frames"], figures["trained"]) == (FRAMES, 120)
    assert figures["unchanging"] == ["same"]
    rows = figures["numbers"]
    assert list(rows) == ["shown", "hidden"]
    assert rows["shown"]["linear"]["latents"]["median"] < 0.1 * rows["shown"]["constant"]["median"]
    for regression in ("linear", "kernel"):
        for source in ("latents", "unquantised", "pixels"):
            error = rows["hidden"][regression][source]["median"]
            assert error > 0.7 * rows["hidden"]["constant"]["median"]


def test_what_an_encoder_loses_is_seen_beside_the_pixels(images):
    """All codes of this encoder are one: its latents hold nothing, its pixels everything."""
    vqvae = tiny_vqvae()
    vqvae.codebook.copy_(vqvae.codebook[:1].expand_as(vqvae.codebook))
    brightness = images.reshape(FRAMES, -1).astype(np.float64) @ np.linspace(-1, 1, 48 * 48 * 3)
    row = probes(vqvae, images, {"brightness": brightness})["numbers"]["brightness"]["linear"]
    assert row["loss"] == row["latents"]["median"] / row["pixels"]["median"] > MOST_LOSS
    assert row["kept"] is False


def test_angles_are_probed_around_the_circle(images):
    """Yaws on both sides of pi are neighbours, and their errors are degrees."""
    near_pi = np.pi + np.random.default_rng(2).uniform(-0.1, 0.1, FRAMES)
    wrapped = (near_pi + np.pi) % (2 * np.pi) - np.pi
    row = probes(tiny_vqvae(), images, {"drawer_yaw": wrapped})["numbers"]["drawer_yaw"]
    assert row["unit"] == "deg"
    assert 1 < row["constant"]["median"] < 5  # half of 0.1 rad
    assert row["kernel"]["pixels"]["p90"] < 10


def test_frames_and_their_numbers_come_from_the_data(tmp_path):
    collect(TOY, tmp_path / "data", progress=False)
    data = Dataset(tmp_path / "data")
    images, numbers = first_frames(data)
    assert images.shape == (30, 48, 48, 3)
    assert list(numbers) == ["hand_x", "hand_y", "block_x", "block_y"]
    for trajectory, image, x in zip(data, images, numbers["block_x"], strict=True):
        assert np.array_equal(trajectory.images["camera"][0], image)
        assert trajectory.metadata.scene["block_x"] == x
    assert len(first_frames(data, most=25)[0]) == 25


def test_data_that_name_no_scene_are_refused(tmp_path):
    toy = dataclasses.replace(TOY, env="ptp_core.toy_env:make_env", trajectories=3)
    collect(toy, tmp_path / "data", progress=False)
    with pytest.raises(DatasetError, match="0 trajectories name their scene, 20 are needed"):
        first_frames(Dataset(tmp_path / "data"))
