# SPDX-License-Identifier: Apache-2.0
"""Latent actions of demonstrations, from which searches of legs start. Ours.

Where latent actions of primitives lie apart, N(0, I) covers the room between them too, and what
the generator decodes there is a mean of primitives. The mean of q(z | start, end) of a
demonstration is one that was shown, and it means much the same in another scene. PTP's plan buffer
starts searches from earlier plans for the same reason; here nothing has to be planned before.
"""

from __future__ import annotations

import torch
from torch import nn

from ptp_core.config import ShownLegsConfig


class ShownLegs(nn.Module):
    """Latent actions ``z``, float32 (count, z_dim)."""

    z: torch.Tensor

    def __init__(self, config: ShownLegsConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("z", torch.zeros(config.count, config.z_dim))

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Draw latent actions (*shape, z_dim) on the CPU, each on its own."""
        chosen = torch.randint(len(self.z), shape, generator=generator)
        return self.z.cpu()[chosen]
