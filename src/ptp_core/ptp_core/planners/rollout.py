# SPDX-License-Identifier: Apache-2.0
"""Predict subgoals recursively: h_{t+1} = VQ(decode(z_t, h_t)) (paper section III-B)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch

from ptp_core.models.shared_context import ContextFeatures, context_features, decode_from_features
from ptp_core.models.unet import ConditionalUNet
from ptp_core.models.vqvae import VQVAE

CPU_BATCH = 64  # predictions at once: activations of the U-Net stay in the cache
CUDA_BATCH = 8192  # predictions at once: bounds the memory


def unroll(
    generator: ConditionalUNet,
    vqvae: VQVAE,
    start: torch.Tensor,
    z: torch.Tensor,
    run: Callable[..., Iterable] = map,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Predict (codes (S, N, K, L), latents (S, N, K, D)) from start (S, D), z (S, N, K, Z).

    All samples of a segment share their first context, so its features are computed once.
    ``run`` maps a function over blocks of samples; an executor's ``map`` does it in parallel,
    with the same result to the bit.
    """
    samples = z.shape[1]
    batch = CUDA_BATCH if z.is_cuda else CPU_BATCH
    rows = max(1, batch // samples)  # segments in a block
    features = zip(*(feature.split(rows) for feature in context_features(generator, start)))
    blocks = [
        (ContextFeatures(*shared), part)
        for shared, row in zip(features, z.split(rows))
        for part in row.split(batch, dim=1)
    ]
    done = list(run(partial(_unroll_block, generator, vqvae), blocks))
    columns = -(-samples // batch)  # blocks that a segment's samples are split into
    return tuple(
        torch.cat([torch.cat(row, dim=1) for row in zip(*[iter(tensors)] * columns)])
        for tensors in zip(*done)
    )


@torch.no_grad()  # of its own: the grad mode of a thread does not reach the threads it starts
def _unroll_block(
    generator: ConditionalUNet, vqvae: VQVAE, block: tuple[ContextFeatures, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """``unroll`` for one block that is small enough to be predicted at once."""
    features, z = block
    segments, samples, steps, z_dim = z.shape
    raw = decode_from_features(generator, z[:, :, 0], features).flatten(0, 1)
    codes, latents = [], []
    for step in range(steps):
        if step:
            raw = generator(z[:, :, step].reshape(-1, z_dim), latents[-1])
        predicted_codes, predicted = vqvae.quantise(raw)
        codes.append(predicted_codes)
        latents.append(predicted)
    shape = (segments, samples, steps, -1)
    return torch.stack(codes, 1).view(shape), torch.stack(latents, 1).view(shape)
