# SPDX-License-Identifier: Apache-2.0
"""Data sets encoded once to latents, as columns, with the id of the encoder.

The encoded columns are cached in a file. A `DatasetView` samples them for a learner.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ptp_core.config import RelabellingConfig
from ptp_core.data.dataset import Dataset, DatasetArrays, split_count
from ptp_core.data.file_limits import MOST, at_most, parse_json
from ptp_core.data.files import write_atomically
from ptp_core.data.trajectory import CAMERA, Channel, Metadata, action_names, speed_of
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import DatasetError, InputError
from ptp_core.learning.relabelling import ORIGINAL, hindsight_goals
from ptp_core.training.checkpoint import Checkpoint

ENCODE_BATCH = 256  # images
MOVING = 0.5  # mean norm of translation actions above which the arm counts as moving
EXPERT_ACTIONS = "expert_actions"  # a column, float32 (frames, A); see `Trajectory`
ENCODED_VERSION = 2  # 1: codes, actions and lengths of one camera, nothing else


@dataclass
class EncodedDataset:
    """All frames concatenated; trajectory i has ``lengths[i]`` of them.

    ``codes`` are those of ``camera``. ``columns`` holds further data of each frame, (frames, ...):
    "codes/<camera>" of further cameras, EXPERT_ACTIONS, features of another encoder.
    """

    codes: np.ndarray  # uint16 (frames, N)
    actions: np.ndarray  # float32 (frames, A)
    lengths: np.ndarray  # int64 (trajectories,)
    encoder_id: str
    proprioception: np.ndarray | None = None  # float32 (frames, P)
    metadata: Sequence[Metadata] = ()  # of each trajectory; (): unknown
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    camera: str = CAMERA
    action_channels: tuple[Channel, ...] = ()
    proprioception_channels: tuple[Channel, ...] = ()
    key: str = ""  # see `cache_key`; "": unknown

    def __post_init__(self) -> None:
        """Raise DatasetError unless all columns have as many frames as the trajectories."""
        if not len(self.metadata):
            self.metadata = (Metadata(),) * len(self.lengths)
        frames = int(self.lengths.sum())
        sizes = {name: len(values) for name, values in self._arrays().items() if name != "lengths"}
        wrong = {name: size for name, size in sizes.items() if size != frames}
        if wrong or len(self.metadata) != len(self.lengths):
            raise DatasetError(
                f"{len(self.lengths)} trajectories of {frames} frames do not go with "
                f"{len(self.metadata)} descriptions and columns of {wrong} frames"
            )

    @property
    def starts(self) -> np.ndarray:
        """Return the first frame of each trajectory, int64 (trajectories,)."""
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int64)

    @cached_property
    def done(self) -> np.ndarray:
        """First frame of each trajectory after its last work was done, int64 (trajectories,).

        Counted from the trajectory's start; its length where that is unknown, or the work failed.
        """
        found = self.lengths.astype(np.int64)
        for row, known in enumerate(self.metadata):
            last = known.segments[-1] if known.segments else None
            if last is not None and last.done is not None and last.success is not False:
                found[row] = last.done
        return found

    def split(self, fraction: float) -> tuple[EncodedDataset, EncodedDataset]:
        """Split into the first ``fraction`` of the trajectories and the rest (validation)."""
        cut = split_count(len(self.lengths), fraction)
        frame = int(self.lengths[:cut].sum())
        return (
            self._part(slice(None, frame), self.lengths[:cut], self.metadata[:cut]),
            self._part(slice(frame, None), self.lengths[cut:], self.metadata[cut:]),
        )

    def _part(
        self, frames: slice | np.ndarray, lengths: np.ndarray, metadata: Sequence[Metadata]
    ) -> EncodedDataset:
        return dataclasses.replace(
            self,
            codes=self.codes[frames],
            actions=self.actions[frames],
            lengths=lengths,
            proprioception=None if self.proprioception is None else self.proprioception[frames],
            metadata=metadata,
            columns={name: values[frames] for name, values in self.columns.items()},
            key="",
        )

    def only(self, keep: np.ndarray) -> EncodedDataset:
        """The trajectories for which ``keep``, bool (trajectories,), is true."""
        chosen = [known for known, kept in zip(self.metadata, keep, strict=True) if kept]
        return self._part(np.repeat(keep, self.lengths), self.lengths[keep], chosen)

    def by_segment(self) -> EncodedDataset:
        """The same frames with each segment of a trajectory as a trajectory of its own.

        Learners of single primitives use this on chains. A trajectory without segments stays
        whole; frames outside of all segments are left out.
        """
        kept, lengths, metadata = [], [], []
        for start, length, known in zip(self.starts, self.lengths, self.metadata, strict=True):
            pieces = [(s.start, s.stop) for s in known.segments] or [(0, int(length))]
            for number, (first, stop) in enumerate(pieces):
                kept.append(np.arange(start + first, start + stop))
                lengths.append(stop - first)
                metadata.append(known.of_segment(number) if known.segments else known)
        return self._part(np.concatenate(kept), np.array(lengths, dtype=np.int64), metadata)

    def working(self) -> np.ndarray:
        """Whether the task of each frame's segment is not done yet: bool (frames,).

        True where the data do not record when it was done.
        """
        working = np.ones(len(self.codes), dtype=bool)
        for start, known in zip(self.starts, self.metadata, strict=True):
            for segment in known.segments:
                if segment.done is not None:
                    working[start + segment.done : start + segment.stop] = False
        return working

    def content_hash(self) -> str:
        """SHA-256 of all columns and lengths, for the fingerprint of a training stage."""
        digest = hashlib.sha256(self.encoder_id.encode())
        for name, values in sorted(self._arrays().items()):
            digest.update(f"{name} {values.dtype} {values.shape};".encode())
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {"codes": self.codes, "actions": self.actions, "lengths": self.lengths}
        if self.proprioception is not None:
            arrays["proprioception"] = self.proprioception
        return arrays | {f"column/{name}": values for name, values in self.columns.items()}

    def save(self, path: Path) -> None:
        """Write atomically."""
        tensors = {name: np.ascontiguousarray(value) for name, value in self._arrays().items()}
        description = {
            "format_version": ENCODED_VERSION,
            "camera": self.camera,
            "key": self.key,
            "action_channels": [dataclasses.asdict(c) for c in self.action_channels],
            "proprioception_channels": [
                dataclasses.asdict(c) for c in self.proprioception_channels
            ],
            "trajectories": [known.to_attributes() for known in self.metadata],
        }
        content = save(
            tensors,
            metadata={"encoder_id": self.encoder_id, "description": json.dumps(description)},
        )
        write_atomically(path, lambda partial: partial.write_bytes(content))

    @classmethod
    def load(cls, path: Path) -> EncodedDataset:
        """Read what ``save`` wrote, or a file of version 1.

        Raises DatasetError when it is missing, truncated or of an unknown version.
        """
        try:
            tensors = load_file(at_most(path, MOST))
            with open(path, "rb") as file:
                header = parse_json(file.read(int.from_bytes(file.read(8), "little")))
            attributes = header["__metadata__"]
            text = attributes.get("description")
            described = {} if text is None else _described(parse_json(text), path)
            columns = {
                name.removeprefix("column/"): tensors.pop(name)
                for name in list(tensors)
                if name.startswith("column/")
            }
            return cls(
                **tensors, columns=columns, encoder_id=attributes["encoder_id"], **described
            )
        except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
            raise DatasetError(f"{path}: no encoded data set ({error})") from error


class InTrajectories(Protocol):
    """What a `DatasetView` samples: an `EncodedDataset`, or a `StateDataset`."""

    actions: np.ndarray  # float32 (frames, A)
    lengths: np.ndarray  # int64 (trajectories,)

    @property
    def starts(self) -> np.ndarray:
        """First frame of each trajectory, int64 (trajectories,)."""
        ...


class DatasetView:
    """Samples frames of ``data`` as indices: int64 arrays (B,).

    A learner reads the columns that it needs with them:

        view = DatasetView(data)
        frames = view.draw(256, rng)
        goals = view.goals(frames, roles.value, rng)
        actions, real = view.chunks(frames, 6)
        data.codes[frames], data.codes[view.ahead(frames, 1)], data.codes[goals], ...

    A view never crosses trajectories. Goals and windows of a chain may cross its primitives;
    `EncodedDataset.by_segment` keeps them within one primitive.

    A frame can be drawn if at least ``room`` frames follow it in its trajectory: 1 for
    transitions, 0 for single frames. ``weights`` (frames,) are sampling weights; None: uniform.
    Raises DatasetError when no frame can be drawn.
    """

    def __init__(
        self, data: InTrajectories, *, room: int = 1, weights: np.ndarray | None = None
    ) -> None:
        self.data = data
        starts = data.starts
        self._trajectory = np.repeat(np.arange(len(data.lengths)), data.lengths)
        self._first = starts[self._trajectory]
        self._last = (starts + data.lengths - 1)[self._trajectory]
        frames = np.arange(len(self._last))
        self._drawable = frames[self._last - frames >= room]
        self._sums = None
        if weights is not None:
            self._sums = np.cumsum(weights[self._drawable], dtype=np.float64)
        if not len(self._drawable) or (self._sums is not None and not self._sums[-1] > 0):
            raise DatasetError(
                f"no frame has {room} frames after it and a weight above 0: collect longer "
                "trajectories"
            )

    def __len__(self) -> int:
        """Frames that can be drawn."""
        return len(self._drawable)

    def trajectory(self, frames: np.ndarray) -> np.ndarray:
        """Index of each frame's trajectory in ``data.metadata``."""
        return self._trajectory[frames]

    def last(self, frames: np.ndarray) -> np.ndarray:
        """Last frame of each frame's trajectory."""
        return self._last[frames]

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw frames, with replacement."""
        if self._sums is None:
            return self._drawable[rng.integers(len(self), size=count)]
        drawn = np.searchsorted(self._sums, rng.random(count) * self._sums[-1], side="right")
        return self._drawable[np.minimum(drawn, len(self) - 1)]

    def ahead(self, frames: np.ndarray, steps: int | np.ndarray) -> np.ndarray:
        """The frame ``steps`` later, at most the last one of the trajectory."""
        return np.minimum(frames + steps, self._last[frames])

    def goals(
        self, frames: np.ndarray, config: RelabellingConfig, rng: np.random.Generator
    ) -> np.ndarray:
        """Frames that serve as goals of one role; the original goal is the last frame."""
        last = self._last[frames]
        goals = hindsight_goals(frames, last, config, rng, self._random_frames)
        return np.where(goals == ORIGINAL, last, goals)

    def _random_frames(self, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """For each last frame a frame of another trajectory; of the same where it is alone."""
        first, total = self._first[last], len(self._last)
        if len(self.data.lengths) == 1:
            return rng.integers(total, size=len(last))
        own = last - first + 1
        drawn = (rng.random(len(last)) * (total - own)).astype(np.int64)
        return drawn + own * (drawn >= first)

    def chunks(self, frames: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        """Chunks of actions from each frame on: float32 (B, horizon, A), bool mask (B, horizon).

        Beyond the end of the trajectory its last action is repeated, and the mask is false.
        """
        if horizon < 1:
            raise InputError(f"a chunk of {horizon} actions; it must have 1 or more")
        steps = frames[:, None] + np.arange(horizon)
        last = self._last[frames][:, None]
        return self.data.actions[np.minimum(steps, last)], steps <= last


def cache_key(fingerprint: str, encoder_id: str, cameras: Sequence[str]) -> str:
    """Hash of everything that codes depend on: data, encoder, cameras, format."""
    parts = [ENCODED_VERSION, fingerprint, encoder_id, *cameras]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@torch.inference_mode()
def encode_dataset(
    vqvae: VQVAE,
    arrays: DatasetArrays,
    encoder_id: str,
    progress: Callable[[int], None] | None = None,
    cameras: Sequence[str] | None = None,
) -> EncodedDataset:
    """Encode every frame of ``cameras`` (None: the main one); the first one gives ``codes``.

    ``progress`` is called with the number of images done. Raises DatasetError for a
    missing camera, or images of another size than the encoder's.
    """
    cameras = [arrays.main_camera] if cameras is None else list(cameras)
    for camera in cameras:
        check_images(camera, arrays.camera(camera), vqvae.config.image_size)
    codes = {camera: _encode(vqvae, arrays.camera(camera), progress) for camera in cameras}
    main, *others = cameras
    columns = {f"codes/{camera}": codes[camera] for camera in others}
    if arrays.expert_actions is not None:
        columns[EXPERT_ACTIONS] = arrays.expert_actions
    return EncodedDataset(
        codes=codes[main],
        actions=arrays.actions,
        lengths=arrays.lengths,
        encoder_id=encoder_id,
        proprioception=arrays.proprioception,
        metadata=arrays.metadata,
        columns=columns,
        camera=main,
        action_channels=arrays.action_channels,
        proprioception_channels=arrays.proprioception_channels,
        key=cache_key(arrays.fingerprint, encoder_id, cameras),
    )


def check_images(camera: str, images: np.ndarray, size: int) -> None:
    """Raise DatasetError unless a VQ-VAE for ``size`` x ``size`` pixels can encode them."""
    if images.shape[1:] != (size, size, 3):
        height, width = images.shape[1:3]
        raise DatasetError(
            f"the images of {camera} are {height} x {width}; the encoder needs {size} x {size}: "
            "collect images of that size, or train an encoder with another vqvae.image_size"
        )


@torch.inference_mode()
def latent_distances(
    vqvae: VQVAE,
    data: EncodedDataset,
    gaps: tuple[int, ...],
    rng: np.random.Generator,
    samples: int = 4096,
) -> dict[int, np.ndarray]:
    """Return L2 distances of latents k steps apart in one trajectory, for each k in ``gaps``.

    Only pairs between which the arm was commanded to move count (MOVING). Experts that hold
    position at the end of a trajectory would bias the distances to 0. DatasetError when there is
    no such pair.
    """
    starts = data.starts
    speeds = np.concatenate([[0.0], np.cumsum(speed_of(data.actions, data.action_channels))])
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
        a, b = (vqvae.latents_of(data.codes[frames]) for frames in (first, first + gap))
        result[gap] = (a - b).norm(dim=1).cpu().numpy()
    return result


def encoded_demonstrations(
    source: Path,
    checkpoint: Checkpoint,
    kept: Path,
    progress: Callable[[int, int], None] | None = None,
) -> EncodedDataset:
    """Return the data set at ``source`` as codes of ``checkpoint``.

    ``kept`` is the cache file of the codes. They are encoded again when it is missing, or was made
    from another encoder or other data (`cache_key`). ``progress`` is called with the images done
    and their total. Raises DatasetError, also where action names, action scale or image size
    differ from those of the checkpoint.
    """
    data = Dataset(source)
    _check_scale(data, checkpoint)
    if kept.exists():
        try:
            found = EncodedDataset.load(kept)
        except DatasetError:
            found = None  # truncated: encode again
        if found is not None and found.key == cache_key(
            data.fingerprint(), checkpoint.encoder_id, [found.camera]
        ):
            return found
    encoded = encode_for(checkpoint, data, progress)
    kept.parent.mkdir(parents=True, exist_ok=True)
    encoded.save(kept)
    return encoded


def encode_for(
    checkpoint: Checkpoint, data: Dataset, progress: Callable[[int, int], None] | None = None
) -> EncodedDataset:
    """Return ``data`` as codes of ``checkpoint``; ``progress`` as in `encoded_demonstrations`.

    Raises DatasetError where action names, action scale or image size differ from those of the
    checkpoint.
    """
    _check_scale(data, checkpoint)
    arrays = data.load()
    names = action_names(arrays.action_channels, arrays.actions.shape[1])
    if names != checkpoint.actions:
        raise DatasetError(
            f"{data.folder}: its actions are {', '.join(names)}, those of the checkpoint "
            f"{', '.join(checkpoint.actions)}: take data and checkpoint of one environment"
        )
    total, done = len(arrays.actions), 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    return encode_dataset(checkpoint.vqvae, arrays, checkpoint.encoder_id, step)


def _described(values: dict[str, Any], path: Path) -> dict[str, Any]:
    if values["format_version"] != ENCODED_VERSION:
        raise DatasetError(
            f"{path}: encoded data of version {values['format_version']}; this program reads 1 "
            f"and {ENCODED_VERSION}: remove the file, it is made again"
        )
    channels = {
        name: tuple(Channel(**channel) for channel in values[name])
        for name in ("action_channels", "proprioception_channels")
    }
    metadata = [Metadata.from_attributes(known) for known in values["trajectories"]]
    return {**channels, "metadata": metadata, "camera": values["camera"], "key": values["key"]}


def _encode(
    vqvae: VQVAE, images: np.ndarray, progress: Callable[[int], None] | None
) -> np.ndarray:
    device = next(vqvae.parameters()).device
    codes = np.empty((len(images), vqvae.latent.codes), dtype=np.uint16)
    for start in range(0, len(codes), ENCODE_BATCH):
        part = torch.from_numpy(images[start : start + ENCODE_BATCH]).to(device)
        codes[start : start + len(part)] = vqvae.encode(part).cpu().numpy()
        if progress is not None:
            progress(len(part))
    return codes


def _check_scale(data: Dataset, checkpoint: Checkpoint) -> None:
    """Raise DatasetError where data and checkpoint state different action scales.

    Older files and other environments state none.
    """
    learned = checkpoint.metrics.get("data", {}).get("action_scale")
    found = data.description.get("action_scale")
    if learned and found and learned != found:
        raise DatasetError(
            f"{data.folder}: an action of 1 is {_scale(found)}, in the checkpoint's own "
            f"demonstrations {_scale(learned)}: collect or import it with that scale"
        )


def _scale(values: dict[str, float]) -> str:
    return f"{values['translation']:g} m and {values['rotation']:g} rad"
