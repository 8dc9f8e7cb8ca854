# SPDX-License-Identifier: Apache-2.0
"""Settings of the baselines LEAP and GCP: their planners and their training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ptp_core.config.loading import require
from ptp_core.config.network_config import LatentVAEConfig
from ptp_core.errors import ConfigError


class Legs(NamedTuple):
    """A path split at its subgoals into legs."""

    count: int  # legs, the last of which ends at the goal
    subgoals: int  # between start and goal
    taus: tuple[int, ...]  # steps left at the beginning of each leg; a leg takes tau + 1 steps


def split_horizon(horizon: int, leg_limit: int) -> Legs:
    """Split a path into the fewest legs, ceil((horizon + 1) / (leg_limit + 1)) (LEAP's code).

    ``horizon`` and ``leg_limit`` are steps left, so that the path takes horizon + 1 steps.
    The legs share these evenly. Where that leaves a remainder the first legs are one step longer
    (ours). Raises ConfigError for a negative number.
    """
    if horizon < 0 or leg_limit < 0:
        raise ConfigError(
            f"a horizon of {horizon} steps in legs of at most {leg_limit}: neither may be negative"
        )
    steps = horizon + 1
    count = -(-steps // (leg_limit + 1))
    each, longer = divmod(steps, count)
    taus = (each,) * longer + (each - 1,) * (count - longer)
    return Legs(count, count - 1, taus)


@dataclass(frozen=True, kw_only=True)
class LeapConfig:
    """LEAP: cross-entropy method over the latents of all subgoals (arXiv 1911.08453 and code)."""

    subgoals: int = 3  # K, between start and goal (authors: horizon 99, legs of at most 25)
    samples: int = 1000  # candidate plans an iteration (authors)
    iterations: int = 15  # evaluations (authors)
    elite_fraction: float = 0.05  # of the samples; the next iteration is fitted to them (authors)
    initial_std: float = 1.5  # of the first samples, in units of the prior's 1 (authors)
    prior_weight: float = 0.001  # w of sum log N(z; 0, I); authors: 0.1 for their point mass

    def __post_init__(self) -> None:
        require(self, "subgoals", 0)
        require(self, "samples", 1)
        require(self, "iterations", 1)
        require(self, "elite_fraction", 1e-6, 1.0)
        require(self, "initial_std", 1e-6)
        require(self, "prior_weight", 0.0)

    @property
    def elites(self) -> int:
        """Samples that the next iteration is fitted to, at least one."""
        return max(1, round(self.elite_fraction * self.samples))

    @classmethod
    def for_horizon(cls, horizon: int, leg_limit: int, **overrides) -> LeapConfig:
        """Settings with as many subgoals as ``split_horizon`` gives."""
        return cls(**{"subgoals": split_horizon(horizon, leg_limit).subgoals, **overrides})


@dataclass(frozen=True, kw_only=True)
class MidpointConfig:
    """A conditional VAE for the latent between two others (GCP, Pertsch et al. 2020, 2006.13205).

    GCP's own network is an LSTM for rooms of 32 x 32 pixels. Sizes, weights and training here are
    those of the subgoal generators (PTP authors' CcVae), so that the baselines differ in how they
    plan and not in the capacity of their networks. The learned prior is GCP's.
    """

    z_dim: int = 8  # dimensions of z (PTP authors; GCP: 256)
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


@dataclass(frozen=True, kw_only=True)
class GcpConfig:
    """Goal-conditioned predictors: a tree of midpoints (Pertsch et al. 2020, 2006.13205).

    A plan has 2^depth latents, the last of which is the goal.
    """

    depth: int = 3  # layers; 7 midpoints and the goal: as many as PTP's K = 8
    samples: tuple[int, ...] = (10, 10, 5)  # candidates a pair, for each layer from the top
    # GCP's code: 10 in each of the top two layers, 5 for what lies below.

    def __post_init__(self) -> None:
        require(self, "depth", 1, 10)  # GCP's deepest tree has 8 layers
        if len(self.samples) < self.depth:
            raise ConfigError(
                f"GcpConfig.samples has {len(self.samples)} values for {self.depth} layers; "
                "give one number a layer"
            )
        if min(self.samples) < 1:
            raise ConfigError(f"GcpConfig.samples is {self.samples}; each must be at least 1")

    @property
    def subgoals(self) -> int:
        """Latents of a plan, the goal included."""
        return 2**self.depth


@dataclass(frozen=True, kw_only=True)
class BaselinesConfig:
    """Everything that `ptp pretrain-baselines` needs beside a checkpoint and its data."""

    seed: int = 0
    threads: int = 1  # torch threads, set once by the program's entry point
    device: Literal["cpu", "cuda", "auto"] = "auto"
    save_minutes: float = 2.0  # wall clock between saved states of a stage
    log_every: int = 100  # gradient steps between scalars
    vae: LatentVAEConfig = field(default_factory=LatentVAEConfig)  # LEAP's
    midpoints: MidpointConfig = field(default_factory=MidpointConfig)  # GCP's
    leap: LeapConfig = field(default_factory=LeapConfig)
    gcp: GcpConfig = field(default_factory=GcpConfig)

    def __post_init__(self) -> None:
        require(self, "seed", 0)
        require(self, "threads", 1)
        require(self, "save_minutes", 0.0)
        require(self, "log_every", 1)
        if self.midpoints.depth < self.gcp.depth:
            raise ConfigError(
                f"gcp.depth is {self.gcp.depth} and midpoints.depth {self.midpoints.depth}: "
                "train on trees at least as deep as those that are planned"
            )
