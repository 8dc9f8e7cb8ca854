# SPDX-License-Identifier: Apache-2.0
"""Benchmark of training: images and updates per second, and the time to draw a batch."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from ptp_cli.bench.measuring import BenchSettings, Figures, median, milliseconds, torch_threads
from ptp_core.config import TrainConfig, VQVAEConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.replay_buffer import ReplayBuffer
from ptp_core.data.trajectory import CARTESIAN
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.progress import Bar
from ptp_core.training.iql_stage import fill_buffer, train_iql
from ptp_core.training.vqvae_stage import train_vqvae

THREADS = 1
FRAMES = 76  # of a demonstration
CPU = torch.device("cpu")


def measure(settings: BenchSettings) -> Figures:
    """The training stages themselves, on random data: the work is the same as on real data.

    With the networks of the checkpoint, and with those of the paper.
    """
    checkpoint = settings.load()
    released = _without_auto(checkpoint.config)
    rng = np.random.default_rng(0)
    data = _random_codes(settings.pick(4000, 20), released.vqvae, rng)
    figures: Figures = {"learn_threads": THREADS, "learn_frames": len(data.codes)}
    figures |= _replay(fill_buffer(data, released.iql), released.iql.batch_size, settings, rng)
    with torch_threads(THREADS), _bar(4) as bar:
        for suffix, config in (("", released), ("_paper_networks", TrainConfig())):
            figures[f"vqvae_images_per_s{suffix}"] = _images(config, settings, rng)
            bar.update()
            vqvae = checkpoint.vqvae
            if config is not released:
                vqvae = VQVAE(config.vqvae).requires_grad_(False)
            figures[f"iql_updates_per_s{suffix}"] = _updates(config, vqvae, data, settings)
            bar.update()
    update_ms = 1e3 / figures["iql_updates_per_s"]
    figures["replay_sample_speedup"] = update_ms / figures["replay_sample_ms"]
    figures["vqvae_batch_size"] = released.vqvae.batch_size
    figures["iql_batch_size"] = released.iql.batch_size
    return figures


def _replay(
    buffer: ReplayBuffer, batch_size: int, settings: BenchSettings, rng: np.random.Generator
) -> Figures:
    times = milliseconds(lambda: buffer.sample(batch_size, rng), settings.pick(300, 5))
    return {
        "replay_sample_ms": median(times),
        "replay_batch_size": batch_size,
        "replay_bytes_per_transition": buffer.bytes_per_transition,
    }


def _images(config: TrainConfig, settings: BenchSettings, rng: np.random.Generator) -> float:
    """Images a second of the encoder's training, with quantisation."""
    vqvae = dataclasses.replace(config.vqvae, quantise_after=0, **_budget(settings))
    config = dataclasses.replace(config, vqvae=vqvae)
    shape = (2 * vqvae.batch_size, vqvae.image_size, vqvae.image_size, 3)
    images = rng.integers(256, size=shape, dtype=np.uint8)
    with _folder() as folder:
        _, result = train_vqvae(
            config, images, folder, validation=images[:8], device=CPU, progress=False
        )
    return vqvae.batch_size * result["steps"] / result["seconds"]


def _updates(
    config: TrainConfig, vqvae: VQVAE, data: EncodedDataset, settings: BenchSettings
) -> float:
    """Gradient steps a second of IQL, drawing batches included."""
    iql = dataclasses.replace(config.iql, **_budget(settings))
    config = dataclasses.replace(config, iql=iql)
    validation, _ = data.split(0.1)
    with _folder() as folder:
        _, result = train_iql(
            config, vqvae, data, folder, validation=validation, device=CPU, progress=False
        )
    return result["steps"] / result["seconds"]


def _budget(settings: BenchSettings) -> dict[str, float | int]:
    if settings.quick:
        return {"steps": 2, "max_minutes": 0.0}
    return {"steps": 10**6, "max_minutes": 0.25}


def _without_auto(config: TrainConfig) -> TrainConfig:
    if config.iql.reward_epsilon != "auto":
        return config
    return dataclasses.replace(config, iql=dataclasses.replace(config.iql, reward_epsilon=2.0))


def _random_codes(
    trajectories: int, config: VQVAEConfig, rng: np.random.Generator
) -> EncodedDataset:
    frames = trajectories * FRAMES
    return EncodedDataset(
        codes=rng.integers(
            config.codebook_size, size=(frames, config.latent.codes), dtype=np.uint16
        ),
        actions=rng.uniform(-1, 1, size=(frames, len(CARTESIAN))).astype(np.float32),
        lengths=np.full(trajectories, FRAMES),
        encoder_id="random",
    )


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ptp-bench-") as folder:
        yield Path(folder)


def _bar(total: int) -> Bar:
    return Bar(total=total, desc="learn", unit="training", leave=False)
