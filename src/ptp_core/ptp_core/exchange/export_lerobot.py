# SPDX-License-Identifier: Apache-2.0
"""Export our data sets and recorded episodes as one LeRobotDataset v3.0."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ptp_core.data.trajectory import Trajectory
from ptp_core.errors import DatasetError, InputError
from ptp_core.exchange.export_sources import ExportSources, check_rate
from ptp_core.exchange.lerobot_layout import STAMP
from ptp_core.exchange.lerobot_writer import LerobotOptions, lerobot_folder


@dataclass(frozen=True)
class Exported:
    """Result of an export."""

    episodes: int
    frames: int
    fps: int
    labels: dict[str, int]


def export_lerobot(
    sources: ExportSources, folder: Path, options: LerobotOptions | None = None, fps: int = 0
) -> Exported:
    """Write the trajectories of ``sources`` into the new folder ``folder``.

    ``fps`` 0: the control rate of the data sets, or the rate of the first recorded episode; it
    takes the place of ``options.fps``, and stamps are compared with it. Raises DatasetError where
    the sources do not fit together or nothing is usable, InputError where the rate is unknown or
    the folder cannot be made.
    """
    known = sources.rate()
    trajectories = iter(sources)
    first = next(trajectories, None)
    if first is None:
        reasons = Counter(entry["reason"] for entry in sources.reports if not entry["accepted"])
        said = f" ({next(iter(reasons))})" if reasons else ""
        raise DatasetError(f"nothing to export: no episode is usable{said}")
    asked = fps > 0
    fps = fps or _whole(known or _rate_of(first))
    options = replace(options, fps=fps) if options else LerobotOptions(fps=fps)
    if options.robot_type is None:
        options = replace(options, robot_type=sources.description.get("robot"))
    with lerobot_folder(folder, options, sources.description) as writer:
        for trajectory in itertools.chain([first], trajectories):
            if not asked:
                check_rate(trajectory, fps)
            writer.add(trajectory)
    return Exported(writer.episodes, writer.frames, fps, dict(Counter(writer.labels)))


def _rate_of(trajectory: Trajectory) -> float:
    stamps = trajectory.observations.get(STAMP)
    if stamps is None or len(stamps) < 2:
        raise InputError("the control rate of these data is not known: give it with --fps")
    return 1e9 / max(float(np.median(np.diff(stamps))), 1.0)


def _whole(rate: float) -> int:
    """The rate as LeRobot has it, a whole number."""
    if not 0.5 <= rate <= 1000:
        raise InputError(f"the control rate is {rate:.3g} a second: give another with --fps")
    return round(rate)
