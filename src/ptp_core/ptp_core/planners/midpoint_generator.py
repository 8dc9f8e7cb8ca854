# SPDX-License-Identifier: Apache-2.0
"""Conditional VAE that proposes the latent between two others, with a learned prior.

(GCP, Pertsch et al. 2020, arXiv 2006.13205; as in PTP's comparison, one network for every
node, on the VQ-VAE's latents.) Unlike in GCP, the input of a node is its two parents, without
start and goal of the whole plan, and there is no LSTM.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from ptp_core.config import LatentShape, MidpointConfig
from ptp_core.errors import DatasetError, InputError
from ptp_core.planners.subgoal_generator import ConditionalUNet, latent_encoder


class MidpointGenerator(ConditionalUNet):
    """Parents left and right + z -> the latent in the middle, before quantisation.

    Latents are float32 (B, D), D = ``latent.size``. z is (B, z_dim). Its prior p(z | left, right)
    is learned.
    ``forward`` takes z (B, z_dim) and both parents as one context (B, 2 D), see ``context``.
    """

    def __init__(self, config: MidpointConfig, latent: LatentShape) -> None:
        super().__init__()
        self.config = config
        width, units = config.hidden_channels, config.hidden_units
        self.prior_encoder = latent_encoder(latent, 2, width, units)
        self.prior_head = nn.Linear(units, 2 * config.z_dim)
        self.posterior_encoder = latent_encoder(latent, 3, width, units)
        self.posterior_head = nn.Linear(units, 2 * config.z_dim)
        self.add_unet(latent, 2, config.z_dim, width, units)

    @property
    def z_dim(self) -> int:
        """Dimensions of z."""
        return self.config.z_dim

    @staticmethod
    def context(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Context (B, 2 D) of the parents (B, D): their channels concatenated."""
        return torch.cat([left, right], dim=1)

    def prior(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance (B, z_dim) of p(z | left, right), parents (B, D)."""
        return self._gaussian(self.prior_encoder, self.prior_head, [left, right])

    def posterior(
        self, left: torch.Tensor, right: torch.Tensor, middle: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance (B, z_dim) of q(z | left, right, middle), latents (B, D).

        The encoder reads the middle as its difference from the parents' mean, as the subgoal
        generators' encoder reads a target as its difference from the context.
        """
        latents = [left, right, middle - (left + right) / 2]
        return self._gaussian(self.posterior_encoder, self.posterior_head, latents)

    def loss(
        self,
        left: torch.Tensor,
        right: torch.Tensor,
        middle: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Negative ELBO of one node (GCP's training objective), latents (B, D).

        reconstruction_weight * SmoothL1(prediction, middle) + kl_weight * KL(q || p), z from q.
        SmoothL1 is the mean over the latent, KL the sum over z. ``generator`` (CPU) draws z.
        """
        config = self.config
        mean, logvar = self.posterior(left, right, middle)
        prior_mean, prior_logvar = self.prior(left, right)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        z = mean + noise * torch.exp(0.5 * logvar)
        error = functional.smooth_l1_loss(self(z, self.context(left, right)), middle)
        q = Normal(mean, torch.exp(0.5 * logvar), validate_args=False)
        p = Normal(prior_mean, torch.exp(0.5 * prior_logvar), validate_args=False)
        kl = kl_divergence(q, p).sum(1).mean()
        total = config.reconstruction_weight * error + config.kl_weight * kl
        metrics = {"loss": total.detach(), "smooth_l1": error.detach(), "kl": kl.detach()}
        return total, metrics

    def _gaussian(self, encoder, head, latents):
        features = encoder(self.grid(torch.cat(latents, dim=1)))
        mean, logvar = head(features).chunk(2, dim=1)
        limit = self.config.logvar_limit
        return mean, logvar.clamp(-limit, limit)


def balanced_triples(end: int | np.ndarray, depth: int) -> np.ndarray:
    """Frames (left, middle, right) of every node of a balanced tree: int64 (..., 2^depth - 1, 3).

    ``end`` (...) is the index of a trajectory's last frame. The root's parents stand one step
    outside, at -1 and end + 1; a node is half-way between its parents (GCP's balanced binding),
    rounded down. Parents outside are clipped to the first and the last frame, which in GCP are
    start and goal. Layers are in order from the top, each from left to right.
    Raises InputError for a trajectory with fewer frames than nodes.
    """
    end = np.asarray(end, dtype=np.int64)
    if depth < 1 or (end < 2**depth - 2).any():
        raise InputError(
            f"a tree of depth {depth} has {2**depth - 1} nodes; a trajectory has {end.min() + 1} "
            "frames: take a depth of 1 or more, and trajectories with a frame for every node"
        )
    times = np.stack([np.full_like(end, -1), end + 1], axis=-1)
    layers = []
    for _ in range(depth):
        left, right = times[..., :-1], times[..., 1:]
        middle = (left + right) // 2
        layers.append(np.stack([left, middle, right], axis=-1))
        grown = np.empty((*end.shape, 2 * times.shape[-1] - 1), dtype=np.int64)
        grown[..., ::2], grown[..., 1::2] = times, middle
        times = grown
    return np.clip(np.concatenate(layers, axis=-2), 0, end[..., None, None])


def sample_triples(
    lengths: np.ndarray, depth: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw frames (left, middle, right) to train on: int64 (count, 3).

    ``lengths`` (trajectories,) are the frames of concatenated trajectories; the result indexes
    frames over all of them. Trajectories that are long enough are drawn uniformly, and so are the
    nodes of their trees (in GCP's loss all nodes have the same weight).
    Raises DatasetError when no trajectory is long enough.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    usable = np.flatnonzero(lengths >= 2**depth - 1)
    if not len(usable):
        raise DatasetError(
            f"no trajectory has the {2**depth - 1} frames of a tree of depth {depth}; collect "
            "longer ones or lower MidpointConfig.depth"
        )
    chosen = rng.choice(usable, count)
    nodes = rng.integers(2**depth - 1, size=count)
    starts = np.cumsum(lengths) - lengths
    triples = balanced_triples(lengths[chosen] - 1, depth)[np.arange(count), nodes]
    return starts[chosen, None] + triples
