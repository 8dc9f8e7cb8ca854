# SPDX-License-Identifier: Apache-2.0
"""Train the subgoal generators in a second process while this one trains the policy.

The two do not depend on each other. On a CPU, two processes with one thread each are faster than
one process with two threads, which synchronise after every small operation.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from ptp_core.config import TrainConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.processes import follow_parent
from ptp_core.training.subgoal_stage import train_generators


@contextmanager
def generators_in_background(
    config: TrainConfig,
    vqvae: VQVAE,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    device: torch.device,
    progress: bool = True,
) -> Iterator[None]:
    """Run ``train_generators`` with these arguments in another process during the block.

    Leaving the block waits for it. After an exception, Ctrl-C included, it first saves its state.
    Its result is in ``folder``: call ``train_generators`` afterwards, which loads it, or continues
    the training and raises the error that stopped the process.
    """
    context = multiprocessing.get_context("spawn")
    weights = {name: value.cpu() for name, value in vqvae.state_dict().items()}
    process = context.Process(
        target=_train_in_background,
        args=(config, weights, data, folder, validation, device, progress),
        name="generators",
        daemon=True,
    )
    process.start()
    try:
        yield
    except BaseException:
        process.terminate()
        raise
    finally:
        process.join()


def _train_in_background(config, weights, data, folder, validation, device, progress) -> None:
    follow_parent(signal.SIGTERM)
    torch.set_num_threads(1)
    vqvae = VQVAE(config.vqvae)
    vqvae.load_state_dict(weights)
    vqvae.to(device).eval().requires_grad_(False)
    with suppress(KeyboardInterrupt):  # saved; the parent reports it
        train_generators(
            config,
            vqvae,
            data,
            folder,
            validation=validation,
            device=device,
            progress=progress,
            row=1,
        )
