# SPDX-License-Identifier: Apache-2.0
"""Settings of a training of the baselines' networks, and of the planners that use them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ptp_core.config.baselines import LeapConfig
from ptp_core.config.checks import require
from ptp_core.config.gcp import GcpConfig
from ptp_core.config.midpoint import MidpointConfig
from ptp_core.config.models import LatentVAEConfig
from ptp_core.errors import ConfigError


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
