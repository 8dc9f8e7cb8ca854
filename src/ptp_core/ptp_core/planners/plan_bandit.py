# SPDX-License-Identifier: Apache-2.0
"""What is believed of plans that were tried some times: which work, and what a new one may do.

A plan mostly works or it does not: its success rate is from one of two Beta distributions, GOOD
and BAD. Which part of the plans is good is learned from all of them (empirical Bayes, by
expectation and maximisation). One Beta prior for all tried hopeless plans again and again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

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
