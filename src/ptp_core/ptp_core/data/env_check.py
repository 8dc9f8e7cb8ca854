# SPDX-License-Identifier: Apache-2.0
"""Check that an environment's data match its spaces, before anything is stored.

Wrapped environments often return images as floats from 0 to 1 while the space still says uint8.
Cast to uint8, they would be stored black.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ptp_core.errors import InputError

BLACK = 1  # largest value of a black image, for example of floats that were cast


def check_actions(space: gymnasium.spaces.Box, name: str) -> None:
    """Raise InputError unless the bounds of the action space are -1 and 1."""
    if not (np.allclose(space.low, -1.0) and np.allclose(space.high, 1.0)):
        raise InputError(
            f"{name}: actions go from {space.low.min():g} to {space.high.max():g}; the method "
            "needs -1 to 1: scale them in the environment"
        )


def check_observation(observation: Any, space: gymnasium.Space, what: str, name: str) -> None:
    """Raise InputError unless ``observation`` has the keys, types and shapes of its ``space``."""
    if isinstance(space, gymnasium.spaces.Dict):
        keys = set(observation) if isinstance(observation, dict) else set()
        if keys != set(space.keys()):
            raise InputError(
                f"{name}: {what} has {', '.join(sorted(keys)) or 'no keys'}, its space says "
                f"{', '.join(space.keys())}"
            )
        for key, part in space.items():
            check_observation(observation[key], part, f"{key} of {what}", name)
    elif isinstance(space, gymnasium.spaces.Box):
        if isinstance(observation, dict):
            raise InputError(
                f"{name}: {what} is a dict with {', '.join(map(str, observation))}, its space "
                f"says {space.dtype} {space.shape}"
            )
        array = np.asarray(observation)
        if array.dtype != space.dtype or array.shape != space.shape:
            raise InputError(
                f"{name}: {what} is {array.dtype} {array.shape}, its space says {space.dtype} "
                f"{space.shape}"
            )


def check_image(image: Any, what: str, name: str) -> np.ndarray:
    """Return ``image`` if it is uint8 (H, W, 3), else raise InputError.

    The error names the image, ``what``, and the environment, ``name``.
    """
    if isinstance(image, dict):
        raise InputError(
            f"{name}: {what} is a dict with {', '.join(map(str, image))}; one picture is needed"
        )
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise InputError(f"{name}: {what} is {array.dtype}, uint8 is needed: values from 0 to 255")
    if array.ndim != 3 or array.shape[2] != 3:
        raise InputError(f"{name}: {what} is {array.shape}, (H, W, 3) is needed")
    return array


def check_not_black(image: Any, what: str, name: str) -> np.ndarray:
    """Like `check_image`; a black image is an InputError, too."""
    array = check_image(image, what, name)
    if array.max(initial=0) <= BLACK:
        raise InputError(
            f"{name}: {what} is black, its largest value is {array.max(initial=0)}: were values "
            "from 0 to 1 turned into uint8?"
        )
    return array


def check_expert(action: Any, name: str, size: int) -> np.ndarray:
    """Return an expert's action as float64 (size,), or raise InputError."""
    array = np.asarray(action)
    if array.dtype.kind not in "fiu" or array.shape != (size,) or not np.isfinite(array).all():
        raise InputError(
            f'{name}: info["expert_action"] must be ({size},) finite numbers, not '
            f"{array.dtype} {array.shape}"
        )
    return array.astype(np.float64)
