# SPDX-License-Identifier: Apache-2.0
"""Small animations for pages: WebP, GIF or PNG, made smaller until they fit."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ptp_core.data.files import write_atomically
from ptp_core.errors import InputError

FORMATS = (".webp", ".gif", ".png")
SCALES = (1.0, 0.85, 0.7, 0.55)
QUALITIES = (85, 70, 55)  # of WebP
COLOURS = (256, 128, 64)  # of GIF


@dataclass(frozen=True)
class AnimationFile:
    """What was written."""

    bytes: int
    width: int  # pixels
    height: int


def check_format(path: Path) -> None:
    """Raise InputError for the name of a file that is none of FORMATS."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: an animation's name ends in {' or '.join(FORMATS)}")


def write_animation(
    path: Path, frames: Sequence[np.ndarray], seconds: Sequence[float], most: int
) -> AnimationFile:
    """Write frames, uint8 (H, W, 3) RGB, each shown for its seconds, in at most ``most`` bytes.

    Quality is lowered first, then the size of the images. It repeats for ever. Raises InputError
    for another format, and where the smallest is too large.
    """
    check_format(path)
    duration = [round(1000 * value) for value in seconds]
    for images, options in _attempts(path.suffix.lower(), frames):
        buffer = io.BytesIO()
        others = images[1:]
        images[0].save(
            buffer, save_all=True, append_images=others, duration=duration, loop=0, **options
        )
        if buffer.tell() <= most:
            break
    else:
        raise InputError(
            f"{path}: {len(frames)} frames have {buffer.tell() / 1e6:.1f} MB at least, more than "
            f"{most / 1e6:.1f}: show fewer control steps (--every), or allow more (--most)"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda partial: partial.write_bytes(buffer.getvalue()))
    return AnimationFile(buffer.tell(), *images[0].size)


def _attempts(suffix: str, frames: Sequence[np.ndarray]) -> Iterator[tuple[list, dict]]:
    """Images and options of one attempt after the other, each smaller than the last."""
    for scale in SCALES:
        images = [Image.fromarray(_scaled(frame, scale)) for frame in frames]
        if suffix == ".webp":
            for quality in QUALITIES:
                yield images, {"format": "WEBP", "quality": quality, "method": 4}
        elif suffix == ".gif":
            for colours in COLOURS:
                # One palette for all, or still parts would flicker; no dithering, which is noise.
                palette = images[len(images) // 2].quantize(colours)
                flat = [image.quantize(palette=palette, dither=0) for image in images]
                yield flat, {"format": "GIF", "optimize": False}
        else:
            yield images, {"format": "PNG"}


def _scaled(frame: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1.0:
        return frame
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
