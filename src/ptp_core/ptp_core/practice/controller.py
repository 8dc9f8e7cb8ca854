# SPDX-License-Identifier: Apache-2.0
"""From code indices to actions: lookup, subgoal follower, policy. The same in every program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ptp_core.config import FollowerConfig
from ptp_core.errors import InputError
from ptp_core.planners.base import Plan
from ptp_core.practice.subgoal_follower import SubgoalFollower
from ptp_core.shapes import CODE_LENGTH

if TYPE_CHECKING:
    from ptp_core.practice.finetuned import FineTunedPolicies
    from ptp_core.training.checkpoint import Checkpoint

Codes = np.ndarray | torch.Tensor


@dataclass(frozen=True)
class ActResult:
    """One decision of the policy."""

    action: np.ndarray  # float32 (5,) in [-1, 1]: dx, dy, dz, dyaw, gripper
    subgoal_index: int  # pursued subgoal; the number of subgoals stands for the goal itself
    distance: float  # L2 from the current latent to the current subgoal
    switched: bool  # the next step pursues another subgoal (or this one, without switch_delay)
    timed_out: bool = False  # ... because the time on the one before was over


class Controller:
    """Follows a plan with the checkpoint's policy. The networks' weights are read at every call.

    Everything comes in as code indices, so that a controller fed by messages acts like one that
    is fed in process, to the bit. ``config`` defaults to the checkpoint's. ``policies``:
    fine-tuned ones, in place of the checkpoint's for the goals that they practised.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: FollowerConfig | None = None,
        policies: FineTunedPolicies | None = None,
    ) -> None:
        self.config = config or checkpoint.config.follower
        self.vqvae = checkpoint.vqvae
        self.iql = checkpoint.iql
        self._policies = policies
        self._follower = SubgoalFollower(self.config)
        self._generator: torch.Generator | None = None
        self._started = False

    def start(self, plan: Plan | Codes | None, goal: Codes, seed: int) -> None:
        """Begin an episode towards ``goal``, codes (144,).

        ``plan``: a Plan, its codes (K, 144), or None to pursue the goal directly. ``seed`` fixes
        the policy's noise. Raises InputError for codes of wrong shape or out of range.
        """
        codes = plan.codes if isinstance(plan, Plan) else plan
        subgoals = None if codes is None else self._lookup(codes, "plan", 2)
        target = self._lookup(goal, "goal", 1)
        if self._policies is not None:
            self._policies.use_for(target)
        self._follower.reset(subgoals, target)
        self._generator = None
        if self.config.sample_actions:
            self._generator = torch.Generator().manual_seed(seed)
        self._started = True

    def act(self, codes: Codes) -> ActResult:
        """Choose the action for the current image, given as codes (144,). Call after ``start``."""
        if not self._started:
            raise InputError("the controller has no goal yet: call start before act")
        latent = self._lookup(codes, "image", 1)
        state = self._follower.step(latent)
        with torch.no_grad():
            action = self.iql.act(latent[None], state.goal[None], self._generator)[0]
        return ActResult(
            action.cpu().numpy(), state.index, state.distance, state.switched, state.timed_out
        )

    def _lookup(self, codes: Codes, name: str, dimensions: int) -> torch.Tensor:
        if isinstance(codes, np.ndarray):
            codes = torch.from_numpy(codes.astype(np.int64))
        if codes.dim() != dimensions or codes.shape[-1] != CODE_LENGTH:
            wanted = f"({CODE_LENGTH},)" if dimensions == 1 else f"(K, {CODE_LENGTH})"
            raise InputError(f"the {name} codes have shape {tuple(codes.shape)}, not {wanted}")
        size = len(self.vqvae.codebook)
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < size:
            raise InputError(f"the {name} has codes outside 0 to {size - 1}: another encoder?")
        with torch.no_grad():
            return self.vqvae.lookup(codes.long().to(self.vqvae.codebook.device))
