# SPDX-License-Identifier: Apache-2.0
"""Trajectories as states: what methods with goal states learn from. No image is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ptp_core.data.dataset import Dataset, split_count
from ptp_core.data.encoded_dataset import DatasetView
from ptp_core.data.trajectory import action_names
from ptp_core.errors import DatasetError
from ptp_core.learning.goal_transitions import GoalTransitions


@dataclass
class StateDataset:
    """States and actions of all frames; trajectory i has ``lengths[i]`` of them.

    A state is the proprioception, where that is the whole state of the scene.
    """

    states: np.ndarray  # float32 (frames, P)
    actions: np.ndarray  # float32 (frames, A); a trajectory's last one leads nowhere
    lengths: np.ndarray  # int64 (trajectories,)
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]

    @property
    def starts(self) -> np.ndarray:
        """First frame of each trajectory, int64 (trajectories,)."""
        return np.cumsum(self.lengths) - self.lengths

    def split(self, fraction: float) -> tuple[StateDataset, StateDataset]:
        """Split into the first ``fraction`` of the trajectories and the rest (validation).

        Raises DatasetError for a single trajectory.
        """
        cut = split_count(len(self.lengths), fraction)
        frames = int(self.lengths[:cut].sum())
        return (
            self._part(slice(None, frames), slice(None, cut)),
            self._part(slice(frames, None), slice(cut, None)),
        )

    def content_hash(self) -> str:
        """SHA-256 of states, actions and lengths."""
        digest = hashlib.sha256()
        for values in (self.states, self.actions, self.lengths):
            digest.update(f"{values.dtype} {values.shape};".encode())
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def _part(self, frames: slice, trajectories: slice) -> StateDataset:
        return StateDataset(
            self.states[frames],
            self.actions[frames],
            self.lengths[trajectories],
            self.state_names,
            self.action_names,
        )


class StateSource:
    """States and actions as tensors on a device, and the `DatasetView` that samples them.

    Raises DatasetError where no trajectory has two frames.
    """

    def __init__(self, data: StateDataset, device: torch.device) -> None:
        self.view = DatasetView(data)
        self.device = device
        self._states = torch.from_numpy(data.states).to(device)
        self._actions = torch.from_numpy(data.actions).to(device)

    def states(self, frames: np.ndarray) -> torch.Tensor:
        """States float32 (B, P) of frames (B,)."""
        return self._states[torch.from_numpy(frames).to(self.device)]

    def transitions(self, frames: np.ndarray, goals: np.ndarray) -> GoalTransitions:
        """Transitions from frames (B,), with frames (B,) as goals of V and Q.

        A state is at its goal where both are the same frame (OGBench), not where they are near.
        """
        masks = torch.from_numpy((frames != goals).astype(np.float32)).to(self.device)
        return GoalTransitions(
            states=self.states(frames),
            actions=self._actions[torch.from_numpy(frames).to(self.device)],
            next_states=self.states(frames + 1),
            goals=self.states(goals),
            rewards=-masks,
            masks=masks,
        )


def load_states(dataset: Dataset, progress: Callable[[int], None] | None = None) -> StateDataset:
    """Read a data set's states. ``progress`` is called with the trajectories done.

    Raises DatasetError where it has no proprioception, or not the same throughout.
    """
    arrays = dataset.load(progress, cameras=())
    if arrays.proprioception is None:
        raise DatasetError(
            f"{dataset.folder}: has no proprioception, so there are no states to learn from: "
            "take data of an environment with goals of kind state, or ptp pretrain for images"
        )
    count = arrays.proprioception.shape[1]
    names = tuple(channel.name for channel in arrays.proprioception_channels)
    return StateDataset(
        states=arrays.proprioception.astype(np.float32, copy=False),
        actions=arrays.actions.astype(np.float32, copy=False),
        lengths=arrays.lengths,
        state_names=names or tuple(f"p{number}" for number in range(count)),
        action_names=action_names(arrays.action_channels, arrays.actions.shape[1]),
    )
