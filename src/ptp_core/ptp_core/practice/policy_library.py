# SPDX-License-Identifier: Apache-2.0
"""What practice of a task left, one file each: the fine-tuned policy and the plans it tried.

Which of several serves an episode is told by the goal: the one that practised (about) this goal
picture. For other goals the checkpoint stays as it was trained offline.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ptp_core.data.file_limits import MOST_WEIGHTS, parse_json, read_bytes
from ptp_core.data.files import write_atomically
from ptp_core.errors import CheckpointError
from ptp_core.planners.plan_library import NEAR, PlanLibrary, PlanLibraryPlanner
from ptp_core.planners.planner import Plan, PlanFeedback, Planner
from ptp_core.training.checkpoint import Checkpoint

FORMAT = "ptp-finetuned-1"
AGAIN = "take the file from one source with its checkpoint, or practise again"


@dataclass(frozen=True)
class FineTuned:
    """One file, checked."""

    name: str  # the file's, without its ending
    sha256: str
    weights: dict[str, torch.Tensor]  # of the part that was practised, float32
    goals: torch.Tensor  # float32 (n, D): latents of the goal pictures that it practised
    library: PlanLibrary
    figures: dict[str, Any]  # how it was practised


def save_finetuned(
    path: Path,
    checkpoint: Checkpoint,
    part: str,
    goals: np.ndarray,
    library: PlanLibrary,
    figures: dict[str, Any],
) -> None:
    """Write a part and the plans of one practised task, atomically, in the part's precision.

    ``part``: the one that practice changed, as it is now. ``goals`` (n, D), float32: latents of
    the goal pictures that were practised, n > 0.
    """
    learned = checkpoint.parts[part]
    dtype = np.float16 if learned.precision == "float16" else np.float32
    tensors = {f"plans/{name}": value for name, value in library.tensors().items()}
    tensors["goals"] = np.unique(goals, axis=0)
    for name, value in learned.module.state_dict().items():
        array = value.detach().cpu().numpy()
        whole = array.astype(dtype) if array.dtype.kind == "f" else array
        tensors[f"{part}/{name}"] = np.ascontiguousarray(whole)
    metadata = {
        "format": FORMAT,
        "encoder_id": checkpoint.encoder_id,
        "figures": json.dumps(figures),
    }
    content = save(dict(sorted(tensors.items())), metadata=metadata)
    write_atomically(path, lambda partial: partial.write_bytes(content))


def load_finetuned(path: Path, checkpoint: Checkpoint, part: str = "iql") -> FineTuned:
    """Read and check a file of `save_finetuned` with this part.

    Raises CheckpointError where it is missing, damaged, of another encoder or of networks with
    other sizes, or has values that are not finite.
    """
    try:
        content = read_bytes(path, MOST_WEIGHTS)
        tensors = load(content)
        header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header.get("__metadata__", {})
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from error
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); {AGAIN}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a fine-tuned policy of this version; {AGAIN}")
    if metadata.get("encoder_id") != checkpoint.encoder_id:
        raise CheckpointError(
            f"{path}: practised with another encoder than {checkpoint.folder} has; {AGAIN}"
        )
    weights = {}
    for name, wanted in checkpoint.part(part).state_dict().items():
        array = tensors.get(f"{part}/{name}")
        if array is None or array.shape != tuple(wanted.shape):
            raise CheckpointError(f"{path}: {name} does not fit the checkpoint's policy; {AGAIN}")
        weights[name] = torch.from_numpy(array).to(wanted.dtype)
        if not torch.isfinite(weights[name]).all():
            raise CheckpointError(f"{path}: {name} has values that are not finite; {AGAIN}")
    library = PlanLibrary(checkpoint.encoder_id)
    plans = {name[6:]: value for name, value in tensors.items() if name.startswith("plans/")}
    try:
        library.take(plans)
        goals = torch.from_numpy(tensors["goals"])
        figures = parse_json(metadata["figures"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged ({error!r}); {AGAIN}") from error
    digest = hashlib.sha256(content).hexdigest()
    return FineTuned(path.stem, digest, weights, goals, library, figures)


class FineTunedPolicies:
    """The files of a folder; puts the right weights into a part of the checkpoint.

    ``part``: what the agent learns. Raises CheckpointError where the folder has none, or one does
    not fit.
    """

    def __init__(self, checkpoint: Checkpoint, folder: Path, part: str = "iql") -> None:
        paths = sorted(folder.glob("*.safetensors"))
        if not paths:
            raise CheckpointError(f"{folder}: no fine-tuned policy; ptp practice leaves one")
        self._learned = checkpoint.part(part)
        self._offline = {name: value.clone() for name, value in self._learned.state_dict().items()}
        self.members = [load_finetuned(path, checkpoint, part) for path in paths]
        self.current: FineTuned | None = None

    @property
    def sha256(self) -> dict[str, str]:
        """Of each file, by name."""
        return {member.name: member.sha256 for member in self.members}

    def use_for(self, goal: torch.Tensor) -> FineTuned | None:
        """Let the networks be those that practised this goal, latent (D,); None: no one did."""
        found = min(self.members, key=lambda member: _away(member, goal))
        chosen = found if _away(found, goal) <= NEAR else None
        if chosen is not self.current:
            self._learned.load_state_dict(self._offline if chosen is None else chosen.weights)
            self.current = chosen
        return chosen


class FineTunedPlanner:
    """Plans with the networks that practised the goal, and reuses its plans."""

    def __init__(self, planner: Planner, policies: FineTunedPolicies) -> None:
        self._planner = planner
        self._policies = policies

    def plan(
        self,
        start: torch.Tensor,
        goal: torch.Tensor,
        generator: torch.Generator,
        *,
        on_iteration: Callable[[PlanFeedback], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        remember: bool = False,
        earlier: Plan | None = None,
    ) -> Plan:
        """As `Planner.plan`."""
        chosen = self._policies.use_for(goal)
        planner = self._planner
        if chosen is not None:
            planner = PlanLibraryPlanner(planner, chosen.library, explore=False)
        return planner.plan(
            start,
            goal,
            generator,
            on_iteration=on_iteration,
            cancelled=cancelled,
            remember=remember,
            earlier=earlier,
        )


def _away(member: FineTuned, goal: torch.Tensor) -> float:
    """L2 from a goal to the nearest that was practised."""
    return float((member.goals - goal.cpu()).norm(dim=1).min())
