# SPDX-License-Identifier: Apache-2.0
"""One demonstration in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptp_core.errors import DatasetError
from ptp_core.shapes import ACTION_DIM, IMAGE_SIZE


@dataclass
class Trajectory:
    """One demonstration of T steps; images[t] is what was seen before actions[t]."""

    index: int
    images: np.ndarray  # uint8 (T, 48, 48, 3)
    actions: np.ndarray  # float32 (T, 5) in [-1, 1], as executed
    rewards: np.ndarray  # float32 (T,)
    attributes: dict[str, Any] = field(default_factory=dict)  # primitive, success, seed, …
    # Beside the picture: name -> (T, …), for example joint positions. Written, not read back.
    observations: dict[str, np.ndarray] = field(default_factory=dict)

    def check(self) -> None:
        """Raise DatasetError unless shapes, types and values are as documented."""
        length = len(self.images)
        expected = (length, IMAGE_SIZE, IMAGE_SIZE, 3)
        if self.images.dtype != np.uint8 or self.images.shape != expected:
            raise DatasetError(
                f"trajectory {self.index}: images must be uint8 {expected}, "
                f"not {self.images.dtype} {self.images.shape}"
            )
        if self.actions.shape != (length, ACTION_DIM) or self.rewards.shape != (length,):
            raise DatasetError(
                f"trajectory {self.index}: {length} images, but actions "
                f"{self.actions.shape} and rewards {self.rewards.shape}"
            )
        for name, values in self.observations.items():
            if len(values) != length:
                raise DatasetError(
                    f"trajectory {self.index}: {length} images, but {len(values)} of {name}"
                )
        if not np.isfinite(self.actions).all() or np.abs(self.actions).max(initial=0) > 1:
            raise DatasetError(f"trajectory {self.index}: an action is outside [-1, 1]")
