# SPDX-License-Identifier: Apache-2.0
"""Settings of the midpoint generator, the learned part of GCP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptp_core.config.checks import require


@dataclass(frozen=True, kw_only=True)
class MidpointConfig:
    """A conditional VAE for the latent between two others (GCP, Pertsch et al. 2020, 2006.13205).

    GCP's own network is an LSTM for rooms of 32 x 32 pixels. Sizes, weights and training here are
    those of the subgoal generators (PTP authors' CcVae), so that the baselines differ in how they
    plan and not in what they can draw. The learned prior is GCP's.
    """

    z_dim: int = 8  # numbers of z (PTP authors; GCP: 256)
    hidden_channels: int = 64  # U-Net width; inner level twice as wide; encoders half as wide
    hidden_units: int = 512  # fully connected layers
    reconstruction_weight: float = 1000.0  # SmoothL1, mean over the latent (PTP authors)
    kl_weight: float = 0.1  # beta, KL(q || p) summed over z (PTP authors; GCP: 1, on other errors)
    logvar_limit: float = 10.0  # bound on |log variance| of q and p (ours): KL stays finite
    depth: int = 3  # of the tree that training draws from; at least the planner's
    learning_rate: float = 3e-4  # Adam (PTP authors; GCP: 2e-4, RAdam)
    learning_rate_decay: Literal["none", "cosine"] = "none"  # over the stage's budget
    batch_size: int = 64  # triples (PTP authors' windows; GCP: 16 whole sequences)
    gradient_clip: float = 1.0  # L2 norm (PTP authors)
    steps: int = 100_000  # batches, as for each subgoal generator
    max_minutes: float = 0.0  # wall clock; 0 = no limit

    def __post_init__(self) -> None:
        require(self, "z_dim", 1)
        require(self, "hidden_channels", 2)
        require(self, "hidden_units", 1)
        require(self, "reconstruction_weight", 0.0)
        require(self, "kl_weight", 0.0)
        require(self, "logvar_limit", 1e-3, 80.0)  # exp of more overflows float32
        require(self, "depth", 1)
        require(self, "learning_rate", 0.0)
        require(self, "batch_size", 1)
        require(self, "steps", 0)
        require(self, "max_minutes", 0.0)
