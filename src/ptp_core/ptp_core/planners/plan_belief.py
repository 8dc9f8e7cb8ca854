# SPDX-License-Identifier: Apache-2.0
"""What is believed of plans that were tried some times: which work, and what a new one may do.

A plan mostly works or it does not: its success rate is from one of two Beta distributions, GOOD
and BAD. Which part of the plans is good is learned from all of them (empirical Bayes, by
expectation and maximisation). One Beta prior for all tried hopeless plans again and again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

GOOD = (8.0, 2.0)  # successes and failures that describe plans that the policy can follow
BAD = (1.0, 9.0)
HOPE = (0.5, 2.0)  # good plans among how many, before any was tried
ROUNDS = 10  # of expectation and maximisation; few change anything
NEW = 3  # new plans whose best draw stands for planning anew: there are always more of them


@dataclass(frozen=True)
class PlanBelief:
    """Posterior of n plans' success rates, from their records."""

    wins: np.ndarray  # (n,)
    losses: np.ndarray  # (n,)
    good: np.ndarray  # (n,) probability that each is good
    share: float  # part of all plans that is good

    @classmethod
    def of(cls, successes: np.ndarray, trials: np.ndarray) -> PlanBelief:
        """Believe what records (n,) and (n,) tell."""
        losses = trials - successes
        evidence = _evidence(GOOD, successes, losses) - _evidence(BAD, successes, losses)
        share = HOPE[0] / HOPE[1]
        for _ in range(ROUNDS):
            good = 1.0 / (1.0 + (1.0 - share) / share * np.exp(-evidence))
            share = (HOPE[0] + good.sum()) / (HOPE[1] + len(good))
        return cls(successes, losses, good, float(share))

    def mean(self) -> tuple[np.ndarray, float]:
        """Expected rates of the plans (n,), and of a new one."""
        good, bad = (
            (wins + self.wins) / (wins + losses + self.wins + self.losses)
            for wins, losses in (GOOD, BAD)
        )
        new_good, new_bad = (wins / (wins + losses) for wins, losses in (GOOD, BAD))
        new = self.share * new_good + (1.0 - self.share) * new_bad
        return self.good * good + (1.0 - self.good) * bad, new

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Rates of the plans (n,) drawn from their posteriors, and the best of NEW new ones."""
        known = self._draw(rng, self.good, self.wins, self.losses)
        none = np.zeros(NEW)
        return known, float(self._draw(rng, np.full(NEW, self.share), none, none).max())

    @staticmethod
    def _draw(rng, good, wins, losses) -> np.ndarray:
        rates = [rng.beta(won + wins, lost + losses) for won, lost in (GOOD, BAD)]
        return np.where(rng.random(len(good)) < good, *rates)


def _evidence(prior: tuple[float, float], wins: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Logarithm of the probability of each record, up to what all priors share."""

    def log_beta(a, b) -> np.ndarray:
        a, b = (torch.as_tensor(np.asarray(x, dtype=np.float64)) for x in (a, b))
        return (torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)).numpy()

    return log_beta(prior[0] + wins, prior[1] + losses) - log_beta(*prior)
