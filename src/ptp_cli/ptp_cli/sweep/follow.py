# SPDX-License-Identifier: Apache-2.0
"""How far a run is: read from its folder, whoever carries it out, wherever."""

from __future__ import annotations

from dataclasses import dataclass

from ptp_cli.sweep.config import Run
from ptp_core.practice.run_folder import count_epochs, read_metrics, read_run


@dataclass(frozen=True)
class Evaluation:
    """Success with seeds that practice does not use, after so many epochs."""

    epoch: int
    successes: int
    episodes: int

    def __str__(self) -> str:
        return f"{self.successes}/{self.episodes} at {self.epoch}"


class Following:
    """Follows one run. Times are seconds of one clock, the caller's."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.epochs = 0  # finished
        self.evaluation: Evaluation | None = None  # the newest
        self._since: tuple[float, int] | None = None  # when it began to run, and from which epoch
        self._newest = 0.0  # when the newest epoch was seen
        self.look(0.0)

    def begin(self, now: float) -> None:
        """The run begins to run, or to run again."""
        self._since = now, self.epochs
        self._newest = now

    def look(self, now: float) -> None:
        """Read what is new. Raises InputError for damaged figures."""
        count = count_epochs(self.run.folder, self.epochs)
        if count == self.epochs:
            return
        metrics = [read_metrics(self.run.folder, number) for number in range(self.epochs, count)]
        for entry in metrics:
            if "evaluation" in entry:
                self.evaluation = _evaluation(entry["evaluation"])
        self.epochs, self._newest = count, now

    def finished(self) -> bool:
        """Look whether nothing is left to do. Raises InputError for a damaged folder."""
        if self.epochs < self.run.epochs:
            return False
        run = read_run(self.run.folder)
        if run.finished and run.evaluations:
            self.evaluation = _evaluation(run.evaluations[-1])
        return run.finished

    @property
    def rate(self) -> float | None:
        """Epochs a second since it began to run; None before the first."""
        if self._since is None or self.epochs == self._since[1] or self._newest <= self._since[0]:
            return None
        return (self.epochs - self._since[1]) / (self._newest - self._since[0])

    def seconds_left(self, now: float) -> float | None:
        """Until its last epoch is done, if it goes on as it did; None where nobody knows."""
        if not self.rate or self.epochs >= self.run.epochs:
            return None
        return max(0.0, (self.run.epochs - self.epochs) / self.rate - (now - self._newest))


def _evaluation(entry: dict[str, int]) -> Evaluation:
    return Evaluation(entry["epoch"], entry["successes"], entry["episodes"])
