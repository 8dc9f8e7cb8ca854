# SPDX-License-Identifier: Apache-2.0
"""One step of an optimiser down the gradient of a loss."""

from __future__ import annotations

import torch
from torch import nn

Metrics = dict[str, torch.Tensor]
"""Scalars of a step, by name."""


def gradient_step(loss: torch.Tensor, optimiser: torch.optim.Optimizer, clip: float = 0.0) -> None:
    """Make a step; ``clip``: largest L2 norm of the gradient of all parameters, 0 = off."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if clip:
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, clip)
    optimiser.step()
