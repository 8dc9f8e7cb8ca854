# SPDX-License-Identifier: Apache-2.0
"""Convert latents of any shape to and from the fields of LatentArray.msg.

Indices into a codebook are integers, other latents float32. The dtype distinguishes them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ptp_core.errors import InputError

MOST_AXES = 8  # of a latent; more is a damaged message
NO_LATENT = np.zeros(0, np.uint32)
"""Where nothing was encoded."""


def latent_array(message: Any) -> np.ndarray:
    """Convert a message to a uint32 or float32 array of its shape; `NO_LATENT` if it is empty.

    ``message`` has the fields of LatentArray.msg. Raises InputError unless either indices or
    values is filled and its length fits the shape, and for values that are not finite.
    """
    shape = tuple(int(size) for size in message.shape)
    indices, values = len(message.indices), len(message.values)
    if indices and values:
        raise InputError("a latent has indices or values, not both")
    if not shape and not indices and not values:
        return NO_LATENT
    if not shape or len(shape) > MOST_AXES:
        raise InputError(f"a latent has 1 to {MOST_AXES} axes; the shape is {_short(shape)}")
    count = indices or values
    if math.prod(shape) != count or not count:
        raise InputError(f"a latent of shape {_short(shape)} has {count} numbers")
    if values:
        array = np.asarray(message.values, np.float32)
        if not np.isfinite(array).all():
            raise InputError("the latent has values that are not finite: encode it again")
    else:
        array = np.asarray(message.indices, np.uint32)
    return array.reshape(shape)


def latent_lists(latent: np.ndarray) -> dict[str, np.ndarray]:
    """Convert a latent to shape, indices and values; all are empty for an empty latent.

    Raises InputError for values that are not finite and for indices below 0 or beyond uint32.
    """
    indices, values = np.zeros(0, np.uint32), np.zeros(0, np.float32)
    if not latent.size:
        return {"shape": np.zeros(0, np.uint32), "indices": indices, "values": values}
    if np.issubdtype(latent.dtype, np.integer):
        if int(latent.min()) < 0 or int(latent.max()) >= 2**32:
            raise InputError("a latent's indices are whole numbers from 0 on, below 2^32")
        indices = np.ascontiguousarray(latent, np.uint32).reshape(-1)
    else:
        values = np.ascontiguousarray(latent, np.float32).reshape(-1)
        if not np.isfinite(values).all():
            raise InputError("the latent has values that are not finite: encode it again")
    return {"shape": np.array(latent.shape, np.uint32), "indices": indices, "values": values}


def _short(shape: tuple[int, ...]) -> str:
    return str(list(shape[:MOST_AXES])) + (" ..." if len(shape) > MOST_AXES else "")
