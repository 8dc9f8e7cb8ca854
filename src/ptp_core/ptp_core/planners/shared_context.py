# SPDX-License-Identifier: Apache-2.0
"""Faster `ConditionalUNet.forward` for many z with one shared context.

Concatenation followed by a linear layer is a sum of two linear layers, one of which depends on the
context only. `context_features` computes that one once; `decode_from_features` adds the other for
each z. Equal to ``forward`` up to rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from ptp_core.planners.subgoal_generator import ConditionalUNet


class ContextFeatures(NamedTuple):
    """The part of the decoder's layers that depends on the context only; first axis: batch."""

    hidden: torch.Tensor  # (B, hidden_units), the context's part of the first bottleneck layer
    inner: torch.Tensor  # (B, width, H / 2, W / 2), its part of the inner up-convolution
    outer: torch.Tensor  # (B, width, H, W), its part of the outer up-convolution


def context_features(net: ConditionalUNet, context: torch.Tensor) -> ContextFeatures:
    """Compute the features of contexts (B, D * count), which many z share."""
    outer = torch.relu(net.down_outer(net.grid(context)))
    inner = torch.relu(net.down_inner(outer))
    first, channels = net.bottleneck[1], inner.shape[1]
    return ContextFeatures(
        functional.linear(inner.flatten(1), first.weight[:, : inner[0].numel()], first.bias),
        _up(inner, net.up_inner.weight[:channels]),
        _up(outer, net.up_outer.weight[: outer.shape[1]]),
    )


def decode_from_features(
    net: ConditionalUNet, z: torch.Tensor, features: ContextFeatures
) -> torch.Tensor:
    """Predict (B, N, D) from z (B, N, z_dim), N for each of the B contexts.

    Changes activations in place, so that gradients need N = 1.
    """
    batch, samples = z.shape[:2]
    units, width = features.hidden.shape[1], features.inner.shape[1]
    first, last = net.bottleneck[1], net.bottleneck[3]
    hidden = functional.linear(net.z_features(z), first.weight[:, -units:])
    hidden = hidden.add_(features.hidden[:, None]).relu_().flatten(0, 1)
    height, breadth = net.latent.height // 4, net.latent.width // 4
    middle = last(hidden).relu_().view(-1, 2 * width, height, breadth)
    up = _up(middle, net.up_inner.weight[2 * width :])
    up = _add_context(up, features.inner, samples).relu_()
    up = _up(up, net.up_outer.weight[width:])
    up = _add_context(up, features.outer, samples).relu_()
    return net.head(up).reshape(batch, samples, -1)


def use_fastest_layout(module: nn.Module) -> None:
    """Choose the fastest memory layout of transposed convolutions on a CPU; values stay."""
    made_for_inference = next(module.parameters()).is_inference()
    with torch.inference_mode(made_for_inference):  # otherwise weights must allow gradients
        module.to(memory_format=torch.channels_last)


def _up(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Up-sample by two, as the generators' up-convolutions do."""
    return functional.conv_transpose2d(x, weight, stride=2, padding=1)


def _add_context(up: torch.Tensor, feature: torch.Tensor, samples: int) -> torch.Tensor:
    """Add the map of each context to the maps of its ``samples``, in place."""
    if samples == 1:
        return up.add_(feature)
    for row, shared in zip(up.split(samples), feature):
        row.add_(shared)
    return up
