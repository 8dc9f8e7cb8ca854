# SPDX-License-Identifier: Apache-2.0
"""Settings of the planner GCP."""

from __future__ import annotations

from dataclasses import dataclass

from ptp_core.config.checks import require
from ptp_core.errors import ConfigError


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
