# SPDX-License-Identifier: Apache-2.0
"""Demonstrations as codes of a checkpoint's encoder, encoded once and kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ptp_core.data.dataset import Dataset
from ptp_core.data.encoded import EncodedDataset, cache_key, encode_dataset
from ptp_core.data.metadata import action_names
from ptp_core.errors import DatasetError
from ptp_core.training.checkpoint import Checkpoint


def encoded_demonstrations(
    source: Path,
    checkpoint: Checkpoint,
    kept: Path,
    progress: Callable[[int, int], None] | None = None,
) -> EncodedDataset:
    """Return the data set at ``source`` as codes of ``checkpoint``.

    ``kept`` is where the codes are stored for the next time; they are made again when it is
    missing, or was made from another encoder or other data (`cache_key`). ``progress`` hears
    images done and in all. Raises DatasetError, also where the actions have other names, or are
    scaled in another way, than those that the checkpoint learned from, or the images another size.
    """
    data = Dataset(source)
    _check_scale(data, checkpoint)
    if kept.exists():
        try:
            found = EncodedDataset.load(kept)
        except DatasetError:
            found = None  # cut off: encode again
        if found is not None and found.key == cache_key(
            data.fingerprint(), checkpoint.encoder_id, [found.camera]
        ):
            return found
    arrays = data.load()
    names = action_names(arrays.action_channels, arrays.actions.shape[1])
    if names != checkpoint.actions:
        raise DatasetError(
            f"{source}: its actions are {', '.join(names)}, those of the checkpoint "
            f"{', '.join(checkpoint.actions)}: take data and checkpoint of one environment"
        )
    total, done = len(arrays.actions), 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    encoded = encode_dataset(checkpoint.vqvae, arrays, checkpoint.encoder_id, step)
    kept.parent.mkdir(parents=True, exist_ok=True)
    encoded.save(kept)
    return encoded


def _check_scale(data: Dataset, checkpoint: Checkpoint) -> None:
    """Both say how far an action of 1 goes, unless they are older or of a foreign environment."""
    learned = checkpoint.metrics.get("data", {}).get("action_scale")
    found = data.description.get("action_scale")
    if learned and found and learned != found:
        raise DatasetError(
            f"{data.folder}: an action of 1 is {_scale(found)}, in the checkpoint's own "
            f"demonstrations {_scale(learned)}: collect or import it with that scale"
        )


def _scale(values: dict[str, float]) -> str:
    return f"{values['translation']:g} m and {values['rotation']:g} rad"
