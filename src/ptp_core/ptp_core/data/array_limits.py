# SPDX-License-Identifier: Apache-2.0
"""Bounds on npz files from others, checked before memory is set aside for them."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ptp_core.data.file_limits import MIB, OverBudget, check_declared

ARRAYS = 100_000  # of one file
DAMAGED = (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile)


@contextmanager
def open_npz(path: Path, most: int = 256 * MIB) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of an npz file, by name; never a pickle.

    ``most``: bytes of all arrays together. Raises what `DAMAGED` names, OverBudget among them.
    """
    with path.open("rb") as file:
        try:
            _check(file, most)
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                if not isinstance(arrays, np.lib.npyio.NpzFile):
                    raise ValueError("one array and no npz")
                yield arrays
        # zlib's errors, unknown methods of compression, headers that are no Python
        except (*DAMAGED, OverBudget):
            raise
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def _check(file, most: int) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > ARRAYS:
            raise OverBudget(f"it has {len(entries)} arrays, at most {ARRAYS} are read")
        stored = sum(entry.compress_size for entry in entries)
        check_declared(sum(entry.file_size for entry in entries), stored, most)
        for entry in entries:
            with archive.open(entry) as array:
                _check_array(array, entry.filename, entry.file_size)


def _check_array(array, name: str, size: int) -> None:
    """The header of an array must not claim more than its file has."""
    version = npy.read_magic(array)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"{name}: npy version {version}")
    shape, _, dtype = readers[version](array)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects")
    if math.prod(shape) * dtype.itemsize > size or any(length < 0 for length in shape):
        raise OverBudget(f"{name} declares {shape} of {dtype}, the file has {size} bytes of it")
