# SPDX-License-Identifier: Apache-2.0
"""Fixed goal images: for each known sentence what a demonstration of it ends with, as codes.

GLCBC, a baseline of LBP, is given such an image beside the instruction (arXiv 2505.06861, 5.3). It
shows another scene than the one that the robot stands in.
"""

from __future__ import annotations

import torch
from torch import nn

from ptp_core.config import SentenceGoalsConfig


class SentenceGoals(nn.Module):
    """Codes, int64 (S, N), of one goal for each row of a `SentenceTable`."""

    def __init__(self, config: SentenceGoalsConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("codes", torch.zeros(config.sentences, config.codes).long())
