# SPDX-License-Identifier: Apache-2.0
"""Plan buffer: latent plans of earlier episodes, where later searches start (section III-C)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ptp_core.data.file_limits import MOST_WEIGHTS, at_most
from ptp_core.data.files import write_atomically
from ptp_core.errors import CheckpointError
from ptp_core.planners.planner import Plan


class PlanBuffer:
    """First-in first-out buffer of latent plans (steps, z_dim) of one level.

    When it is full, ``wrap`` "ring" overwrites the oldest plan; "restart" counts the buffer as
    empty again, as the authors' code does.
    """

    def __init__(
        self, capacity: int, steps: int, z_dim: int, wrap: Literal["ring", "restart"] = "ring"
    ) -> None:
        self.entries = torch.zeros(capacity, steps, z_dim)
        self.wrap = wrap
        self._head = 0  # where the next plan goes
        self._count = 0  # plans that may be sampled

    def __len__(self) -> int:
        """Plans that may be sampled."""
        return self._count

    @property
    def capacity(self) -> int:
        """Largest number of plans."""
        return self.entries.shape[0]

    def append(self, z: torch.Tensor) -> None:
        """Store one latent plan (steps, z_dim)."""
        self.entries[self._head] = z.to(self.entries)
        self._head = (self._head + 1) % self.capacity
        if self.wrap == "restart":
            self._count = self._head
        else:
            self._count = min(self._count + 1, self.capacity)

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Draw ``count`` different plans (count, steps, z_dim); at most ``len`` of them."""
        order = torch.randperm(self._count, generator=generator)[:count]
        return self.entries[order]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Plans and positions as tensors."""
        cursor = torch.tensor([self._head, self._count])
        return {"entries": self.entries.clone(), "cursor": cursor}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restore ``state_dict``. Raises CheckpointError when the sizes differ."""
        entries = state["entries"]
        if entries.shape != self.entries.shape:
            raise CheckpointError(
                f"the stored plan buffer has shape {tuple(entries.shape)}, the planner needs "
                f"{tuple(self.entries.shape)}: use the planner settings it was made with"
            )
        head, count = (int(value) for value in state["cursor"])
        if not (0 <= head < self.capacity and 0 <= count <= self.capacity):
            raise CheckpointError(f"the stored plan buffer is damaged: positions {head}, {count}")
        self.entries.copy_(entries)
        self._head, self._count = head, count


def add_plan(buffers: Iterable[PlanBuffer], plan: Plan) -> None:
    """Append a plan's latent actions to the buffers of their levels."""
    for buffer, segments in zip(buffers, plan.z):
        for z in segments:
            buffer.append(z)


def save_buffers(path: str | Path, buffers: list[PlanBuffer]) -> None:
    """Write the buffers of all levels to a safetensors file, atomically."""
    tensors = {
        f"level_{level}.{name}": tensor
        for level, buffer in enumerate(buffers)
        for name, tensor in buffer.state_dict().items()
    }
    content = save(tensors)
    write_atomically(Path(path), lambda partial: partial.write_bytes(content))


def load_buffers(path: str | Path, buffers: list[PlanBuffer]) -> None:
    """Restore ``save_buffers``. Raises CheckpointError for a file that does not fit."""
    try:
        tensors = load_file(at_most(Path(path), MOST_WEIGHTS))
        for level, buffer in enumerate(buffers):
            names = buffer.state_dict()
            buffer.load_state_dict({name: tensors[f"level_{level}.{name}"] for name in names})
    # ValueError: OverBudget, or positions that are no two numbers
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: not a plan buffer file of this planner: {error}"
        ) from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
