# SPDX-License-Identifier: Apache-2.0
"""One episode of another program's data set, as named columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

Frames = Callable[[], Iterator[np.ndarray]]
"""Starts the images uint8 (H, W, 3) RGB of one camera, one at a time: they may be large."""


@dataclass(frozen=True)
class ColumnEpisode:
    """T rows of numbers by column, and the images of each camera."""

    name: str
    length: int  # T
    columns: Mapping[str, np.ndarray]  # (T,) or (T, D)
    frames: Mapping[str, Frames]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of a column's dimensions
    task: str = ""  # sentence
    success: bool | None = None  # None: unknown
    fps: float | None = None  # rows a second; None: unknown
