# SPDX-License-Identifier: Apache-2.0
"""Plan library: reuses stored plans, chosen by Thompson sampling. Ours, not in the paper."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from ptp_core.data.file_limits import MOST_WEIGHTS, OverBudget, at_most
from ptp_core.data.files import write_atomically
from ptp_core.errors import CheckpointError
from ptp_core.planners.planner import Plan, PlanFeedback, Planner

GOOD = (8.0, 2.0)  # Beta prior of the success rate of plans that the policy can follow
BAD = (1.0, 9.0)
SHARE_PRIOR = (0.5, 2.0)  # prior counts of the share of good plans: good ones, of how many
ROUNDS = 10  # of expectation maximisation, which converges in a few
NEW = 3  # draws of a new plan; the best of them competes with the stored plans


@dataclass(frozen=True)
class PlanBandit:
    """Posterior of the success rates of n plans, a mixture of good and other plans."""

    wins: np.ndarray  # (n,)
    losses: np.ndarray  # (n,)
    good: np.ndarray  # (n,) probability that each is good
    share: float  # share of good plans

    @classmethod
    def of(cls, successes: np.ndarray, trials: np.ndarray) -> PlanBandit:
        """Fit the posterior to ``successes`` (n,) and ``trials`` (n,)."""
        losses = trials - successes
        evidence = _evidence(GOOD, successes, losses) - _evidence(BAD, successes, losses)
        share = SHARE_PRIOR[0] / SHARE_PRIOR[1]
        for _ in range(ROUNDS):
            good = torch.sigmoid(evidence + math.log(share / (1.0 - share)))
            share = (SHARE_PRIOR[0] + float(good.sum())) / (SHARE_PRIOR[1] + len(good))
        return cls(successes, losses, good.numpy(), share)

    def mean(self) -> tuple[np.ndarray, float]:
        """Expected rates of the plans (n,), and of a new one."""
        return (
            self._mean(self.good, self.wins, self.losses),
            self._mean(self.share, 0.0, 0.0),
        )

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Rates of the plans (n,) drawn from their posteriors, and the best of NEW new ones."""
        known = self._draw(rng, self.good, self.wins, self.losses)
        none = np.zeros(NEW)
        return known, float(self._draw(rng, np.full(NEW, self.share), none, none).max())

    @staticmethod
    def _mean(good, wins, losses):
        rates = [(won + wins) / (won + wins + lost + losses) for won, lost in (GOOD, BAD)]
        return good * rates[0] + (1.0 - good) * rates[1]

    @staticmethod
    def _draw(rng, good, wins, losses) -> np.ndarray:
        rates = [rng.beta(won + wins, lost + losses) for won, lost in (GOOD, BAD)]
        return np.where(rng.random(len(good)) < good, *rates)


def _evidence(prior: tuple[float, float], wins: np.ndarray, losses: np.ndarray) -> torch.Tensor:
    """Log likelihood of each record, up to a constant of all priors; float64 (n,)."""

    def log_beta(a, b) -> torch.Tensor:
        a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
        return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)

    return log_beta(prior[0] + wins, prior[1] + losses) - log_beta(*prior)


# L2 between latents up to which two images count as the same scene. With the released encoder this
# separates the goals of the tasks (3.4 or more apart) and little else. Frames of a demonstration
# that are 15 control steps apart have a median distance of 2.5 (3 steps: 2.0). Each of 30 `varied`
# episodes has another one whose start and goal are both within this (of all pairs: A 69 %, B 29 %,
# C 95 %). In task C it does not separate the start from the goal (median distance 2.3). So a plan
# is also reused in scenes where the objects are some centimetres elsewhere.
NEAR = 3.0

SIGNAL = "success_signal"  # key in a file's header
UNNAMED = "simulator"  # the signal of files without the key, which earlier releases wrote


@dataclass
class StoredPlan:
    """A plan with its counts of successes and trials."""

    ends: np.ndarray  # float32 (2, D): latents of start and goal
    codes: np.ndarray  # uint16 (K, N)
    latents: np.ndarray  # float32 (K, D), the codes looked up
    cost: float
    trials: int = 0
    successes: int = 0


class PlanLibrary:
    """Plans of one encoder. ``near``: how far, in L2, start and goal may be from a plan's own.

    ``signal`` names the success signal of the records (`success_signal`); None: the file's. With
    ``path`` every change is saved there, atomically. Raises CheckpointError for a file that is
    damaged, of another encoder, or of another success signal.
    """

    def __init__(
        self,
        encoder_id: str,
        path: Path | None = None,
        near: float = NEAR,
        signal: str | None = None,
    ) -> None:
        self.plans: list[StoredPlan] = []
        self.signal = signal
        self._encoder_id = encoder_id
        self._path = path
        self._near = near
        if path is not None and path.exists():
            self.load(path)

    def choose(
        self, start: torch.Tensor, goal: torch.Tensor, rng: np.random.Generator, explore: bool
    ) -> StoredPlan | None:
        """A plan to reuse between latents ``start`` and ``goal`` (D,), or None to plan anew.

        ``explore``: draw success rates from their posteriors (Thompson sampling); else take the
        highest mean.
        """
        known = [plan for plan in self.plans if plan.trials and self._fits(plan, start, goal)]
        if not known:
            return None
        wins, trials = (
            np.array([getattr(plan, name) for plan in known]) for name in ("successes", "trials")
        )
        belief = PlanBandit.of(wins, trials)
        rates, new = belief.draw(rng) if explore else belief.mean()
        best = int(np.argmax(rates))
        return known[best] if rates[best] >= new else None

    def add(self, plan: Plan, start: torch.Tensor, goal: torch.Tensor) -> StoredPlan:
        """Add a new plan between latents (D,); it is stored once it was tried."""
        ends = torch.stack([start, goal]).detach().cpu().numpy().astype(np.float32)
        codes, latents = plan.codes.numpy().astype(np.uint16), plan.latents.numpy()
        stored = StoredPlan(ends, codes, latents.astype(np.float32), plan.cost)
        self.plans.append(stored)
        return stored

    def judge(self, plan: StoredPlan, success: bool) -> None:
        """Record the success of an episode with this plan."""
        plan.trials += 1
        plan.successes += success
        if self._path is not None:
            self.save(self._path)

    def save(self, path: Path) -> None:
        """Write every plan that was tried."""
        metadata = {"encoder_id": self._encoder_id, SIGNAL: self.signal or UNNAMED}
        content = save(self.tensors(), metadata=metadata)
        write_atomically(path, lambda partial: partial.write_bytes(content))

    def load(self, path: Path) -> None:
        """Add the plans that `save` wrote. Raises CheckpointError."""
        try:
            tensors = load_file(at_most(path, MOST_WEIGHTS))
            metadata = _metadata(path)
            if metadata["encoder_id"] != self._encoder_id:
                raise CheckpointError(f"{path}: plans of another encoder: name another file")
            said = metadata.get(SIGNAL, UNNAMED)
            if self.signal not in (None, said):
                raise CheckpointError(
                    f"{path}: its plans were judged by the success signal {said}, not by "
                    f"{self.signal}: name another file"
                )
            self.signal = said
            self.take(tensors)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise CheckpointError(f"{path}: no plan library ({error}); delete it") from error

    def tensors(self) -> dict[str, np.ndarray]:
        """Every plan that was tried, as named arrays for a file."""
        tensors = {}
        for index, plan in enumerate(plan for plan in self.plans if plan.trials):
            record = np.array([plan.cost, plan.trials, plan.successes], np.float64)
            tensors[f"{index:06d}/ends"] = plan.ends
            tensors[f"{index:06d}/codes"] = plan.codes
            tensors[f"{index:06d}/latents"] = plan.latents
            tensors[f"{index:06d}/record"] = record
        return tensors

    def take(self, tensors: dict[str, np.ndarray]) -> None:
        """Add the plans of `tensors`. Raises KeyError and ValueError where some are missing."""
        for name in sorted({name.split("/")[0] for name in tensors}):
            cost, trials, successes = tensors[f"{name}/record"][:3]
            self.plans.append(
                StoredPlan(
                    tensors[f"{name}/ends"],
                    tensors[f"{name}/codes"],
                    tensors[f"{name}/latents"],
                    float(cost),
                    int(trials),
                    int(successes),
                )
            )

    def _fits(self, plan: StoredPlan, start: torch.Tensor, goal: torch.Tensor) -> bool:
        apart = (torch.from_numpy(plan.ends) - torch.stack([start, goal]).cpu()).norm(dim=1)
        return bool((apart <= self._near).all())


def signal_of(path: Path) -> str:
    """The success signal of the records in a file. Raises CheckpointError."""
    try:
        return _metadata(path).get(SIGNAL, UNNAMED)
    except (OSError, SafetensorError, OverBudget) as error:
        raise CheckpointError(f"{path}: no plan library ({error})") from error


def _metadata(path: Path) -> dict[str, str]:
    """The metadata that `PlanLibrary.save` wrote into the file's JSON header."""
    with safe_open(at_most(path, MOST_WEIGHTS), framework="numpy") as file:
        return file.metadata() or {}


class PlanLibraryPlanner:
    """A planner that may reuse a stored plan instead of planning anew.

    After an episode, ``judge`` records the success of the newest plan. ``explore`` as in
    `PlanLibrary.choose`.
    """

    def __init__(self, planner: Planner, library: PlanLibrary, explore: bool) -> None:
        self.library = library
        self.newest: StoredPlan | None = None
        self.again: int | None = None  # index of the reused plan in the library; None: a new plan
        self._planner = planner
        self._explore = explore

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
        """As `Planner.plan`; a reused plan has its stored cost and takes 0 s."""
        rng = np.random.default_rng(generator.initial_seed())
        found = self.library.choose(start, goal, rng, self._explore)
        self.again = None
        if found is None:
            plan = self._planner.plan(
                start,
                goal,
                generator,
                on_iteration=on_iteration,
                cancelled=cancelled,
                remember=remember,
                earlier=earlier,
            )
            self.newest = self.library.add(plan, start, goal)
            return plan
        self.newest = found
        self.again = next(n for n, plan in enumerate(self.library.plans) if plan is found)
        return Plan(
            codes=torch.from_numpy(found.codes.astype(np.int64)),
            latents=torch.from_numpy(found.latents),
            cost=found.cost,
            costs={"trials": float(found.trials), "successes": float(found.successes)},
            seconds=0.0,
        )

    def judge(self, success: bool) -> None:
        """Record the success of the episode with the newest plan."""
        if self.newest is not None:
            self.library.judge(self.newest, success)
