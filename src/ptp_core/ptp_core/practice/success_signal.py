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

from ptp_core.errors import ConfigError
from ptp_core.practice.practice_settings import SuccessSignal

if TYPE_CHECKING:
    from ptp_core.training.checkpoint import Checkpoint

JUDGE = "classifier"  # a checkpoint's part, and the signal that asks it
DONE = 0.5  # probability above which the work counts as done


def check_signal(signal: SuccessSignal, checkpoint: Checkpoint) -> None:
    """Raise ConfigError where the checkpoint lacks the network that ``signal`` asks."""
    if signal == JUDGE and JUDGE not in checkpoint.parts:
        raise ConfigError(
            f'success_signal "{JUDGE}" asks a goal classifier, which {checkpoint.folder} does not '
            'have: use "latent", or a checkpoint of a configuration with classifier.steps'
        )


def counts_as_success(
    signal: SuccessSignal,
    judged: bool,
    last: np.ndarray,
    goal: np.ndarray,
    checkpoint: Checkpoint,
) -> bool:
    """Whether an episode counts as a success.

    ``judged``: the simulator's verdict, read for the signal "simulator" alone; see
    `own_judgement` for the others. ``last``, ``goal``: codes (N,) of the last observation and of
    the goal.
    """
    if signal == "simulator":
        return judged
    return own_judgement(signal, last, goal, checkpoint)


@torch.no_grad()
def own_judgement(
    signal: SuccessSignal, last: np.ndarray, goal: np.ndarray, checkpoint: Checkpoint
) -> bool:
    """The signals "latent" and "classifier" for codes (N,) of last observation and goal.

    "latent" asks their L2 distance to be below the reward epsilon, where the reward is 0 (paper
    section III). "classifier" asks the goal classifier whether the goal's work is done.
    """
    pair = torch.from_numpy(np.stack([last, goal]).astype(np.int64))
    end, target = checkpoint.vqvae.lookup(pair.to(checkpoint.vqvae.codebook.device))
    if signal == JUDGE:
        return float(checkpoint.part(JUDGE).probability(end[None], target[None])) > DONE
    return float(torch.linalg.vector_norm(end - target)) < checkpoint.config.iql.reward_epsilon
