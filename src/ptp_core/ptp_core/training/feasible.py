# SPDX-License-Identifier: Apache-2.0
"""What would end a training late is said before it begins, with the cure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ptp_core.config import TrainConfig
from ptp_core.data.arrays import split_count
from ptp_core.data.encoded import MOVING
from ptp_core.errors import DatasetError
from ptp_core.models.subgoal_generator import HORIZONS
from ptp_core.training.subgoal_stage import frames_needed

AIM = 0.8  # norm of an action that a better scale gives the fastest motion


def check_trainable(
    config: TrainConfig,
    lengths: np.ndarray,
    speeds: np.ndarray,
    gaps: Iterable[int],
    where: Path,
    description: dict[str, Any],
) -> None:
    """Raise DatasetError where the stages could not learn from these trajectories.

    ``lengths`` (N,) and ``speeds`` (frames,), which `speed_of` gives, are of the data set at
    ``where``, ``gaps`` the steps over which distances of moving frames are measured,
    ``description`` what the data set says of its origin.
    """
    if (lengths < 2).any():
        number = int(np.flatnonzero(lengths < 2)[0])
        raise DatasetError(
            f"{where}: trajectory {number} has {lengths[number]} step, which leads nowhere: two "
            "are needed; import it again with --min-steps 2 or more"
        )
    count = split_count(len(lengths), config.data.training_fraction)
    _check_motion(lengths[:count], speeds[: lengths[:count].sum()], gaps, where, description)
    for part, some in (("trained on", lengths[:count]), ("validated with", lengths[count:])):
        for name in HORIZONS:
            needed = frames_needed(getattr(config.generators, name))
            if not (some >= needed).any():
                raise DatasetError(
                    f"{where}: the longest of the {len(some)} trajectories that are {part} has "
                    f"{some.max()} frames, the subgoal generator {name} needs {needed}: collect "
                    f"longer ones, or lower generators.{name} in the configuration"
                )


def _check_motion(
    lengths: np.ndarray,
    speeds: np.ndarray,
    gaps: Iterable[int],
    where: Path,
    description: dict[str, Any],
) -> None:
    ends = np.cumsum(lengths)
    for gap in gaps:
        fastest = _fastest(speeds, ends - lengths, ends, gap)
        if fastest is None:
            raise DatasetError(
                f"{where}: the longest trajectory has {lengths.max()} frames; distances are "
                f"measured between frames {gap} steps apart: collect or import longer ones"
            )
        if fastest < MOVING:
            scale = description.get("action_scale") or {}
            cure = "let the expert move faster"
            if description.get("source") == "bags" and "translation" in scale:
                now = float(scale["translation"])
                better = now * max(fastest, 1e-3) / AIM
                cure = (
                    f"import again with translation: {better:.2g} in the mapping, it is {now:g}: "
                    "an action of 1 is then that many metres"
                )
            raise DatasetError(
                f"{where}: the arm moves too slowly for its action scale: over {gap} steps its "
                f"actions have a mean norm of {fastest:.2f} at most, {MOVING:g} counts as "
                f"motion; {cure}"
            )


def _fastest(speeds: np.ndarray, starts: np.ndarray, stops: np.ndarray, gap: int) -> float | None:
    """Largest mean of ``gap`` successive speeds in one trajectory; None: all are shorter."""
    sums = np.concatenate([[0.0], np.cumsum(speeds)])
    means = [
        float((sums[start + gap : stop] - sums[start : stop - gap]).max() / gap)
        for start, stop in zip(starts, stops, strict=True)
        if stop - start > gap
    ]
    return max(means, default=None)
