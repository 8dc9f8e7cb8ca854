# SPDX-License-Identifier: Apache-2.0
"""A data set as code indices, 288 bytes a frame, beside the id of the encoder that made it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ptp_core.data.dataset import DatasetArrays, split_count
from ptp_core.data.files import write_atomically
from ptp_core.errors import DatasetError
from ptp_core.models.vqvae import VQVAE

ENCODE_BATCH = 256  # images
MOVING = 0.5  # mean norm of the translation action from which on the arm counts as moving


@dataclass
class EncodedDataset:
    """All frames one after the other; trajectory i has ``lengths[i]`` of them."""

    codes: np.ndarray  # uint16 (frames, 144)
    actions: np.ndarray  # float32 (frames, 5)
    lengths: np.ndarray  # int64 (trajectories,)
    encoder_id: str

    @property
    def starts(self) -> np.ndarray:
        """Return the first frame of each trajectory, int64 (trajectories,)."""
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]])

    def split(self, fraction: float) -> tuple[EncodedDataset, EncodedDataset]:
        """Split into the first ``fraction`` of the trajectories and the rest (validation)."""
        count = split_count(len(self.lengths), fraction)
        frame = int(self.lengths[:count].sum())
        return (
            EncodedDataset(
                self.codes[:frame], self.actions[:frame], self.lengths[:count], self.encoder_id
            ),
            EncodedDataset(
                self.codes[frame:], self.actions[frame:], self.lengths[count:], self.encoder_id
            ),
        )

    def save(self, path: Path) -> None:
        """Write atomically."""
        tensors = {"codes": self.codes, "actions": self.actions, "lengths": self.lengths}
        tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        metadata = {"encoder_id": self.encoder_id}
        content = save(tensors, metadata=metadata)
        write_atomically(path, lambda partial: partial.write_bytes(content))

    @classmethod
    def load(cls, path: Path) -> EncodedDataset:
        """Read what ``save`` wrote; DatasetError when it is missing or truncated."""
        try:
            tensors = load_file(path)
            with open(path, "rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            return cls(**tensors, encoder_id=header["__metadata__"]["encoder_id"])
        except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
            raise DatasetError(f"{path}: no encoded data set ({error})") from error


@torch.inference_mode()
def encode_dataset(
    vqvae: VQVAE,
    arrays: DatasetArrays,
    encoder_id: str,
    progress: Callable[[int], None] | None = None,
) -> EncodedDataset:
    """Encode every frame; ``progress`` is called with the number of frames done."""
    device = next(vqvae.parameters()).device
    codes = np.empty((len(arrays.images), 144), dtype=np.uint16)
    for start in range(0, len(codes), ENCODE_BATCH):
        images = torch.from_numpy(arrays.images[start : start + ENCODE_BATCH]).to(device)
        codes[start : start + len(images)] = vqvae.encode(images).cpu().numpy()
        if progress is not None:
            progress(len(images))
    return EncodedDataset(codes, arrays.actions, arrays.lengths, encoder_id)


@torch.inference_mode()
def latent_distances(
    vqvae: VQVAE,
    data: EncodedDataset,
    gaps: tuple[int, ...],
    rng: np.random.Generator,
    samples: int = 4096,
) -> dict[int, np.ndarray]:
    """Return L2 distances of latents k steps apart in one trajectory, for each k in ``gaps``.

    Only pairs between which the arm was told to move count (MOVING): experts that hold still at
    the end of a trajectory would pull the figures to 0. DatasetError when there is no such pair.
    """
    device = next(vqvae.parameters()).device
    starts = data.starts
    speeds = np.concatenate([[0.0], np.cumsum(np.linalg.norm(data.actions[:, :3], axis=1))])
    result = {}
    for gap in gaps:
        first = np.concatenate(
            [
                np.arange(start, start + max(length - gap, 0))
                for start, length in zip(starts, data.lengths, strict=True)
            ]
        )
        first = first[(speeds[first + gap] - speeds[first]) / gap >= MOVING]
        if not len(first):
            raise DatasetError(f"no trajectory has two frames {gap} steps apart with motion")
        first = rng.choice(first, min(samples, len(first)), replace=False)
        a, b = (
            vqvae.lookup(torch.from_numpy(data.codes[frames].astype(np.int64)).to(device))
            for frames in (first, first + gap)
        )
        result[gap] = (a - b).norm(dim=1).cpu().numpy()
    return result
