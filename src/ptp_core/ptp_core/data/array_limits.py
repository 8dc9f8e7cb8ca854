# SPDX-License-Identifier: Apache-2.0
"""Bounds on npz and HDF5 files from others, checked before memory is set aside for them."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
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


OBJECTS = 1_000_000  # groups and data sets of one file


def check_hdf5(file: h5py.File) -> None:
    """Raise ValueError for what leads out of the file, OverBudget for declared sizes."""
    declared = stored = count = 0
    seen: set[int] = set()
    groups = [file["/"]]
    while groups:
        group = groups.pop()
        for name in group:
            where = f"{group.name.rstrip('/')}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{where} leads to another file or place")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:  # two names of one object; a group may hold itself
                continue
            seen.add(address)
            count += 1
            if count > OBJECTS:
                raise OverBudget(f"it has more than {OBJECTS} groups and data sets")
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise ValueError(f"{where} keeps its data in another file")
                try:
                    check_declared(item.nbytes, item.id.get_storage_size())
                except OverBudget as error:
                    raise OverBudget(f"{where}: {error}") from None
                declared += item.nbytes
                stored += item.id.get_storage_size()
    check_declared(declared, stored)
