# SPDX-License-Identifier: Apache-2.0
"""Bounds on files from others.

Npz, HDF5 and images are checked before memory is set aside for them.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.lib import format as npy

MIB, GIB = 2**20, 2**30
SLACK = 64 * MIB  # that any file may declare
RATIO = 1000  # unpacked to stored bytes beyond that; deflate reaches 1032, pictures 50
MOST = 64 * GIB  # that one file may declare
MOST_WEIGHTS = 4 * GIB  # of a file of weights, which is read whole


class OverBudget(ValueError):
    """A file claims more than its reader takes. A ValueError: readers name file and cure."""


def check_declared(declared: int, stored: int, most: int = MOST) -> None:
    """Raise OverBudget where ``declared`` bytes cannot be what ``stored`` bytes hold."""
    if declared > most:
        raise OverBudget(f"it declares {_size(declared)}, at most {_size(most)} are read")
    if declared > SLACK + RATIO * stored:
        raise OverBudget(
            f"it declares {_size(declared)} and stores {_size(stored)}: no recording is that even"
        )


def read_bytes(path: Path, most: int) -> bytes:
    """Content of a file. Raises OSError, and OverBudget for one of more than ``most`` bytes."""
    content = bytearray()  # grows with what is there: reading makes room for what is asked for
    with path.open("rb") as file:
        while piece := file.read(MIB):
            content += piece
            if len(content) > most:
                raise OverBudget(f"it has more than {_size(most)}")
    return bytes(content)


def _size(count: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"


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


LARGEST = 8192  # pixels a side; a camera has less
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
# Start of frame, of every kind that holds a size; C4, C8 and CC are something else.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def declared_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels; None where it is neither PNG nor JPEG, or ends before."""
    if data[:8] == _PNG:
        if data[12:16] != b"IHDR" or len(data) < 24:
            return None
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:2] == _JPEG:
        return _jpeg_size(data)
    return None


def check_picture_size(data: bytes) -> None:
    """Raise ValueError for what is no PNG or JPEG, OverBudget for one that is too large."""
    size = declared_size(data)
    if size is None:
        raise ValueError("no PNG and no JPEG")
    if not all(0 < side <= LARGEST for side in size):
        raise OverBudget(f"it declares {size[0]} x {size[1]} pixels, at most {LARGEST} a side")


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at, found = 2, None
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker in _FRAMES:
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            width = int.from_bytes(data[at + 7 : at + 9], "big")
            # A decoder may take the last of several: the largest counts.
            found = (width, height) if found is None else max(found, (width, height), key=max)
        if marker == 0xDA:  # the scan: nothing but pixels follows
            return found
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return found
