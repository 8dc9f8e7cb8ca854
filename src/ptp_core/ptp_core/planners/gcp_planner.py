# SPDX-License-Identifier: Apache-2.0
"""GCP: a tree of midpoints, the middle first, then the middles of both halves.

(Pertsch et al. 2020, arXiv 2006.13205, and its code.) Each layer draws candidates from the learned
prior and keeps, for every pair of neighbours, the midpoint of least c(left, mid) + c(mid, right).
Later layers do not change it. Ours differs as it uses PTP's networks: a midpoint is
quantised before it is a parent, c(a, b) = -V(a, b) with IQL's V, and below the top layers the
search goes layer by layer too, where GCP's code samples whole subtrees. As in PTP's comparison,
one network proposes every node, on the VQ-VAE's latents. Its input is the node's two parents,
without start and goal of the whole plan, and there is no LSTM.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from ptp_core.config import GcpConfig, LatentShape, MidpointConfig
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import DatasetError, InputError
from ptp_core.planners.costs import PAIRS_AT_ONCE, Value, unroll
from ptp_core.planners.mppi import spawn
from ptp_core.planners.planner import Plan, PlanFeedback, check_latent, stop_if
from ptp_core.planners.subgoal_generator import ConditionalUNet, latent_encoder, use_fastest_layout

OnLayer = Callable[[int, torch.Tensor], None]
"""on_layer(layer, costs (S,) of its chosen midpoints)."""


class MidpointGenerator(ConditionalUNet):
    """Parents left and right + z -> the latent in the middle, before quantisation.

    Latents are float32 (B, D), D = ``latent.size``. z is (B, z_dim). Its prior p(z | left, right)
    is learned.
    ``forward`` takes z (B, z_dim) and both parents as one context (B, 2 D), see ``context``.
    """

    def __init__(self, config: MidpointConfig, latent: LatentShape) -> None:
        super().__init__()
        self.config = config
        width, units = config.hidden_channels, config.hidden_units
        self.prior_encoder = latent_encoder(latent, 2, width, units)
        self.prior_head = nn.Linear(units, 2 * config.z_dim)
        self.posterior_encoder = latent_encoder(latent, 3, width, units)
        self.posterior_head = nn.Linear(units, 2 * config.z_dim)
        self.add_unet(latent, 2, config.z_dim, width, units)

    @property
    def z_dim(self) -> int:
        """Dimensions of z."""
        return self.config.z_dim

    @staticmethod
    def context(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Context (B, 2 D) of the parents (B, D): their channels concatenated."""
        return torch.cat([left, right], dim=1)

    def prior(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance (B, z_dim) of p(z | left, right), parents (B, D)."""
        return self._gaussian(self.prior_encoder, self.prior_head, [left, right])

    def posterior(
        self, left: torch.Tensor, right: torch.Tensor, middle: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance (B, z_dim) of q(z | left, right, middle), latents (B, D).

        The encoder reads the middle as its difference from the parents' mean, as the subgoal
        generators' encoder reads a target as its difference from the context.
        """
        latents = [left, right, middle - (left + right) / 2]
        return self._gaussian(self.posterior_encoder, self.posterior_head, latents)

    def loss(
        self,
        left: torch.Tensor,
        right: torch.Tensor,
        middle: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Negative ELBO of one node (GCP's training objective), latents (B, D).

        reconstruction_weight * SmoothL1(prediction, middle) + kl_weight * KL(q || p), z from q.
        SmoothL1 is the mean over the latent, KL the sum over z. ``generator`` (CPU) draws z.
        """
        config = self.config
        mean, logvar = self.posterior(left, right, middle)
        prior_mean, prior_logvar = self.prior(left, right)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        z = mean + noise * torch.exp(0.5 * logvar)
        error = functional.smooth_l1_loss(self(z, self.context(left, right)), middle)
        q = Normal(mean, torch.exp(0.5 * logvar), validate_args=False)
        p = Normal(prior_mean, torch.exp(0.5 * prior_logvar), validate_args=False)
        kl = kl_divergence(q, p).sum(1).mean()
        total = config.reconstruction_weight * error + config.kl_weight * kl
        metrics = {"loss": total.detach(), "smooth_l1": error.detach(), "kl": kl.detach()}
        return total, metrics

    def _gaussian(self, encoder, head, latents):
        features = encoder(self.grid(torch.cat(latents, dim=1)))
        mean, logvar = head(features).chunk(2, dim=1)
        limit = self.config.logvar_limit
        return mean, logvar.clamp(-limit, limit)


def balanced_triples(end: int | np.ndarray, depth: int) -> np.ndarray:
    """Frames (left, middle, right) of every node of a balanced tree: int64 (..., 2^depth - 1, 3).

    ``end`` (...) is the index of a trajectory's last frame. The root's parents stand one step
    outside, at -1 and end + 1; a node is half-way between its parents (GCP's balanced binding),
    rounded down. Parents outside are clipped to the first and the last frame, which in GCP are
    start and goal. Layers are in order from the top, each from left to right.
    Raises InputError for a trajectory with fewer frames than nodes.
    """
    end = np.asarray(end, dtype=np.int64)
    if depth < 1 or (end < 2**depth - 2).any():
        raise InputError(
            f"a tree of depth {depth} has {2**depth - 1} nodes; a trajectory has {end.min() + 1} "
            "frames: take a depth of 1 or more, and trajectories with a frame for every node"
        )
    times = np.stack([np.full_like(end, -1), end + 1], axis=-1)
    layers = []
    for _ in range(depth):
        left, right = times[..., :-1], times[..., 1:]
        middle = (left + right) // 2
        layers.append(np.stack([left, middle, right], axis=-1))
        grown = np.empty((*end.shape, 2 * times.shape[-1] - 1), dtype=np.int64)
        grown[..., ::2], grown[..., 1::2] = times, middle
        times = grown
    return np.clip(np.concatenate(layers, axis=-2), 0, end[..., None, None])


def sample_triples(
    lengths: np.ndarray, depth: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw frames (left, middle, right) to train on: int64 (count, 3).

    ``lengths`` (trajectories,) are the frames of concatenated trajectories; the result indexes
    frames over all of them. Trajectories that are long enough are drawn uniformly, and so are the
    nodes of their trees (in GCP's loss all nodes have the same weight).
    Raises DatasetError when no trajectory is long enough.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    usable = np.flatnonzero(lengths >= 2**depth - 1)
    if not len(usable):
        raise DatasetError(
            f"no trajectory has the {2**depth - 1} frames of a tree of depth {depth}; collect "
            "longer ones or lower MidpointConfig.depth"
        )
    chosen = rng.choice(usable, count)
    nodes = rng.integers(2**depth - 1, size=count)
    starts = np.cumsum(lengths) - lengths
    triples = balanced_triples(lengths[chosen] - 1, depth)[np.arange(count), nodes]
    return starts[chosen, None] + triples


@dataclass(frozen=True)
class Midpoints:
    """Candidates of S pairs, (S, N, ...), or the chosen ones, (S, ...)."""

    z: torch.Tensor  # (..., Z)
    codes: torch.Tensor  # int64 (..., C)
    latents: torch.Tensor  # (..., D), quantised

    def take(self, index: torch.Tensor) -> Midpoints:
        """Candidate ``index`` (S,) of each pair."""
        rows = torch.arange(len(index), device=index.device)
        return Midpoints(self.z[rows, index], self.codes[rows, index], self.latents[rows, index])


Propose = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Midpoints]
"""propose(left (S, D), right (S, D), noise (S, N, Z)) -> candidates (S, N, ...)."""


@dataclass(frozen=True)
class Tree:
    """All midpoints from near to far, M = 2^depth - 1 of them."""

    codes: torch.Tensor  # int64 (M, C)
    latents: torch.Tensor  # (M, D)
    z: tuple[torch.Tensor, ...]  # for each layer (S, Z)
    costs: tuple[torch.Tensor, ...]  # for each layer (S,)


class MidpointSearch:
    """Top-down search, the best of ``config.samples[layer]`` candidates for every pair."""

    def __init__(self, propose: Propose, value: Value, z_dim: int, config: GcpConfig) -> None:
        self.propose = propose
        self.value = value
        self.z_dim = z_dim
        self.config = config

    def solve(
        self,
        start: torch.Tensor,
        goal: torch.Tensor,
        generator: torch.Generator,
        *,
        on_layer: OnLayer | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Tree:
        """Find the midpoints from ``start`` (D,) to ``goal`` (D,), one batch a layer.

        A layer's random streams do not depend on the layers below. Raises PlanCancelled.
        """
        nodes = torch.stack([start, goal])
        codes = None
        z, costs = [], []
        for layer in range(self.config.depth):
            stop_if(cancelled)
            pairs = len(nodes) - 1
            streams = spawn(generator, pairs)
            samples = self.config.samples[layer]
            best, cost = self.best_midpoints(nodes[:-1], nodes[1:], samples, streams)
            nodes = _interleaved(nodes, best.latents)
            codes = best.codes if codes is None else _interleaved(best.codes, codes)
            z.append(best.z)
            costs.append(cost)
            if on_layer is not None:
                on_layer(layer, cost)
        return Tree(codes, nodes[1:-1], tuple(z), tuple(costs))

    def best_midpoints(
        self,
        left: torch.Tensor,
        right: torch.Tensor,
        samples: int,
        generators: list[torch.Generator],
    ) -> tuple[Midpoints, torch.Tensor]:
        """Best candidates (S, ...) and their costs (S,) for pairs ``left``, ``right`` (S, D).

        Each pair draws from its own CPU generator, so that results do not depend on the batch.
        """
        draws = [torch.randn((samples, self.z_dim), generator=rng) for rng in generators]
        candidates = self.propose(left, right, torch.stack(draws).to(left.device))
        costs = midpoint_costs(left, candidates.latents, right, self.value)
        least, index = costs.min(dim=1)
        return candidates.take(index), least


def midpoint_costs(
    left: torch.Tensor, middles: torch.Tensor, right: torch.Tensor, value: Value
) -> torch.Tensor:
    """c(left, mid) + c(mid, right), (S, N), with c(a, b) = -V(a, b).

    left, right: (S, D). middles: (S, N, D).
    """
    before = torch.stack([left[:, None].expand_as(middles), middles])
    after = torch.stack([middles, right[:, None].expand_as(middles)])
    pairs = zip(
        before.flatten(0, 2).split(PAIRS_AT_ONCE), after.flatten(0, 2).split(PAIRS_AT_ONCE)
    )
    values = torch.cat([value(a, b) for a, b in pairs])
    return -values.view(2, *middles.shape[:2]).sum(0)


class GcpPlanner:
    """Plans 2^depth - 1 midpoints, followed by the goal itself: K = 2^depth latents.

    The networks' weights are read at every call, so a policy update takes effect in the next plan.
    All networks are on one device.
    """

    def __init__(
        self,
        vqvae: VQVAE,
        midpoints: MidpointGenerator,
        value: Value,
        config: GcpConfig | None = None,
    ) -> None:
        self.vqvae = vqvae
        self.midpoints = midpoints
        use_fastest_layout(midpoints)
        self.config = config or GcpConfig()
        self.search = MidpointSearch(self.propose, value, midpoints.z_dim, self.config)

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

        A layer is one level with one evaluation. Its cost is that of the whole path at its
        spacing. ``remember`` has no effect: GCP draws from its prior only.
        """
        began = time.perf_counter()
        device, size = self.vqvae.codebook.device, self.vqvae.latent.size
        start = check_latent(start, "start", size).to(device)
        goal = check_latent(goal, "goal", size).to(device)

        def report(layer: int, costs: torch.Tensor) -> None:
            if on_iteration is not None:
                best = float(costs.sum())
                on_iteration(PlanFeedback(layer, self.config.depth, 0, 1, best))

        tree = self.search.solve(start, goal, generator, on_layer=report, cancelled=cancelled)
        goal_codes = self.vqvae.quantise(goal[None])[0]
        levels = {f"level_{layer}": float(cost.sum()) for layer, cost in enumerate(tree.costs)}
        total = sum(levels.values())
        return Plan(
            codes=torch.cat([tree.codes, goal_codes]).cpu(),
            latents=torch.cat([tree.latents, goal[None]]).cpu(),
            cost=total,
            costs={"distance": 0.0, "value": total, "prior": 0.0, **levels},
            seconds=time.perf_counter() - began,
            z=tuple(z[:, None].cpu() for z in tree.z),
        )

    def propose(self, left: torch.Tensor, right: torch.Tensor, noise: torch.Tensor) -> Midpoints:
        """Draw z from p(z | left, right) with ``noise`` (S, N, Z); predict and quantise."""
        mean, logvar = self.midpoints.prior(left, right)
        z = mean[:, None] + noise * torch.exp(0.5 * logvar)[:, None]
        context = self.midpoints.context(left, right)
        codes, latents = unroll(self.midpoints, self.vqvae, context, z[:, :, None])
        return Midpoints(z, codes[:, :, 0], latents[:, :, 0])


def _interleaved(outer: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """Interleave (S + 1, ...) and (S, ...), ``outer`` first: (2 S + 1, ...)."""
    mixed = outer.new_empty((len(outer) + len(inner), *outer.shape[1:]))
    mixed[::2], mixed[1::2] = outer, inner
    return mixed
