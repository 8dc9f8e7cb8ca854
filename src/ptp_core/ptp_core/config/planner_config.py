# SPDX-License-Identifier: Apache-2.0
"""Settings of the planner and of the subgoal follower. Defaults: what the authors' code ran."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptp_core.config.loading import require
from ptp_core.errors import ConfigError

# Fields that fix the structure of a plan. The method sets them; presets do not change them.
STRUCTURE = ("levels", "horizons", "subgoals", "subgoal_count")


@dataclass(frozen=True, kw_only=True)
class LegPlannerConfig:
    """Search of `ptp_core.planners.leg_planner`. Ours."""

    most_legs: int = 4  # primitives in the longest plan that is tried
    shown: int = 4000  # latent actions of demonstrations that searches start from
    samples: int = 256  # candidates of a round
    beam: int = 48  # plans without the last leg that are continued with one leg more
    cell_cap: float = 0.3  # most that a cell adds to the squared latent distance of the beam
    last_legs: int = 4  # latent actions of the last leg that are tried after each of the first
    last_sigma: float = 0.1  # of those around the one that the generator's encoder infers
    elites: int = 16  # that are kept apart from round to round
    sigmas: tuple[float, ...] = (0.1,)  # noise of the rounds after the first
    leg_price: float = 0.1  # in nats, of each leg after the first
    change_weight: float = 0.3  # of -log P(the leg changes something)
    single_weight: float = 0.6  # of -log P(one demonstration does the leg's work), where learned
    single_margin: float = 4.0  # nats that its logit must be above 0: a search finds its errors
    prior_weight: float = 0.02  # of ||z||^2
    failure_price: float = 0.15  # nats, of a first leg for each time that its work was given up
    imagined_within: float = 0.35  # nats of work left up to which the last subgoal is the imagined
    # end of the last leg; else, and with 0, the goal itself
    progress_kept: float = 6.0  # nats of work left that legs must take away for their result to be
    # kept: no plan of several legs is made then
    kept_within: float = 3.5  # nats of work left above which no result is kept. 0: never

    def __post_init__(self) -> None:
        for name in ("most_legs", "shown", "samples", "beam", "last_legs", "elites"):
            require(self, name, 1)
        for name in ("cell_cap", "last_sigma", "leg_price", "change_weight", "prior_weight"):
            require(self, name, 0.0)
        for name in ("single_weight", "single_margin", "failure_price", "imagined_within"):
            require(self, name, 0.0)
        for name in ("progress_kept", "kept_within"):
            require(self, name, 0.0)


@dataclass(frozen=True, kw_only=True)
class ShownLegsConfig:
    """Size of `ptp_core.planners.shown_legs`, in a checkpoint's manifest."""

    count: int
    z_dim: int

    def __post_init__(self) -> None:
        require(self, "count", 1)
        require(self, "z_dim", 1)


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """Hierarchical MPPI over subgoals (paper Alg. 2; authors' planner.py, mppi_planner.py)."""

    search: Literal["mppi", "descent"] = "mppi"  # how the latent actions of a segment are found
    # "mppi": sampling around a weighted mean (authors). "descent": the best samples follow the
    # gradient of the cost through generator and value; ours, not in the paper.
    samples: int = 1024  # candidate plans a segment and an iteration; descent: of the first round
    levels: int = 3  # dt60, dt30, dt15
    horizons: Literal["finest", "coarsest"] = "finest"  # generators that fewer levels use
    subgoals: int = 8  # K; see subgoal_count
    subgoal_count: Literal["total", "top_level"] = "total"
    # "total": K subgoals after the last level, 2/4/8 (authors' code).
    # "top_level": K at the top, doubled by each level, 8/16/32 (paper's Alg. 2 read literally).
    iterations: int = 5  # MPPI refinements after the first evaluation
    temperature: float = 0.1  # of the softmax over costs
    sigmas: tuple[float, ...] = (1.0, 0.5, 0.2, 0.1, 0.1)  # noise of each refinement
    elites: tuple[int, ...] = (16, 8, 4)  # descent: candidates that each stage keeps
    elite_steps: tuple[int, ...] = (4, 4, 8)  # descent: gradient steps of each stage
    warm_elites: tuple[int, ...] = ()  # descent: elites once the plan buffer is used; (): the same
    warm_steps: tuple[int, ...] = ()  # descent: gradient steps of each stage then
    step_size: float = 0.4  # descent: of the first gradient step, in standard deviations of z
    prior_fraction: float = 0.5  # samples from N(0, I) when the plan buffer is used
    prior_only_probability: float = 0.1  # probability that a plan ignores the plan buffer
    buffer_size: int = 1000  # plans a level
    buffer_minimum: int = 32  # plans below which the buffer is not used
    buffer_wrap: Literal["ring", "restart"] = "ring"  # what happens when the buffer is full
    # "ring": the oldest plan is overwritten. "restart": the buffer counts as empty again and stays
    # unused until buffer_minimum new plans are in it (authors' code, by accident).
    value_weight: float = 0.001  # eta1, weight of the summed values
    prior_weight: float = 0.01  # eta2, weight of the prior term
    prior_term: Literal["squared_norm", "log_prob"] = "squared_norm"
    # "squared_norm": ||z||^2 (authors; the same as 0.02 on log p). "log_prob": -log p(z) (paper).
    return_best: Literal["last_round", "best_so_far"] = "last_round"  # authors: last_round
    include_last_value_term: bool = True  # V(last subgoal, goal) too (authors); paper: False
    replace_final_subgoal: bool = True  # the last subgoal becomes the goal itself (authors)

    def __post_init__(self) -> None:
        require(self, "samples", 1)
        require(self, "levels", 1, 3)
        require(self, "subgoals", 1)
        require(self, "iterations", 0)
        require(self, "temperature", 1e-6)
        require(self, "step_size", 1e-6)
        require(self, "prior_fraction", 0.0, 1.0)
        require(self, "prior_only_probability", 0.0, 1.0)
        require(self, "buffer_size", 1)
        require(self, "buffer_minimum", 1)
        if len(self.sigmas) < self.iterations:
            raise ConfigError(
                f"PlannerConfig.sigmas has {len(self.sigmas)} values for "
                f"{self.iterations} iterations; give one sigma an iteration"
            )
        for elites, steps in (("elites", "elite_steps"), ("warm_elites", "warm_steps")):
            counts, lengths = getattr(self, elites), getattr(self, steps)
            none = elites == "elites" and not counts
            if none or len(counts) != len(lengths) or min((*counts, *lengths), default=1) < 1:
                raise ConfigError(
                    f"PlannerConfig.{elites} {counts} and {steps} {lengths} must give each stage "
                    "1 or more candidates and steps"
                )
        divisor = 2 ** (self.levels - 1)
        if self.subgoal_count == "total" and self.subgoals % divisor:
            raise ConfigError(
                f"PlannerConfig.subgoals is {self.subgoals}; with {self.levels} levels and "
                f'subgoal_count "total" it must be a multiple of {divisor}'
            )

    def stages(self, warm: bool) -> list[tuple[int, int]]:
        """(candidates, gradient steps) of each stage of the descent; ``warm``: from a buffer."""
        if warm and self.warm_elites:
            return list(zip(self.warm_elites, self.warm_steps))
        return list(zip(self.elites, self.elite_steps))

    @property
    def rounds(self) -> int:
        """Evaluations of a level: those of MPPI, or those of the descent, first and last included.

        A descent that starts from the plan buffer may have fewer.
        """
        return self.iterations + 1 if self.search == "mppi" else sum(self.elite_steps) + 2

    @classmethod
    def paper(cls, **overrides) -> PlannerConfig:
        """The paper's setting as the authors' code ran it."""
        return cls(**overrides)

    @classmethod
    def fast(cls, **overrides) -> PlannerConfig:
        """Fewer samples and rounds, the best plan of all rounds: about a second on one core."""
        settings = {
            "samples": 64,
            "iterations": 3,
            "sigmas": (0.7, 0.3, 0.1),
            "return_best": "best_so_far",
        }
        return cls(**{**settings, **overrides})

    @classmethod
    def descent(cls, **overrides) -> PlannerConfig:
        """As few samples as ``fast``; the best of them follow the gradient of the cost.

        Once the plan buffer is used, fewer candidates take fewer steps.
        """
        settings = {
            "search": "descent",
            "samples": 64,
            "elites": (8, 4),
            "elite_steps": (4, 8),
            "warm_elites": (4, 2),
            "warm_steps": (3, 6),
            "prior_fraction": 0.25,
            "prior_only_probability": 0.0,
            "return_best": "best_so_far",
        }
        return cls(**{**settings, **overrides})

    @classmethod
    def best(cls, **overrides) -> PlannerConfig:
        """Descent, more candidates, more and smaller steps: a lower cost than the paper's."""
        settings = {
            "search": "descent",
            "samples": 96,
            "elites": (16, 8, 4),
            "elite_steps": (6, 8, 16),
            "step_size": 0.3,
            "return_best": "best_so_far",
        }
        return cls(**{**settings, **overrides})


@dataclass(frozen=True, kw_only=True)
class FollowerConfig:
    """When the policy moves on to the next subgoal (paper Alg. 1; authors' contextual_env.py)."""

    distance_threshold: float | Literal["auto"] = 2.0  # L2 between latents
    # "auto": the reward epsilon that the training settled on; resolved in every checkpoint.
    hold: int = 1  # successive control steps in which a subgoal must be near (authors: 1)
    goal_hold: int = 0  # the same for the goal and for what stands in for it; 0: as ``hold``
    timeout: int = 30  # control steps on one subgoal
    rest: bool = False  # hold the arm still while the goal itself is near; ours
    stand_in: bool = False  # the last subgoal stands for the goal: the policy pursues it until it
    # or the goal is near; ours
    # When plans are made. "once": at the beginning (paper). "on_reach": also when a subgoal is
    # reached or given up, and after the timeout on the goal itself; where the agent has a planner.
    replan: Literal["once", "on_reach"] = "once"
    compare_with: Literal["current_subgoal", "final_subgoal"] = "current_subgoal"
    # "final_subgoal" is the paper's Alg. 1, line 12, as printed.
    switch_delay: bool = True  # the policy sees a new subgoal one step late (authors)
    sample_actions: bool = True  # Gaussian samples (authors, also in evaluation); False = mean

    def __post_init__(self) -> None:
        if self.distance_threshold != "auto":
            require(self, "distance_threshold", 0.0)
        require(self, "hold", 1)
        require(self, "goal_hold", 0)
        require(self, "timeout", 1)
