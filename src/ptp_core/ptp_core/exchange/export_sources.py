# SPDX-License-Identifier: Apache-2.0
"""Trajectories for an export: of our data sets and of recorded episodes, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ptp_core.data.dataset import Dataset
from ptp_core.data.trajectory import Trajectory
from ptp_core.episodes.episode import LABELS
from ptp_core.episodes.import_bags import BagSource, find_sources, read_own, refusal
from ptp_core.episodes.import_filter import Selection, select
from ptp_core.episodes.message_definitions import Definitions
from ptp_core.errors import DatasetError, EpisodeError, InputError, PtpError
from ptp_core.exchange.lerobot_layout import STAMP

# Everything is exported: idle steps, and what failed. A refused step ends an episode.
ALL = Selection(min_steps=2, idle=0.0, idle_margin=0)
RATE_TOLERANCE = 0.25  # share by which the median rate of a recording may differ from fps


class ExportSources:
    """Finds what the paths hold; iterating yields the trajectories.

    After the iteration, ``reports`` has an entry for each recorded episode, also for those that
    are left out, as `import_bags` makes them.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Sequence[str] = LABELS,
        progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    ) -> None:
        """``labels``: of recorded episodes. InputError for a path that holds nothing of ours."""
        self._labels, self._progress = labels, progress
        self._datasets = [Dataset(path) for path in paths if _is_dataset(path)]
        self._bags = find_sources([path for path in paths if not _is_dataset(path)])
        for source in self._bags:
            if not source.own and not source.refusal:
                raise InputError(
                    f"{source.path}: not an episode of ours: make a data set of it with "
                    "`ptp import-bag --mapping` first, and export that"
                )
        if not self._datasets and all(source.refusal for source in self._bags):
            first = self._bags[0]
            raise InputError(f"{first.path}: {first.refusal}")
        self.reports: list[dict[str, Any]] = []

    @property
    def description(self) -> dict[str, Any]:
        """Of the data's origin: that of a single data set, else the names of all sources."""
        if len(self._datasets) == 1 and not self._bags:
            return self._datasets[0].description
        names = [dataset.folder.name for dataset in self._datasets]
        return {
            "env": "",
            "env_kwargs": {},
            "source": "several" if self._datasets else "bags",
            "sources": names + [source.path.name for source in self._bags if not source.refusal],
        }

    def rate(self) -> float | None:
        """Control steps a second; None where no source says it.

        Raises DatasetError where two sources say different ones.
        """
        found = {
            str(dataset.folder): 1.0 / float(dataset.description["step_seconds"])
            for dataset in self._datasets
            if dataset.description.get("step_seconds")
        }
        if len(set(found.values())) > 1:
            said = ", ".join(f"{path} {rate:g}" for path, rate in found.items())
            raise DatasetError(f"the sources have different rates ({said}): export them apart")
        return next(iter(found.values()), None)

    def __iter__(self) -> Iterator[Trajectory]:
        """Yield the trajectories. A bag that cannot be read is reported and left out."""
        renumber = len(self._datasets) > 1 or bool(self._bags)
        number = 0
        for item in self._progress([*self._parts(), *self._bags]):
            pieces = self._recorded(item, number) if isinstance(item, BagSource) else item
            for trajectory in pieces:
                yield replace(trajectory, index=number) if renumber else trajectory
                number += 1

    def _parts(self) -> Iterator[Dataset]:
        """Each trajectory of the data sets alone, so that progress counts them."""
        for dataset in self._datasets:
            yield from (dataset.part([index]) for index in dataset.indices)

    def _recorded(self, source: BagSource, number: int) -> list[Trajectory]:
        try:
            if source.refusal:
                raise EpisodeError(source.refusal)
            if source.dropped or source.label not in self._labels:
                reason = "it was dropped" if source.dropped else f"it is labelled {source.label}"
                raise EpisodeError(f"{reason}: not asked for")
            candidate = read_own(
                source.path, Definitions(), source.label, source.instruction, by_step=True
            )
            pieces, figures = select(candidate, ALL, number)
            for piece in pieces:
                piece.check()
        except PtpError as error:
            pieces, figures = [], refusal(source, str(error))
        self.reports.append({"path": str(source.path), **figures})
        return pieces


def check_rate(trajectory: Trajectory, fps: int) -> None:
    """Raise DatasetError where the stamps of a recorded episode show another rate than ``fps``."""
    stamps = trajectory.observations.get(STAMP)
    if stamps is None or len(stamps) < 3:
        return
    rate = 1e9 / max(float(np.median(np.diff(stamps))), 1.0)
    if abs(rate - fps) > RATE_TOLERANCE * fps:
        name = trajectory.metadata.extra.get("recording", trajectory.index)
        raise DatasetError(
            f"{name} has {rate:.3g} images a second, not {fps}: export episodes of different "
            "rates apart, or give their nominal rate with --fps"
        )


def _is_dataset(path: Path) -> bool:
    if path.is_dir():
        return (path / "dataset.json").is_file()
    return path.is_file() and path.suffix in (".h5", ".hdf5")
