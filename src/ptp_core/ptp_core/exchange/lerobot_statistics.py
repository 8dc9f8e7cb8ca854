# SPDX-License-Identifier: Apache-2.0
"""Statistics of LeRobot's data sets: of each episode, and of all frames, for normalisation.

As `lerobot/datasets/compute_stats.py`, but over every pixel, and with exact quantiles. Statistics
of images are of values in [0, 1], (3, 1, 1); those of vectors (D,).
"""

from __future__ import annotations

from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
LEVELS = 256  # of a pixel's channel


def number_statistics(values: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics (D,) of numbers (T,) or (T, D)."""
    values = values.astype(np.float64).reshape(len(values), -1)
    found = {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0),
        "std": values.std(0),
        "count": np.array([len(values)]),
    }
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return found | dict(zip(QUANTILES, quantiles, strict=True))


def histogram(images: np.ndarray) -> np.ndarray:
    """Counts int64 (3, 256) of the values of each channel of images uint8 (T, H, W, 3)."""
    return np.stack(
        [np.bincount(images[..., channel].ravel(), minlength=LEVELS) for channel in range(3)]
    )


def image_statistics(counts: np.ndarray, frames: int) -> dict[str, np.ndarray]:
    """Statistics (3, 1, 1), in [0, 1], of images with these counts (3, 256)."""
    levels = np.arange(LEVELS) / (LEVELS - 1)
    total = counts.sum(1)
    mean = counts @ levels / total
    there = counts > 0
    cumulative = counts.cumsum(1) / total[:, None]
    found = {
        "min": levels[there.argmax(1)],
        "max": levels[LEVELS - 1 - there[:, ::-1].argmax(1)],
        "mean": mean,
        "std": np.sqrt(np.maximum(counts @ levels**2 / total - mean**2, 0.0)),
    }
    for name, share in QUANTILES.items():
        found[name] = levels[(cumulative >= share).argmax(1)]
    shaped = {name: values.reshape(3, 1, 1) for name, values in found.items()}
    return shaped | {"count": np.array([frames])}


class RunningStatistics:
    """Statistics of all episodes so far: histograms of images, and the numbers themselves."""

    def __init__(self) -> None:
        self._numbers: dict[str, list[np.ndarray]] = {}
        self._counts: dict[str, np.ndarray] = {}
        self._frames: dict[str, int] = {}

    def add_numbers(self, name: str, values: np.ndarray) -> dict[str, np.ndarray]:
        """Add numbers (T,) or (T, D) of a feature; returns the statistics of these alone."""
        self._numbers.setdefault(name, []).append(values)
        return number_statistics(values)

    def add_images(self, name: str, images: np.ndarray) -> dict[str, np.ndarray]:
        """Add images uint8 (T, H, W, 3) of a feature; returns the statistics of these alone."""
        counts = histogram(images)
        self._counts[name] = self._counts.get(name, 0) + counts
        self._frames[name] = self._frames.get(name, 0) + len(images)
        return image_statistics(counts, len(images))

    def totals(self) -> dict[str, dict[str, Any]]:
        """Statistics of everything that was added, as plain lists, by feature."""
        found = {
            name: image_statistics(counts, self._frames[name])
            for name, counts in self._counts.items()
        }
        for name, parts in self._numbers.items():
            found[name] = number_statistics(np.concatenate(parts))
        return {
            name: {key: values.tolist() for key, values in statistics.items()}
            for name, statistics in found.items()
        }
