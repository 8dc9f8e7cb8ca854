# SPDX-License-Identifier: Apache-2.0
"""Does the encoder keep where things are? Positions regressed from latents and from pixels.

Ridge regression, linear and with an RBF kernel, both in closed form. The first frame of each
trajectory is a sample, as the data name the arrangement that it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ptp_core.data.dataset import Dataset
from ptp_core.data.encoded_dataset import ENCODE_BATCH, check_images
from ptp_core.data.trajectory import CAMERA
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.errors import DatasetError

MOST_FRAMES = 2000
FEWEST_FRAMES = 20
TRAINED = 0.8  # share of the frames; the others are tested on
MOST_LOSS = 1.1  # error from latents over error from pixels that an encoder may have
ANGLE = "yaw"  # numbers whose names end so are angles [rad]
RIDGES = (1e-8, 1e-6, 1e-4, 1e-2)  # relative to the kernel's mean diagonal
WIDTHS = (0.5, 2.0, 8.0, 32.0)  # of the RBF, relative to the median squared distance
REGRESSIONS = ("linear", "kernel")


def first_frames(
    data: Dataset,
    most: int = MOST_FRAMES,
    progress: Callable[[int], object] = lambda read: None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """First images uint8 (n, H, W, 3) of trajectories, and the numbers of their scenes, each (n,).

    At most ``most`` trajectories, evenly spaced, of the main camera. ``progress`` is called with 1
    for each. DatasetError where fewer than `FEWEST_FRAMES` of them name their scene.
    """
    indices = data.indices
    chosen = np.unique(np.linspace(0, len(indices) - 1, min(most, len(indices))).astype(int))
    images, scenes = [], []
    for trajectory in data.part([indices[number] for number in chosen]):
        progress(1)
        if trajectory.metadata.scene:
            shown = trajectory.images
            images.append(shown[CAMERA if CAMERA in shown else min(shown)][0])
            scenes.append(trajectory.metadata.scene)
    if len(scenes) < FEWEST_FRAMES:
        raise DatasetError(
            f"{data.folder}: {len(scenes)} trajectories name their scene, {FEWEST_FRAMES} are "
            'needed: collect data from an environment whose info has "scene"'
        )
    names = [name for name in scenes[0] if all(name in scene for scene in scenes)]
    return np.stack(images), {name: np.array([scene[name] for scene in scenes]) for name in names}


def position_probes(
    vqvae: VQVAE, images: np.ndarray, numbers: Mapping[str, np.ndarray]
) -> Iterator[dict[str, Any]]:
    """Yield the figures so far after each regression from each input; there are six.

    The first `TRAINED` of ``images`` (n, H, W, 3) train, the others test. Inputs: "latents", as
    the policy sees them; "unquantised" ones; "pixels". The result:

        {"frames", "trained", "unchanging": [numbers that do not change],
         "numbers": {name: {"unit", "constant": error of the training frames' mean,
                            "linear": {"latents": error, "unquantised": error, "pixels": error,
                                       "loss": latents over pixels, "kept": loss <= MOST_LOSS},
                            "kernel": {...}}}}

    An error is {"median", "p90"} of the absolute error, in degrees for angles, else in the unit of
    the data. "loss" is None until both medians are known, and where that of pixels is 0.
    """
    check_images(CAMERA, images, vqvae.config.image_size)
    trained = round(TRAINED * len(images))
    changing = {name: v for name, v in numbers.items() if np.ptp(v[:trained]) > 1e-9}
    targets = {name: _columns(name, values) for name, values in changing.items()}
    both = torch.from_numpy(np.concatenate(list(targets.values()), axis=1))
    figures: dict[str, Any] = {
        "frames": len(images),
        "trained": trained,
        "unchanging": [name for name in numbers if name not in changing],
        "numbers": {
            name: {
                "unit": "deg" if name.endswith(ANGLE) else "",
                "constant": _errors(name, np.repeat(t[:trained].mean(0)[None], len(t), 0), t),
                **{regression: {"loss": None, "kept": None} for regression in REGRESSIONS},
            }
            for name, t in ((name, t[trained:]) for name, t in targets.items())
        },
    }
    for source, inputs in probe_inputs(vqvae, images).items():
        for regression in REGRESSIONS:
            found = regress(regression, inputs, both, trained).numpy()
            column = 0
            for name, t in targets.items():
                width = t.shape[1]
                row = figures["numbers"][name][regression]
                row[source] = _errors(name, found[:, column : column + width], t[trained:])
                column += width
                if {"latents", "pixels"} <= row.keys() and row["pixels"]["median"] > 0:
                    row["loss"] = row["latents"]["median"] / row["pixels"]["median"]
                    row["kept"] = row["loss"] <= MOST_LOSS
            yield figures


@torch.inference_mode()
def probe_inputs(vqvae: VQVAE, images: np.ndarray) -> dict[str, torch.Tensor]:
    """Inputs of the probes, float64 (n, ...) flat: "latents", "unquantised" and "pixels"."""
    raw = torch.cat(
        [
            vqvae.raw(torch.from_numpy(images[first : first + ENCODE_BATCH]))
            for first in range(0, len(images), ENCODE_BATCH)
        ]
    )
    pixels = torch.from_numpy(images.reshape(len(images), -1)).double() / 255.0
    return {
        "latents": vqvae.quantise(raw)[1].double(),
        "unquantised": raw.double(),
        "pixels": pixels,
    }


@torch.inference_mode()
def regress(
    regression: str, inputs: torch.Tensor, targets: torch.Tensor, trained: int
) -> torch.Tensor:
    """Predict ``targets`` float64 (n, T) of the frames after the first ``trained``: (n', T).

    ``inputs``: float64 (n, D). Ridge and width are those with the smallest leave-one-out error on
    the training frames, for each target apart. With G = (K + ridge I)^-1 and a = G y, that error
    is a_i / G_ii (Allen's PRESS statistic in its dual form).
    """
    mean = targets[:trained].mean(0)
    wanted = targets[:trained] - mean
    best = torch.full((targets.shape[1],), torch.inf, dtype=torch.float64)
    predicted = mean.expand(len(targets) - trained, -1).clone()
    for kernel in _kernels(regression, inputs - inputs[:trained].mean(0), trained):
        square = kernel[:trained]
        scale = square.diagonal().mean().clamp(min=1e-12)
        for ridge in RIDGES:
            loaded = square + ridge * scale * torch.eye(trained, dtype=torch.float64)
            factor, failed = torch.linalg.cholesky_ex(loaded)
            if failed:
                continue  # rounding made it singular: a larger ridge follows
            inverse = torch.cholesky_inverse(factor)
            weights = inverse @ wanted
            left_out = (weights / inverse.diagonal()[:, None]).square().mean(0)
            better = left_out < best
            best = torch.where(better, left_out, best)
            predicted[:, better] = (kernel[trained:] @ weights + mean)[:, better]
    return predicted


def _kernels(regression: str, inputs: torch.Tensor, trained: int) -> Iterator[torch.Tensor]:
    """Kernel values (n, trained) of all frames with the training frames."""
    products = inputs @ inputs[:trained].T
    if regression == "linear":
        yield products
        return
    norms = inputs.square().sum(1)
    distances = (norms[:, None] + norms[:trained] - 2 * products).clamp(min=0)
    typical = distances[:trained].median().clamp(min=1e-12)
    for width in WIDTHS:
        yield torch.exp(-distances / (width * typical))


def _columns(name: str, values: np.ndarray) -> np.ndarray:
    """What is regressed of one number (n,): itself, or sine and cosine of an angle."""
    columns = [np.sin(values), np.cos(values)] if name.endswith(ANGLE) else [values]
    return np.stack(columns, axis=1).astype(np.float64)


def _errors(name: str, found: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Median and 90 % quantile of the absolute error of `_columns`; of angles in degrees."""
    if name.endswith(ANGLE):
        turn = np.arctan2(*found.T) - np.arctan2(*true.T)
        errors = np.abs(np.rad2deg((turn + np.pi) % (2 * np.pi) - np.pi))
    else:
        errors = np.abs(found - true)[:, 0]
    return {"median": float(np.median(errors)), "p90": float(np.quantile(errors, 0.9))}
