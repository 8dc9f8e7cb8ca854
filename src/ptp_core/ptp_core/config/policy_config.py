# SPDX-License-Identifier: Apache-2.0
"""Settings of the chunked diffusion policy and of the goal classifier, and of their training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ptp_core.config.checks import require
from ptp_core.config.relabelling_config import RelabellingConfig
from ptp_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """Noise predictor and schedule (LBP's released code, which took them from IDQL)."""

    steps: int = 25  # diffusion steps
    sampling_steps: int = 25  # fewer: DDIM, as many times faster
    hidden_units: int = 256  # width of the residual blocks
    blocks: int = 3
    dropout: float = 0.1
    time_features: int = 32  # learned Fourier features of the step
    draws: int = 1  # pairs of step and noise for each sample of a batch

    def __post_init__(self) -> None:
        require(self, "steps", 2)
        require(self, "hidden_units", 1)
        require(self, "blocks", 0)
        require(self, "dropout", 0.0, 0.99)
        require(self, "time_features", 2)
        require(self, "draws", 1)
        if self.time_features % 2:
            raise ConfigError(f"DiffusionConfig.time_features is {self.time_features}: even only")
        if not 2 <= self.sampling_steps <= self.steps:
            raise ConfigError(
                f"DiffusionConfig.sampling_steps is {self.sampling_steps}; it must be 2 to steps, "
                f"which is {self.steps}"
            )


@dataclass(frozen=True, kw_only=True)
class ChunkedPolicyConfig:
    """A chunked diffusion policy on latents, and its behaviour cloning. Sizes are ours."""

    horizon: int = 6  # actions of a chunk (LBP)
    channels: int = 64  # of the convolutions on half the grid of codes
    blocks: int = 1  # residual blocks
    condition_units: int = 256
    dropout: float = 0.1  # of the convolutions' features
    proprioception: bool = True  # whether the policy sees it; the paper's robot has none
    head: DiffusionConfig = field(
        default_factory=lambda: DiffusionConfig(draws=2, sampling_steps=8)
    )
    relabelling: RelabellingConfig = field(
        default_factory=lambda: RelabellingConfig(future=0.6, next=0.0, original=0.4)
    )
    working_weight: float = 2.5  # how often states before the work is done, against those after
    labels: Literal["expert", "executed"] = "expert"
    # "expert": what the expert asked for, before noise (DART, arXiv 1703.09327); "executed" where
    # the data do not have it.
    ensemble_decay: float = 0.25  # weights exp(-decay k) of predictions, k = 0 the oldest (LBP)
    learning_rate: float = 1e-3  # AdamW
    learning_rate_decay: Literal["none", "cosine"] = "cosine"  # over the budget
    weight_decay: float = 1e-4
    average_decay: float = 0.999  # of the moving average of weights that acts, per step
    batch_size: int = 256  # chunks
    gradient_clip: float = 1.0  # L2 norm over all parameters
    steps: int = 20_000  # gradient steps
    max_minutes: float = 0.0  # wall clock; 0 = no limit

    def __post_init__(self) -> None:
        require(self, "horizon", 1)
        require(self, "channels", 1)
        require(self, "blocks", 0)
        require(self, "condition_units", 1)
        require(self, "dropout", 0.0, 0.99)
        require(self, "working_weight", 0.0)
        require(self, "learning_rate", 0.0)
        require(self, "weight_decay", 0.0)
        require(self, "average_decay", 0.0, 1.0)
        require(self, "batch_size", 1)
        require(self, "gradient_clip", 0.0)
        require(self, "steps", 0)
        require(self, "max_minutes", 0.0)


@dataclass(frozen=True, kw_only=True)
class GoalClassifierConfig:
    """The classifier that says whether the work of a goal is done. Ours."""

    channels: int = 64  # of the convolutions on half the grid of codes
    blocks: int = 1  # residual blocks
    hidden_units: int = 256
    dropout: float = 0.1
    approach: float = 0.4  # first part of the steps until done, in which nothing is moved yet
    margin: int = 2  # steps after done from which on the result counts as standing
    candidates: int = 16  # pairs of which that is taken whose arm misleads most
    learning_rate: float = 1e-3  # AdamW
    learning_rate_decay: Literal["none", "cosine"] = "cosine"  # over the budget
    weight_decay: float = 1e-3
    batch_size: int = 256  # pairs of frames
    steps: int = 4000  # gradient steps
    max_minutes: float = 0.0  # wall clock; 0 = no limit

    def __post_init__(self) -> None:
        require(self, "channels", 1)
        require(self, "blocks", 0)
        require(self, "hidden_units", 1)
        require(self, "dropout", 0.0, 0.99)
        require(self, "approach", 0.0, 1.0)
        require(self, "margin", 0)
        require(self, "candidates", 1)
        require(self, "learning_rate", 0.0)
        require(self, "weight_decay", 0.0)
        require(self, "batch_size", 1)
        require(self, "steps", 0)
        require(self, "max_minutes", 0.0)
