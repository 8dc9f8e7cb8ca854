# SPDX-License-Identifier: Apache-2.0
"""LEAP: all subgoals at once by the cross-entropy method in a VAE's latent space.

(Nasiriany et al. 2019, arXiv 1911.08453, and its code.) Ours differs as it uses PTP's
networks: the VAE encodes and decodes the VQ-VAE's latents, a candidate is re-projected by
quantising it, and V is IQL's, without a time input. The follower's timeout limits a leg. LEAP
trains the VAE on images; with ours, a search decodes no images.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ptp_core.config import LatentShape, LatentVAEConfig, LeapConfig
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import InputError
from ptp_core.planners.costs import PAIRS_AT_ONCE, CostTerms, Value
from ptp_core.planners.planner import Plan, PlanFeedback, check_latent, stop_if

CandidateCost = Callable[[torch.Tensor], CostTerms]
"""cost(z (N, *shape)) -> terms (N,)."""

SCALE_FLOOR = 1e-6  # least scale, so that a data set of one latent gives no division by 0


@dataclass(frozen=True)
class CEMResult:
    """The chosen candidate: z (*shape) and its terms ()."""

    z: torch.Tensor
    costs: CostTerms


class CEM:
    """Cross-entropy method: sample, keep the elites, fit a Gaussian to them, repeat.

    It draws ``samples`` candidates an iteration and keeps ``elites`` of them. The Gaussian has one
    mean and one standard deviation for each dimension of a candidate. The result is the best
    candidate of the last iteration, which may not be the best of all iterations.
    """

    def __init__(
        self,
        cost: CandidateCost,
        *,
        samples: int,
        elites: int,
        iterations: int,
        initial_std: float,
    ) -> None:
        self.cost = cost
        self.samples = samples
        self.elites = elites
        self.iterations = iterations
        self.initial_std = initial_std

    def solve(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator,
        *,
        device: torch.device | str = "cpu",
        on_iteration: Callable[[int, CostTerms], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> CEMResult:
        """Search candidates of ``shape`` around 0; ``generator`` is a CPU generator.

        ``on_iteration`` is called with the iteration and the terms (elites,) of its elites, best
        first. ``cancelled`` is called before every evaluation. Raises PlanCancelled.
        """
        mean = torch.zeros(shape, device=device)
        std = torch.full(shape, self.initial_std, device=device)
        for iteration in range(self.iterations):
            stop_if(cancelled)
            # Draw on the CPU, so that a seed gives the same candidates on every device.
            noise = torch.randn((self.samples, *shape), generator=generator).to(mean)
            z = mean + std * noise
            costs = self.cost(z)
            order = costs.total.argsort(stable=True)[: self.elites]
            elites, terms = z[order], _take(costs, order)
            if on_iteration is not None:
                on_iteration(iteration, terms)
            if iteration + 1 < self.iterations:
                # Population statistics, so that a single elite has a deviation of 0.
                mean, std = elites.mean(0), elites.std(0, correction=0)
        return CEMResult(elites[0], terms.map(lambda term: term[0]))


class LatentVAE(nn.Module):
    """Unconditional VAE: latent (D) -> z -> latent, before quantisation.

    Latents are float32 (B, D), D = ``latent.size``. z is (B, z_dim), 16 in LEAP, with prior
    N(0, I).
    The networks see (latent - shift) / scale. ``fit_scale`` sets both; they are part of the state
    dict. One scale for all dimensions preserves distances, which determine the nearest codes.
    """

    shift: torch.Tensor  # (D,), mean latent
    scale: torch.Tensor  # (), root mean square deviation from it

    def __init__(self, config: LatentVAEConfig, latent: LatentShape) -> None:
        super().__init__()
        self.config = config
        self.latent = latent
        units = config.hidden_units
        self.encoder = nn.Sequential(
            nn.Linear(latent.size, units),
            nn.ReLU(),
            nn.Linear(units, units),
            nn.ReLU(),
        )
        self.mean = nn.Linear(units, config.z_dim)
        self.logvar = nn.Linear(units, config.z_dim)
        self.decoder = nn.Sequential(
            nn.Linear(config.z_dim, units),
            nn.ReLU(),
            nn.Linear(units, units),
            nn.ReLU(),
            nn.Linear(units, latent.size),
        )
        self.register_buffer("shift", torch.zeros(latent.size))
        self.register_buffer("scale", torch.ones(()))

    @property
    def z_dim(self) -> int:
        """Dimensions of z."""
        return self.config.z_dim

    @torch.no_grad()
    def fit_scale(self, latents: torch.Tensor) -> None:
        """Set shift and scale from ``latents`` (N, D), before the first gradient step.

        Raises InputError for another shape, no latents, or values that are not finite.
        """
        if latents.dim() != 2 or not len(latents):
            raise InputError(
                f"the scale needs latents (N, {self.latent.size}) with N > 0, not "
                f"{tuple(latents.shape)}"
            )
        self._check_size(latents)
        if not torch.isfinite(latents).all():
            raise InputError("the scale needs finite latents: encode the data set again")
        mean = latents.mean(0)
        self.shift.copy_(mean)
        self.scale.copy_((latents - mean).square().mean().sqrt().clamp_min(SCALE_FLOOR))

    def encode(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance (B, z_dim) of q(z | latent) for latents (B, D)."""
        return self._encode(self._scaled(latents))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Turn z (..., z_dim) into unquantised latents (..., D)."""
        return self.decoder(z) * self.scale + self.shift

    def loss(
        self, latents: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the mean loss of ``latents`` (B, D): minus the beta-weighted ELBO.

        weight * 1/2 ||scaled - decoded||^2 + beta * KL(q(z | latent) || N(0, I)), a Gaussian of
        unit variance on the scaled latent. ``generator``, a CPU generator, draws z.
        """
        config = self.config
        scaled = self._scaled(latents)
        mean, logvar = self._encode(scaled)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        decoded = self.decoder(mean + noise * torch.exp(0.5 * logvar))
        errors = (decoded - scaled).square()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean()
        loss = config.reconstruction_weight * errors.sum(1).mean() / 2 + config.kl_weight * kl
        metrics = {
            "loss": loss.detach(),
            "reconstruction_mse": errors.detach().mean(),  # the mean latent has 1
            "kl": kl.detach(),
        }
        return loss, metrics

    def _encode(self, scaled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.encoder(scaled)
        return self.mean(features), self.logvar(features)

    def _scaled(self, latents: torch.Tensor) -> torch.Tensor:
        self._check_size(latents)
        return (latents - self.shift) / self.scale

    def _check_size(self, latents: torch.Tensor) -> None:
        size = self.latent.size
        if latents.shape[-1] != size:
            raise InputError(f"a latent has {size} numbers, not {latents.shape[-1]}")


def leap_cost(
    start: torch.Tensor,
    goal: torch.Tensor,
    latents: torch.Tensor,
    z: torch.Tensor,
    value: Value,
    prior_weight: float,
) -> CostTerms:
    """Cost (N,) of N candidate plans of K subgoals (LEAP's code, cost mode "min").

    start, goal: (D,). latents: (N, K, D), decoded and re-projected. z: (N, K, Z), as sampled.

    value    = -min over the K + 1 legs of V: (start, g1), (g1, g2), ..., (gK, goal). For V <= 0
               the paper's maximum norm.
    prior    = -prior_weight * sum of log N(z; 0, I)
    distance = 0: the last leg ends at the goal.
    """
    count, subgoals, size = latents.shape
    before = torch.cat([start.expand(count, 1, -1), latents], dim=1).reshape(-1, size)
    after = torch.cat([latents, goal.expand(count, 1, -1)], dim=1).reshape(-1, size)
    pairs = zip(before.split(PAIRS_AT_ONCE), after.split(PAIRS_AT_ONCE))
    values = torch.cat([value(a, b) for a, b in pairs]).view(count, subgoals + 1)
    value_term = -values.amin(1)
    log_density = -z.square().sum((-2, -1)) / 2 - math.log(2 * math.pi) / 2 * z[0].numel()
    prior = -prior_weight * log_density
    return CostTerms(value_term + prior, torch.zeros_like(value_term), value_term, prior)


class LeapPlanner:
    """Plans K subgoals, followed by the goal itself, so that a plan has K + 1 latents.

    The networks' weights are read at every call, so a policy update takes effect in the next plan.
    All networks are on one device.
    """

    def __init__(
        self, vqvae: VQVAE, vae: LatentVAE, value: Value, config: LeapConfig | None = None
    ) -> None:
        self.vqvae = vqvae
        self.vae = vae
        self.value = value
        self.config = config or LeapConfig()

    @torch.no_grad()
    def plan(
        self,
        start: torch.Tensor,
        goal: torch.Tensor,
        generator: torch.Generator,
        *,
        on_iteration: Callable[[PlanFeedback], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        remember: bool = False,
        earlier: Plan | None = None,
    ) -> Plan:
        """See ``Planner.plan``. ``generator`` is a CPU generator.

        ``remember`` has no effect: a plan starts from the prior's mean, not from earlier plans.
        ``best_cost`` of the feedback is that of the iteration.
        """
        began = time.perf_counter()
        device, size = self.vqvae.codebook.device, self.vqvae.latent.size
        start = check_latent(start, "start", size).to(device)
        goal = check_latent(goal, "goal", size).to(device)
        config = self.config

        def cost(z: torch.Tensor) -> CostTerms:
            latents = self._reproject(z)[1]
            return leap_cost(start, goal, latents, z, self.value, config.prior_weight)

        def report(iteration: int, elites: CostTerms) -> None:
            if on_iteration is not None:
                best = float(elites.total[0])
                on_iteration(PlanFeedback(0, 1, iteration, search.iterations, best))

        # Without subgoals there is one candidate and no search.
        search = CEM(
            cost,
            samples=config.samples if config.subgoals else 1,
            elites=config.elites if config.subgoals else 1,
            iterations=config.iterations if config.subgoals else 1,
            initial_std=config.initial_std,
        )
        found = search.solve(
            (config.subgoals, self.vae.z_dim),
            generator,
            device=device,
            on_iteration=report,
            cancelled=cancelled,
        )
        codes, latents = self._reproject(found.z[None])
        goal_codes = self.vqvae.quantise(goal[None])[0]
        costs = {
            name: float(getattr(found.costs, name)) for name in ("distance", "value", "prior")
        }
        total = float(found.costs.total)
        return Plan(
            codes=torch.cat([codes[0], goal_codes]).cpu(),
            latents=torch.cat([latents[0], goal[None]]).cpu(),
            cost=total,
            costs={**costs, "level_0": total},
            seconds=time.perf_counter() - began,
            z=(found.z[None].cpu(),),
        )

    def _reproject(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode z (N, K, Z) and quantise: codes (N, K, L), latents (N, K, D).

        Far from training latents V is wrong and too high; quantising keeps candidates near them.
        """
        codes, latents = self.vqvae.quantise(self.vae.decode(z.flatten(0, 1)))
        return codes.unflatten(0, z.shape[:2]), latents.unflatten(0, z.shape[:2])


def _take(costs: CostTerms, index: torch.Tensor) -> CostTerms:
    return costs.map(lambda term: term[index])
