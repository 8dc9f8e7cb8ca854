# SPDX-License-Identifier: Apache-2.0
"""What practice takes for a success: the simulator's truth, or the method's own judgement.

The signal decides which plans the plan library does again and, with ``learn_from`` "successes",
which episodes are learned from. It is not what success rates report: those are always judged by
the simulator, or by the person at a real arm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ptp_core.practice.practice_settings import SuccessSignal

if TYPE_CHECKING:
    from ptp_core.training.checkpoint import Checkpoint


def counts_as_success(
    signal: SuccessSignal, judged: bool, distance: float, checkpoint: Checkpoint
) -> bool:
    """Whether an episode counts as a success.

    ``judged``: the simulator's verdict, read for the signal "simulator" alone. ``distance``: L2
    from the last latent to the goal's; "latent" asks it to be below the reward epsilon, where the
    reward is 0 (paper section III).
    """
    if signal == "simulator":
        return judged
    return distance < checkpoint.config.iql.reward_epsilon


def latent_success(last: np.ndarray, goal: np.ndarray, checkpoint: Checkpoint) -> bool:
    """The signal "latent" for an episode's last observation and goal, both codes (N,)."""
    pair = torch.from_numpy(np.stack([last, goal]).astype(np.int64))
    with torch.no_grad():
        end, target = checkpoint.vqvae.lookup(pair.to(checkpoint.vqvae.codebook.device))
    distance = float(torch.linalg.vector_norm(end - target))
    return counts_as_success("latent", False, distance, checkpoint)
