# SPDX-License-Identifier: Apache-2.0
"""Import data sets of other programs into one file of ours, as `import_bags` does with bags."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ptp_core.config.loading import to_dict
from ptp_core.data.demo_file import write_file
from ptp_core.data.files import check_file, reserved_file
from ptp_core.data.trajectory import Channel, Metadata, Trajectory
from ptp_core.episodes.bag_mapping import BagMapping
from ptp_core.episodes.import_bags import Summary, write_report
from ptp_core.episodes.import_filter import Selection, select
from ptp_core.errors import DatasetError
from ptp_core.exchange import lerobot_layout as layout
from ptp_core.exchange.column_candidate import Picture, read_columns
from ptp_core.exchange.column_episode import ColumnEpisode
from ptp_core.exchange.lerobot_reader import LerobotFolder

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def import_episodes(
    episodes: Iterable[ColumnEpisode],
    out: Path,
    *,
    source: str,
    mapping: BagMapping,
    picture: Picture,
    selection: Selection | None = None,
    report: Path | None = None,
    progress: Progress = iter,
) -> Summary:
    """Write the usable steps of ``episodes`` into the new HDF5 file ``out``.

    ``source`` names the data set in the file's description. Raises ConfigError where the mapping
    does not fit, DatasetError where an episode is damaged or nothing is usable; ``out`` is then
    not made.
    """
    selection = selection or Selection()
    reports: list[dict[str, Any]] = []
    counts = [0, 0]  # trajectories, steps

    def pieces() -> Iterator[Trajectory]:
        for episode in progress(episodes):
            candidate = read_columns(episode, mapping, picture)
            found, figures = select(candidate, selection, counts[0])
            reports.append({"path": f"{source}/{episode.name}", **figures})
            for piece in found:
                counts[0] += 1
                counts[1] += len(piece.actions)
                yield piece
        if not counts[0]:
            first = reports[0]["reason"] if reports else "there is no episode"
            raise DatasetError(f"nothing usable: {first}")

    description = {
        "env": "",
        "env_kwargs": {},
        "source": source,
        "action_scale": {"translation": mapping.translation, "rotation": mapping.rotation},
        "selection": dataclasses.asdict(selection),
        "mapping": to_dict(mapping),
    }
    _write(out, report, description, pieces())
    accepted = sum(entry["accepted"] for entry in reports)
    summary = Summary(counts[0], counts[1], accepted, reports)
    if report is not None:
        write_report(report, summary)
    return summary


def import_own(folder: LerobotFolder, out: Path, progress: Progress = iter) -> Summary:
    """Write a data set that `ptp export lerobot` made back into the new HDF5 file ``out``.

    Arrays and metadata are those that were exported; images that were stored as video are as the
    video shows them. Raises DatasetError where a file is damaged.
    """
    own = folder.own()
    if own is None:
        raise DatasetError(f"{folder.folder}: not an export of ours: give --mapping")
    counts = [0, 0]

    def trajectories() -> Iterator[Trajectory]:
        for episode, known in zip(progress(folder.episodes()), own["episodes"], strict=True):
            try:
                trajectory = _trajectory(episode, own, known)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DatasetError(
                    f"{folder.folder}: {episode.name}: damaged ({type(error).__name__} {error})"
                ) from error
            counts[0] += 1
            counts[1] += len(trajectory.actions)
            yield trajectory

    description = own["description"] if isinstance(own["description"], dict) else {}
    _write(out, None, description, trajectories())
    return Summary(counts[0], counts[1], counts[0], [])


def _write(
    out: Path, report: Path | None, description: dict[str, Any], found: Iterator[Trajectory]
) -> None:
    if report is not None:
        check_file(report)
    with reserved_file(out):
        write_file(out, description, found)


def _trajectory(episode: ColumnEpisode, own: dict[str, Any], known: dict[str, Any]) -> Trajectory:
    columns = episode.columns

    def vectors(name: str) -> np.ndarray | None:
        if name not in columns:
            return None
        return columns[name].reshape(episode.length, -1)

    observations = {}
    for name, dimensions in own["observations"].items():
        column = name if name in layout.TOP_LEVEL else f"{layout.OBSERVATION}{name}"
        observations[name] = columns[column] if dimensions == 1 else vectors(column)
    return Trajectory(
        index=int(known["index"]),
        images={
            name.removeprefix(layout.IMAGES): np.stack(list(frames()))
            for name, frames in episode.frames.items()
        },
        actions=vectors(layout.ACTION),
        rewards=columns[layout.REWARD],
        metadata=Metadata.from_attributes(known["attributes"]),
        proprioception=vectors(layout.STATE),
        action_channels=_channels(own["action_channels"]),
        proprioception_channels=_channels(own["proprioception_channels"]),
        observations=observations,
        expert_actions=vectors(layout.EXPERT_ACTION),
    )


def _channels(values: Iterable[dict[str, Any]]) -> tuple[Channel, ...]:
    return tuple(Channel(**channel) for channel in values)
