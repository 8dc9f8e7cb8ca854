# SPDX-License-Identifier: Apache-2.0
"""Denoising diffusion over chunks of actions, for a condition that another network computes.

DDPM (Ho et al. 2020, arXiv 2006.11239) with the cosine schedule of Nichol and Dhariwal (2021,
arXiv 2102.09672). Noise predictor and schedule are those that LBP's authors took from IDQL (arXiv
2304.10573): residual blocks with layer norm, Fourier features of the diffusion step, 25 steps.
With fewer sampling steps it is DDIM without added noise (Song et al. 2021, arXiv 2010.02502).
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import DiffusionConfig
from ptp_core.errors import InputError

COSINE_OFFSET = 0.008  # s of Nichol and Dhariwal: no vanishing noise at the first step
LARGEST_BETA = 0.999
Loss = tuple[torch.Tensor, dict[str, torch.Tensor]]


def cosine_betas(steps: int) -> torch.Tensor:
    """Noise variances beta_k, float64 (steps,): 1 - abar(k + 1) / abar(k), at most LARGEST_BETA.

    abar(k) = cos^2((k / steps + s) / (1 + s) pi / 2).
    """
    at = torch.arange(steps + 1, dtype=torch.float64) / steps
    kept = torch.cos((at + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2).square()
    return (1.0 - kept[1:] / kept[:-1]).clamp(max=LARGEST_BETA)


def sampled_steps(steps: int, count: int) -> list[int]:
    """``count`` of the diffusion steps, evenly from the noisiest to the first."""
    return [round(k) for k in torch.linspace(steps - 1, 0, count).tolist()]


class DiffusionHead(nn.Module):
    """Samples chunks of actions (B, horizon, A) in [-1, 1] for conditions (B, C)."""

    def __init__(
        self, config: DiffusionConfig, condition: int, horizon: int, actions: int
    ) -> None:
        super().__init__()
        self.config, self.horizon, self.actions = config, horizon, actions
        hidden = config.hidden_units
        self.frequencies = nn.Parameter(torch.randn(config.time_features // 2) * 0.2)
        self.time = nn.Sequential(
            nn.Linear(config.time_features, hidden), nn.GELU(), nn.Linear(hidden, hidden)
        )
        self.first = nn.Linear(horizon * actions + hidden + condition, hidden)
        self.blocks = nn.ModuleList(
            _ResidualMLP(hidden, config.dropout) for _ in range(config.blocks)
        )
        self.last = nn.Linear(hidden, horizon * actions)
        betas = cosine_betas(config.steps)
        kept = torch.cumprod(1.0 - betas, 0)
        before = torch.cat([torch.ones(1, dtype=kept.dtype), kept[:-1]])
        schedule = {
            "betas": betas,
            "kept": kept,  # abar_k
            # Mean of q(a_{k-1} | a_k, a_0): clean a_0 + noisy a_k.
            "mean_clean": betas * before.sqrt() / (1.0 - kept),
            "mean_noisy": (1.0 - before) * (1.0 - betas).sqrt() / (1.0 - kept),
            "variance": betas * (1.0 - before) / (1.0 - kept),
        }
        for name, values in schedule.items():
            self.register_buffer(name, values.float(), persistent=False)

    def forward(
        self, noisy: torch.Tensor, step: torch.Tensor, condition: torch.Tensor
    ) -> torch.Tensor:
        """Predict the noise in ``noisy`` (B, horizon * A) at diffusion steps (B,) int64."""
        angles = 2 * math.pi * step[:, None].float() * self.frequencies
        time = self.time(torch.cat([angles.cos(), angles.sin()], dim=1))
        x = self.first(torch.cat([noisy, time, condition], dim=1))
        for block in self.blocks:
            x = block(x)
        return self.last(functional.gelu(x))

    def loss(
        self,
        condition: torch.Tensor,
        chunks: torch.Tensor,
        weights: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> Loss:
        """E_{k, eps} || eps - eps_theta(sqrt(abar_k) a + sqrt(1 - abar_k) eps, k, c) ||^2.

        ``chunks`` are (B, horizon, A), ``weights`` (B, horizon) multiply the squared errors of
        each step. Each condition is used with ``config.draws`` pairs of k and eps: they cost
        little beside the network that computes conditions. The mean over batch, draws and values.
        """
        draws = self.config.draws
        clean = chunks.flatten(1).repeat(draws, 1)
        condition = condition.repeat(draws, 1)
        device = generator.device if generator is not None else clean.device
        count = len(clean)
        step = torch.randint(self.config.steps, (count,), generator=generator, device=device)
        noise = torch.randn(clean.shape, generator=generator, device=device).to(clean)
        step = step.to(clean.device)
        kept = self.kept[step][:, None]
        noisy = kept.sqrt() * clean + (1.0 - kept).sqrt() * noise
        errors = (self(noisy, step, condition) - noise).square().view(count, self.horizon, -1)
        weights = weights.repeat(draws, 1)[..., None].expand_as(errors)
        loss = (errors * weights).sum() / weights.sum().clamp(min=1.0)
        return loss, {"loss": loss.detach()}

    @torch.no_grad()
    def sample(
        self,
        condition: torch.Tensor,
        generator: torch.Generator | None = None,
        noise: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Chunks (B, horizon, A) from Gaussian noise; estimates of a_0 are clipped to [-1, 1].

        ``noise``: (B, horizon * A), where sampling starts; drawn if None, and scaled by
        ``config.temperature`` as all noise is. Low temperature: near the most likely chunk.
        """
        shape = (len(condition), self.horizon * self.actions)
        device = generator.device if generator is not None else condition.device

        def draw() -> torch.Tensor:
            drawn = torch.randn(shape, generator=generator, device=device).to(condition)
            return self.config.temperature * drawn

        if noise is not None and noise.shape != shape:
            raise InputError(f"noise has shape {tuple(noise.shape)}, not {shape}")
        x = draw() if noise is None else noise
        ks = sampled_steps(self.config.steps, self.config.sampling_steps)
        for k, following in zip(ks, [*ks[1:], None], strict=True):
            step = torch.full((len(x),), k, device=x.device)
            predicted = self(x, step, condition)
            kept = self.kept[k]
            clean = (x - (1.0 - kept).sqrt() * predicted) / kept.sqrt()
            clean = clean.clamp(-1.0, 1.0)
            if following is None:
                x = clean
            elif len(ks) == self.config.steps:
                x = self.mean_clean[k] * clean + self.mean_noisy[k] * x
                x = x + self.variance[k].sqrt() * draw()
            else:
                noise_of_clean = (x - kept.sqrt() * clean) / (1.0 - kept).sqrt()
                after = self.kept[following]
                x = after.sqrt() * clean + (1.0 - after).sqrt() * noise_of_clean
        return x.view(-1, self.horizon, self.actions)


class _ResidualMLP(nn.Module):
    """x + W2 GELU(W1 LayerNorm(Dropout(x))), four times as wide inside (IDQL)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Dropout(dropout),
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)
