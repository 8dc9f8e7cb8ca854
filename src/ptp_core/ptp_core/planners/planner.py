# SPDX-License-Identifier: Apache-2.0
"""The planner protocol, the plan that it returns, and the control without a search.

Imports torch only where it checks a latent, so that commands can list methods without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from ptp_core.config import GcpConfig, LeapConfig, PlannerConfig
from ptp_core.errors import GoalError, InputError, PlanCancelled

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PlanFeedback:
    """Progress of a search after one evaluation of one level."""

    level: int  # 0 is the coarsest
    levels: int
    iteration: int  # 0 is the first evaluation
    iterations: int  # evaluations of a level
    best_cost: float  # sum over the level's segments

    @property
    def fraction(self) -> float:
        """Share of evaluations done, in (0, 1]; later levels take more time than earlier ones."""
        done = self.level * self.iterations + self.iteration + 1
        return done / (self.levels * self.iterations)


@dataclass(frozen=True)
class Plan:
    """Subgoals from near to far.

    codes: int64 (K, N). latents: float32 (K, D), the codes looked up. Both on the CPU.
    cost: sum of the MPPI costs of all segments of all levels; ``costs`` splits it by term
    ("distance", "value", "prior") and by level ("level_0", ...). seconds: wall clock.
    z: for each level the chosen latent actions (segments, steps, z_dim).
    missed: the goal was pursued until the timeout and not reached; known when it is followed.
    given_up: latents (D,) of first subgoals that were pursued until the timeout in this episode,
    of this plan and of those before it; known when it is followed.
    doubted: its last subgoal was reached, and the goal it stands for was not; likewise.
    began: latent (D,) at which the work began that it goes on with; None: where it is not kept.
    """

    codes: torch.Tensor
    latents: torch.Tensor
    cost: float
    costs: dict[str, float]
    seconds: float
    z: tuple[torch.Tensor, ...] = field(default=(), repr=False)
    missed: bool = False
    doubted: bool = False
    given_up: tuple[torch.Tensor, ...] = field(default=(), repr=False)
    began: torch.Tensor | None = field(default=None, repr=False)


def stop_if(cancelled: Callable[[], bool] | None) -> None:
    """Raise PlanCancelled when ``cancelled()`` returns true."""
    if cancelled is not None and cancelled():
        raise PlanCancelled("the plan was cancelled")


class Planner(Protocol):
    """Finds subgoals that lead from a start latent to a goal latent."""

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
        """Plan from ``start`` (D,) to ``goal`` (D,), quantised latents.

        The same generator state gives the same plan. ``on_iteration`` is called after every
        evaluation, ``cancelled`` before every one. ``remember`` adds the plan to the plan buffer,
        where the planner has one. ``earlier`` is the plan to this goal that the new one replaces;
        most planners make no use of it.
        Raises PlanCancelled, and InputError for a latent of wrong shape or with NaN.
        """
        ...


def check_latent(latent: torch.Tensor, name: str, size: int) -> torch.Tensor:
    """Return ``latent`` as float32 (size,), or raise InputError that names it."""
    import torch

    latent = torch.as_tensor(latent)
    if latent.shape != (size,):
        raise InputError(
            f"the {name} latent has shape {tuple(latent.shape)}; it must be ({size},)"
        )
    latent = latent.float()
    if not torch.isfinite(latent).all():
        raise InputError(f"the {name} latent has values that are not finite: encode it again")
    return latent


def instruction_only(
    planner: str, language: torch.Tensor | None, goals: torch.Tensor | None
) -> torch.Tensor:
    """Return ``language``, for a planner that cannot use goal latents. Raises GoalError."""
    if goals is not None or language is None:
        raise GoalError(f"{planner} takes an instruction and no goal image: say what to do")
    return language


Subgoals = Literal["planned", "random", "oracle"]
"""What plans consist of: found by the method's search, drawn without one, true pictures."""
AnyConfig = TypeVar("AnyConfig", PlannerConfig, LeapConfig, GcpConfig)


def unsearched(config: AnyConfig) -> AnyConfig:
    """Settings of the same planner with one candidate: the cost is reported, but not minimised.

    PTP: one z ~ N(0, I) for each prediction of each segment of each level; the plan buffer is
    not used. LEAP: one z ~ N(0, I) for each subgoal. GCP: one z of the learned prior
    p(z | left, right) for each node.
    """
    if isinstance(config, PlannerConfig):
        changes = {"search": "mppi", "samples": 1, "iterations": 0, "prior_only_probability": 1.0}
    elif isinstance(config, LeapConfig):
        changes = {"samples": 1, "iterations": 1, "initial_std": 1.0}
    else:
        changes = {"samples": (1,) * config.depth}
    return dataclasses.replace(config, **changes)
