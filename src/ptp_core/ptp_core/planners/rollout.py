# SPDX-License-Identifier: Apache-2.0
"""Predict subgoals recursively: h_{t+1} = VQ(decode(z_t, h_t)) (paper section III-B)."""

from __future__ import annotations

import torch

from ptp_core.models.subgoal_generator import SubgoalGenerator
from ptp_core.models.vqvae import VQVAE

CPU_BATCH = 128  # predictions at once: activations of the U-Net stay in the cache
CUDA_BATCH = 8192  # predictions at once: bounds the memory


def unroll(
    generator: SubgoalGenerator, vqvae: VQVAE, start: torch.Tensor, z: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Predict (codes (S, N, K, 144), latents (S, N, K, 720)) from start (S, 720), z (S, N, K, Z).

    All samples of a segment share their first context, so its features are computed once.
    """
    segments, samples = z.shape[:2]
    batch = CUDA_BATCH if z.is_cuda else CPU_BATCH
    features = generator.context_features(start)
    rows = []
    for first in range(0, segments, max(1, batch // samples)):
        last = min(segments, first + max(1, batch // samples))
        shared = type(features)(*(feature[first:last] for feature in features))
        blocks = [
            _unroll_block(generator, vqvae, shared, block)
            for block in z[first:last].split(batch, dim=1)
        ]
        rows.append([torch.cat(parts, dim=1) for parts in zip(*blocks)])
    codes, latents = (torch.cat(parts) for parts in zip(*rows))
    return codes, latents


def _unroll_block(generator, vqvae, features, z):
    """``unroll`` for one block that is small enough to be predicted at once."""
    segments, samples, steps, z_dim = z.shape
    raw = generator.decode_from_features(z[:, :, 0], features).flatten(0, 1)
    codes, latents = [], []
    for step in range(steps):
        if step:
            raw = generator(z[:, :, step].reshape(-1, z_dim), latents[-1])
        predicted_codes, predicted = vqvae.quantise(raw)
        codes.append(predicted_codes)
        latents.append(predicted)
    shape = (segments, samples, steps, -1)
    return torch.stack(codes, 1).view(shape), torch.stack(latents, 1).view(shape)
