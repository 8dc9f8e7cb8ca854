# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a picture: black, over-exposed, or frozen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WHITE = 250  # a channel from here on has lost what was there


@dataclass(frozen=True)
class HealthLimits:
    """From when on a picture says nothing of the table."""

    black_below: float = 5.0  # mean of all channels, of 255
    white_share: float = 0.5  # of pixels whose three channels are all white
    frozen_after: float = 2.0  # s of frames that are equal to the bit; 0: never


def fault_of(pixels: np.ndarray, limits: HealthLimits | None = None) -> str | None:
    """Why this picture, RGB uint8 (H, W, 3), shows no table; None: nothing is wrong with it."""
    limits = limits or HealthLimits()
    if float(pixels.mean()) < limits.black_below:
        return (
            f"the picture is black (mean below {limits.black_below:g} of 255; take the cap off, "
            "switch the light on, or raise exposure)"
        )
    if float((pixels >= WHITE).all(axis=2).mean()) > limits.white_share:
        return (
            f"the picture is over-exposed (over {100 * limits.white_share:g} % of it is white; "
            "lower exposure or gain, or dim the light)"
        )
    return None


class Health:
    """Looks at each frame in turn."""

    def __init__(self, limits: HealthLimits) -> None:
        self._limits = limits
        self._before: tuple[np.ndarray, float] | None = None  # since when every one was the same

    def fault(self, pixels: np.ndarray, small: np.ndarray, time: float) -> str | None:
        """What is wrong with the frame ``pixels`` of that time [s]; ``small``: what is used of it.

        Both RGB uint8 (H, W, 3).
        """
        if self._is_frozen(pixels, time):
            return f"every frame of the last {self._limits.frozen_after:g} s is the same"
        return fault_of(small, self._limits)

    def _is_frozen(self, pixels: np.ndarray, time: float) -> bool:
        """Equal to the bit: a sensor's noise never repeats."""
        if self._before is None or not np.array_equal(self._before[0], pixels):
            self._before = pixels, time
            return False
        seconds = self._limits.frozen_after
        return bool(seconds) and time - self._before[1] > seconds
