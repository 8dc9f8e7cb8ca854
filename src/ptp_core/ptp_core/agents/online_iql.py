# SPDX-License-Identifier: Apache-2.0
"""The online learner of methods whose policy is trained by IQL; loaded when practice begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptp_core.learning.online_learner import OnlineLearner
    from ptp_core.training.checkpoint import Checkpoint


def iql_learner(checkpoint: Checkpoint, *args: Any, **options: Any) -> OnlineLearner:
    """Fine-tune policy and value functions by IQL (paper Alg. 1); see `OnlineLearner`."""
    from ptp_core.learning.online_learner import OnlineLearner

    return OnlineLearner(checkpoint, *args, **options)
