# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of an agent: the networks of one control step, and planning with each preset.

Planning is also measured as the authors' code arranges it (`AuthorsPlanner`).
"""

from __future__ import annotations

import dataclasses
from statistics import fmean
from typing import Any

import torch
from torch.nn import functional

from ptp_cli.bench.measuring import (
    BenchSettings,
    Figures,
    median,
    milliseconds,
    target_images,
    torch_threads,
)
from ptp_cli.machine import available_cores
from ptp_core.agents.agent import AgentSeeds, LatentGoal, Observation
from ptp_core.agents.ptp import make_planner
from ptp_core.agents.registry import build_agent
from ptp_core.config import PlannerConfig, TrainConfig
from ptp_core.config.train_config import PLANNER_PRESETS, planner_config
from ptp_core.data.trajectory import CARTESIAN
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.learning.iql import IQL
from ptp_core.planners.costs import CostTerms, plan_cost
from ptp_core.planners.hierarchical_planner import HierarchicalPlanner
from ptp_core.planners.mppi import MPPI, LatentSearch, Solution
from ptp_core.planners.planner import Plan, Planner
from ptp_core.planners.planner_benchmark import benchmark_planners
from ptp_core.planners.subgoal_generator import GeneratorHierarchy
from ptp_core.progress import Bar
from ptp_core.training.checkpoint import Checkpoint

POLICY_THREADS = 1  # as in the nodes
POLICY_METHOD = "model_free"  # one subgoal is as good as another here


def measure_policy(settings: BenchSettings) -> Figures:
    """Encode one image; follow one subgoal to an action. Batches of one, as a robot needs."""
    checkpoint = settings.load()
    repeats = settings.pick(400, 5)
    start, goal = target_images(("A",))[0]
    agent = build_agent(POLICY_METHOD, checkpoint)
    with torch_threads(POLICY_THREADS), torch.inference_mode():
        image = torch.from_numpy(start)[None]
        encode = milliseconds(lambda: checkpoint.vqvae.encode(image), repeats)
        codes = checkpoint.vqvae.encode(image)[0].numpy()
        target = LatentGoal(checkpoint.vqvae.encode(torch.from_numpy(goal)[None])[0].numpy())
        observation = Observation(latent=codes)
        agent.reset(observation, target, AgentSeeds(0, 0), subgoals=[target])
        act = milliseconds(lambda: agent.act(observation), repeats)
    return {
        "encode_ms": median(encode),
        "act_ms": median(act),
        "policy_threads": POLICY_THREADS,
        "policy_encoder": checkpoint.encoder_id[:12],
    }


OURS = ("fast", "descent", "best")  # presets beside the authors' arrangement
EARLIER = 12  # plans of each pair, of other seeds, from which warm ones start
PLAN_ROUNDS = 5  # plans of a pair beside the one of the authors' arrangement
Pairs = list[tuple[torch.Tensor, torch.Tensor]]


def measure_plan(settings: BenchSettings) -> Figures:
    """Every preset with one thread; the paper's also with two, and with networks of its size."""
    from ptp_sim.tasks import PAPER_TASKS

    checkpoint = settings.load()
    tasks = PAPER_TASKS[: settings.pick(len(PAPER_TASKS), 1)]
    pairs = []
    with torch_threads(1), torch.inference_mode():
        for images in target_images(tasks):
            codes = [checkpoint.vqvae.encode(torch.from_numpy(i)[None]) for i in images]
            pairs.append(tuple(checkpoint.vqvae.lookup(torch.cat(codes))))
        figures: Figures = {
            "plan_threads": 1,
            "plan_pairs": len(pairs),
            "plan_encoder": checkpoint.encoder_id[:12],
        }
        for preset in PLANNER_PRESETS:
            config = _config(preset, settings)
            planner = make_planner(checkpoint, config)
            figures |= _figures(f"plan_{preset}", planner, pairs)
            for name in ("samples", "rounds", "levels", "subgoals"):
                figures[f"plan_{preset}_{name}"] = getattr(config, name)
        figures["plan_paper_networks_s"] = _paper_networks(settings, threads=1)
        if available_cores() > 1:
            planner = make_planner(checkpoint, _config("paper", settings), threads=2)
            result = _figures("plan_paper_2_threads", planner, pairs)
            figures["plan_paper_2_threads_s"] = result["plan_paper_2_threads_s"]
            seconds = _paper_networks(settings, threads=2)
            figures["plan_paper_networks_2_threads_s"] = seconds
        figures |= _beside_the_authors(checkpoint, pairs, settings)
    return figures


def _beside_the_authors(checkpoint: Checkpoint, pairs: Pairs, settings: BenchSettings) -> Figures:
    """Our presets and the authors' arrangement, in turns, each with both cores."""
    threads = min(2, available_cores())
    paper = _config("paper", settings)
    planners: dict[str, Planner] = {
        preset: make_planner(checkpoint, _config(preset, settings), threads=threads)
        for preset in OURS
    }
    planners["warm"] = _warmed(checkpoint, pairs, settings, threads)
    value = checkpoint.iql.value
    authors = AuthorsPlanner(checkpoint.vqvae, checkpoint.generators, value, paper)
    planners["authors_arrangement"] = authors
    rounds = settings.pick(PLAN_ROUNDS, 1)
    plans: dict[str, list[list[Plan]]] = {name: [] for name in planners}
    with Bar(total=len(pairs) * len(planners), desc="plan: in turns", leave=False) as bar:
        for seed, pair in enumerate(pairs):
            for name, planner in planners.items():
                own = threads if planner is authors else 1  # ours share blocks between threads
                with torch_threads(own):
                    plans[name].append(
                        [
                            planner.plan(*pair, torch.Generator().manual_seed(seed))
                            for _ in range(1 if planner is authors else rounds)
                        ]
                    )
                bar.update()
    seconds = {
        name: [median([plan.seconds for plan in same]) for same in made]
        for name, made in plans.items()
    }
    cost = {name: fmean(same[0].cost for same in made) for name, made in plans.items()}
    base = "authors_arrangement"
    figures: Figures = {
        "plan_in_turns_threads": threads,
        "plan_authors_arrangement_s": median(seconds[base]),
        "plan_authors_arrangement_cost": cost[base],
    }
    for name in (*OURS, "warm"):
        figures[f"plan_{name}_2_threads_s"] = median(seconds[name])
        shares = [own / theirs for own, theirs in zip(seconds[name], seconds[base])]
        figures[f"plan_{name}_time_share"] = median(shares)
        figures[f"plan_{name}_cost_ratio"] = cost[name] / cost[base]
    return figures


def _warmed(
    checkpoint: Checkpoint, pairs: Pairs, settings: BenchSettings, threads: int
) -> HierarchicalPlanner:
    """The preset ``descent`` with a plan buffer, as after some episodes of each task."""
    config = _config("descent", settings)
    earlier = settings.pick(EARLIER, 1)
    if settings.quick:
        config = dataclasses.replace(config, buffer_minimum=1)
    planner = make_planner(checkpoint, config, threads=threads)
    cold = make_planner(checkpoint, config, threads=threads)  # each plan begins from nothing
    for number in Bar(range(earlier), desc="plan: earlier plans", leave=False):
        for index, pair in enumerate(pairs):
            seed = len(pairs) * (number + 1) + index  # none of those that are measured
            planner.remember(cold.plan(*pair, torch.Generator().manual_seed(seed)))
    return planner


def _config(preset: str, settings: BenchSettings) -> PlannerConfig:
    config = planner_config(preset)
    if settings.quick:
        few = {"samples": 4, "iterations": 1, "elites": (2,), "elite_steps": (1,)}
        few |= {"warm_elites": (1,), "warm_steps": (1,)}
        config = dataclasses.replace(config, **few)
    return config


def _figures(name: str, planner: HierarchicalPlanner, pairs: Pairs) -> Figures:
    with _Watched(planner, name, len(pairs) + 1) as watched:
        result = benchmark_planners({name: watched}, pairs)[name]
    terms = {f"{name}_cost_{term}": value for term, value in result["cost_terms"].items()}
    return {f"{name}_s": result["seconds"], f"{name}_cost": result["cost"], **terms}


def _paper_networks(settings: BenchSettings, threads: int) -> float:
    """One plan with networks of the paper's size and random weights: the cost means nothing."""
    config = TrainConfig()
    latent = config.vqvae.latent
    torch.manual_seed(0)
    vqvae = VQVAE(config.vqvae).eval()
    planner = HierarchicalPlanner(
        vqvae,
        GeneratorHierarchy(config.generators, latent).eval(),
        IQL(config.iql, latent, len(CARTESIAN)).eval().value,
        _config("paper", settings),
        threads=threads,
    )
    codes = torch.randint(config.vqvae.codebook_size, (2, latent.codes))
    with _Watched(planner, "plan_paper_networks", 1) as watched:
        return watched.plan(*vqvae.lookup(codes), torch.Generator().manual_seed(0)).seconds


class _Watched:
    """A planner whose evaluations move a progress bar."""

    def __init__(self, planner: HierarchicalPlanner, name: str, plans: int) -> None:
        config = planner.config
        self._planner: Planner = planner
        evaluations = plans * config.levels * config.rounds
        self._bar = Bar(total=evaluations, desc=name, unit="evaluation", leave=False)

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.close()

    def plan(self, start: torch.Tensor, goal: torch.Tensor, generator: torch.Generator) -> Plan:
        """See Planner.plan."""
        return self._planner.plan(
            start, goal, generator, on_iteration=lambda feedback: self._bar.update()
        )


class AuthorsPlanner(HierarchicalPlanner):
    """Plans as the paper's setting does, up to rounding, with the structure of the authors' code.

    The search is the same as ours. It plans one segment after the other, runs the generator on all
    samples at once, and quantises with all distances and one-hot multiplication. (After
    measurements of github.com/patrickhaoy/ptp; the code is ours.) Let torch have all threads.
    """

    def search(self, level: int) -> LatentSearch:
        """One segment after the other."""
        generator = self.generators[level]

        def rollout(start: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            state, codes, latents = start.expand(z.shape[1], -1), [], []
            for step in range(z.shape[2]):
                found, state = one_hot_quantise(self.vqvae, generator(z[0, :, step], state))
                codes.append(found)
                latents.append(state)
            return torch.stack(codes, 1)[None], torch.stack(latents, 1)[None]

        def cost(start, goal, latents, z) -> CostTerms:
            return plan_cost(start, goal, latents, z, self.value, self.config)

        return _OneByOne(MPPI(rollout, cost, self.config))


class _OneByOne:
    def __init__(self, search: LatentSearch) -> None:
        self._search = search

    def solve(self, start, goal, shape, generators, **given) -> Solution:
        """See ``LatentSearch.solve``."""
        found = [
            self._search.solve(
                start[i : i + 1], goal[i : i + 1], shape, generators[i : i + 1], **given
            )
            for i in range(len(start))
        ]
        terms = (torch.cat(parts) for parts in zip(*(s.costs.terms().values() for s in found)))
        z, codes, latents = (
            torch.cat([getattr(each, name) for each in found])
            for name in ("z", "codes", "latents")
        )
        return Solution(z, codes, latents, CostTerms(*terms))


def one_hot_quantise(vqvae: VQVAE, raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `VQVAE.quantise`: codes (B, N), latents (B, D) of raw (B, D)."""
    channels, count = vqvae.latent.channels, vqvae.latent.codes
    grid = raw.view(-1, channels, count).transpose(1, 2).reshape(-1, channels)
    codebook = vqvae.codebook
    distances = (
        grid.square().sum(1, keepdim=True)
        + codebook.square().sum(1)
        - 2 * torch.matmul(grid, codebook.t())
    )
    codes = distances.argmin(1)
    rows = torch.matmul(functional.one_hot(codes, len(codebook)).to(grid), codebook)
    latents = rows.view(-1, count, channels).transpose(1, 2).flatten(1)
    return codes.view(-1, count), latents
