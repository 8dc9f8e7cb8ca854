# SPDX-License-Identifier: Apache-2.0
"""Start and goal pictures of the target tasks, for figures on the same pairs everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Picture = np.ndarray


def target_pictures(tasks: Sequence[str], seed: int = 0) -> list[tuple[Picture, Picture]]:
    """(first image, goal picture) of each task's fixed scene, uint8 (48, 48, 3) each."""
    from ptp_sim.env import make_env

    env = make_env()
    try:
        pairs = []
        for task in tasks:
            image, info = env.reset(seed=seed, options={"task": task, "protocol": "paper"})
            pairs.append((image, info["goal_image"]))
        return pairs
    finally:
        env.close()
