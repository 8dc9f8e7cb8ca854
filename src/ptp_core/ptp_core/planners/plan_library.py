# SPDX-License-Identifier: Apache-2.0
"""Plans that worked, chosen by Thompson sampling and reused. Ours, not the paper's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from ptp_core.data.files import write_atomically
from ptp_core.errors import CheckpointError
from ptp_core.planners.planner import Plan, PlanFeedback, Planner

GOOD = (8.0, 2.0)  # successes and failures that describe plans that the policy can follow
BAD = (1.0, 9.0)
HOPE = (0.5, 2.0)  # good plans among how many, before any was tried
ROUNDS = 10  # of expectation and maximisation; few change anything
NEW = 3  # new plans whose best draw stands for planning anew: there are always more of them


@dataclass(frozen=True)
class PlanBandit:
    """Posterior of n plans' success rates, from their records."""

    wins: np.ndarray  # (n,)
    losses: np.ndarray  # (n,)
    good: np.ndarray  # (n,) probability that each is good
    share: float  # part of all plans that is good

    @classmethod
    def of(cls, successes: np.ndarray, trials: np.ndarray) -> PlanBandit:
        """Believe what records (n,) and (n,) tell."""
        losses = trials - successes
        evidence = _evidence(GOOD, successes, losses) - _evidence(BAD, successes, losses)
        share = HOPE[0] / HOPE[1]
        for _ in range(ROUNDS):
            good = torch.sigmoid(evidence + math.log(share / (1.0 - share)))
            share = (HOPE[0] + float(good.sum())) / (HOPE[1] + len(good))
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
    """Logarithm of the probability of each record, up to what all priors share; float64 (n,)."""

    def log_beta(a, b) -> torch.Tensor:
        a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
        return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)

    return log_beta(prior[0] + wins, prior[1] + losses) - log_beta(*prior)


# L2 between latents up to which two pictures count as one scene. With the released encoder that
# tells the goals of the tasks apart (3.4 or more) and little else: frames of a demonstration that
# are 15 control steps apart are 2.5 apart (median; 3 steps: 2.0), and of 30 `varied` episodes
# every one has another whose start and goal both lie within it (of all pairs: A 69 %, B 29 %,
# C 95 %). In task C it does not tell the start from the goal (2.3 apart, median). So a plan is
# done again also in scenes where the objects lie some centimetres elsewhere.
NEAR = 3.0

SIGNAL = "success_signal"  # in a file's header
UNNAMED = "simulator"  # the signal of files that name none: the one of earlier releases


@dataclass
class StoredPlan:
    """A plan with its record."""

    ends: np.ndarray  # float32 (2, D): latents of start and goal
    codes: np.ndarray  # uint16 (K, N)
    latents: np.ndarray  # float32 (K, D), the codes looked up
    cost: float
    trials: int = 0
    successes: int = 0


class PlanLibrary:
    """Plans of one encoder. ``near``: how far, in L2, start and goal may be from a plan's own.

    ``signal`` names what judges the plans (`success_signal`); None: whatever a file says. With
    ``path`` every change is kept there, atomically. Raises CheckpointError for a file that is
    damaged, of another encoder, or whose plans another signal judged.
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
        """A plan to do again between latents (D,), or None: plan anew.

        ``explore``: draw success rates from their posteriors; else take the highest mean.
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
        """Keep a new plan between latents (D,); it counts once it was tried."""
        ends = torch.stack([start, goal]).detach().cpu().numpy().astype(np.float32)
        codes, latents = plan.codes.numpy().astype(np.uint16), plan.latents.numpy()
        stored = StoredPlan(ends, codes, latents.astype(np.float32), plan.cost)
        self.plans.append(stored)
        return stored

    def judge(self, plan: StoredPlan, success: bool) -> None:
        """Note how an episode with this plan ended."""
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
            tensors, metadata = load_file(path), _metadata(path)
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
    """The success signal that judged the plans of a file. Raises CheckpointError."""
    try:
        return _metadata(path).get(SIGNAL, UNNAMED)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: no plan library ({error})") from error


def _metadata(path: Path) -> dict[str, str]:
    """What `PlanLibrary.save` wrote into the header of the file, which is JSON."""
    with safe_open(path, framework="numpy") as file:
        return file.metadata() or {}


class PlanLibraryPlanner:
    """A planner that may reuse a stored plan instead of planning anew.

    After an episode ``judge`` says how the newest plan did. ``explore`` as in
    `PlanLibrary.choose`.
    """

    def __init__(self, planner: Planner, library: PlanLibrary, explore: bool) -> None:
        self.library = library
        self.newest: StoredPlan | None = None
        self.again: int | None = None  # its number in the library where it is done again
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
    ) -> Plan:
        """As `Planner.plan`; a reused plan keeps its cost and takes no time."""
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
        """Note how the episode with the newest plan ended."""
        if self.newest is not None:
            self.library.judge(self.newest, success)
