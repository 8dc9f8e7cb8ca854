# SPDX-License-Identifier: Apache-2.0
"""Align actions and images of a bag: each decision gets the newest image before it."""

from __future__ import annotations

import numpy as np


def newest_before(stamps: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Index of the newest of ``stamps`` (M,) not later than each of ``times`` (T,); -1: none.

    A later one is never taken, as a policy could not have seen it.
    """
    return np.searchsorted(stamps, times, side="right") - 1


def decision_times(stamps: np.ndarray, rate: float) -> np.ndarray:
    """Times [s] of decisions, and the end of the last decision: (T + 1,).

    ``rate`` 0: one decision for each command; the last one lasts as long as the median of the
    others. Else one every 1/rate s from the first command to the last.
    """
    if len(stamps) < 2:
        return np.empty(0)
    if rate == 0.0:
        return np.append(stamps, stamps[-1] + np.median(np.diff(stamps)))
    count = int((stamps[-1] - stamps[0]) * rate + 1e-6)
    return stamps[0] + np.arange(count + 1) / rate


def displacements(
    stamps: np.ndarray, velocities: np.ndarray, times: np.ndarray, timeout: float
) -> np.ndarray:
    """Commanded motion between successive ``times`` (T + 1,): (T, D).

    A velocity (M, D) holds from its stamp until the next one, at most ``timeout`` s.
    """
    ends = np.minimum(np.append(stamps[1:], np.inf), stamps + timeout)
    # Integral up to a time: whole commands before it, and a part of the current one.
    whole = np.concatenate(
        [np.zeros((1, velocities.shape[1])), np.cumsum(velocities * (ends - stamps)[:, None], 0)]
    )
    index = newest_before(stamps, times)
    running = np.clip(index, 0, None)
    part = np.minimum(times, ends[running]) - stamps[running]
    inside = whole[running] + velocities[running] * part[:, None]
    return np.diff(np.where(index[:, None] < 0, 0.0, inside), axis=0)
