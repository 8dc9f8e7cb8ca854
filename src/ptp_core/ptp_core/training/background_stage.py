# SPDX-License-Identifier: Apache-2.0
"""Train one stage in a second process, while this one trains others that do not depend on it.

On a CPU, two processes with one thread each are faster than one process with two threads, which
synchronise after every small operation.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from ptp_core.config import TrainConfig
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.processes import follow_parent


@contextmanager
def in_background(
    train: Callable[..., Any],
    config: TrainConfig,
    vqvae: VQVAE,
    data: EncodedDataset,
    folder: Path,
    *,
    validation: EncodedDataset,
    progress: bool = True,
) -> Iterator[None]:
    """Run ``train``, a stage's function, with these arguments in another process.

    Leaving the block waits for it. After an exception, Ctrl-C included, it first saves its state.
    Its result is in ``folder``: call ``train`` afterwards, which loads it, or continues the
    training and raises the error that stopped the process.
    """
    context = multiprocessing.get_context("spawn")
    weights = {name: value.cpu() for name, value in vqvae.state_dict().items()}
    process = context.Process(
        target=_run,
        args=(train, config, weights, vqvae.codebook.device, data, folder, validation, progress),
        name=train.__name__,
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


def _run(train, config, weights, device, data, folder, validation, progress) -> None:
    follow_parent(signal.SIGTERM)
    torch.set_num_threads(1)
    vqvae = VQVAE(config.vqvae)
    vqvae.load_state_dict(weights)
    vqvae.to(device).eval().requires_grad_(False)
    with suppress(KeyboardInterrupt):  # saved; the parent reports it
        train(config, vqvae, data, folder, validation=validation, progress=progress, row=1)
