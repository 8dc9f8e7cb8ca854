# SPDX-License-Identifier: Apache-2.0
"""One demonstration in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ptp_core.data.metadata import Channel, Metadata
from ptp_core.errors import DatasetError

CAMERA = "camera"
"""Name of the camera of an environment whose observation is one image."""


@dataclass
class Trajectory:
    """One demonstration of T steps; images[camera][t] was seen before actions[t]."""

    index: int
    images: Mapping[str, np.ndarray]  # by camera: uint8 (T, H, W, 3) RGB
    actions: np.ndarray  # float32 (T, A) in [-1, 1], as executed
    rewards: np.ndarray  # float32 (T,)
    metadata: Metadata = field(default_factory=Metadata)
    proprioception: np.ndarray | None = None  # float32 (T, P)
    action_channels: tuple[Channel, ...] = ()  # A of them; (): not known
    proprioception_channels: tuple[Channel, ...] = ()  # P of them; (): not known
    # Beside images and proprioception: name -> (T, ...), for example joint positions of a bag.
    observations: Mapping[str, np.ndarray] = field(default_factory=dict)

    def check(self) -> None:
        """Raise DatasetError unless shapes, types and values are as documented."""
        try:
            self._check()
            self.metadata.check(len(self.actions))
        except DatasetError as error:
            raise DatasetError(f"trajectory {self.index}: {error}") from None

    def _check(self) -> None:
        if self.actions.ndim != 2 or self.rewards.ndim != 1:
            raise DatasetError(
                f"actions must be (T, A) and rewards (T,), not {self.actions.shape} and "
                f"{self.rewards.shape}"
            )
        length = len(self.actions)
        if not self.images:
            raise DatasetError("it has no image of any camera")
        for camera, images in self.images.items():
            if not camera or "/" in camera:
                raise DatasetError(f'"{camera}" is no name of a camera')
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
                raise DatasetError(
                    f"images of {camera} must be uint8 (T, H, W, 3), "
                    f"not {images.dtype} {images.shape}"
                )
            self._check_length(f"images of {camera}", images, length)
        self._check_length("rewards", self.rewards, length)
        for name, values in self.observations.items():
            self._check_length(name, values, length)
        if not np.isfinite(self.actions).all() or np.abs(self.actions).max(initial=0) > 1:
            raise DatasetError("an action is outside [-1, 1]")
        self._check_channels("action", self.action_channels, self.actions)
        if self.proprioception is not None:
            self._check_length("proprioception", self.proprioception, length)
            if self.proprioception.ndim != 2 or not np.isfinite(self.proprioception).all():
                raise DatasetError("proprioception must be (T, P) and finite")
            self._check_channels(
                "proprioception", self.proprioception_channels, self.proprioception
            )

    @staticmethod
    def _check_length(what: str, values: np.ndarray, length: int) -> None:
        if len(values) != length:
            raise DatasetError(f"{length} actions, but {len(values)} {what}")

    @staticmethod
    def _check_channels(what: str, channels: tuple[Channel, ...], values: np.ndarray) -> None:
        if channels and len(channels) != values.shape[1]:
            raise DatasetError(f"{what} has {values.shape[1]} numbers, but {len(channels)} names")

    def content_hash(self) -> str:
        """SHA-256 of images, actions, rewards and proprioception."""
        digest = hashlib.sha256()
        columns = {f"images/{camera}": self.images[camera] for camera in sorted(self.images)}
        numbers = {"actions": self.actions, "rewards": self.rewards}
        if self.proprioception is not None:
            numbers["proprioception"] = self.proprioception
        columns |= {name: values.astype(np.float32) for name, values in numbers.items()}
        for name, values in columns.items():
            digest.update(f"{name} {values.dtype} {values.shape};".encode())
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()
