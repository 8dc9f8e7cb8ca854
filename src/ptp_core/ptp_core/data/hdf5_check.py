# SPDX-License-Identifier: Apache-2.0
"""Read HDF5 files whole, in a process of its own, which limits its own time and memory.

On some damaged files libhdf5 crashes or loops without end (HDFGroup/hdf5#1707), and h5py holds the
interpreter's lock meanwhile: no thread of the same process can stop it. `hdf5_guard` starts this
process. It imports neither torch nor anything else that takes long.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5s

from ptp_core.data.file_limits import GIB, MIB, OverBudget, check_declared

OBJECTS = 1_000_000  # names in all groups of one file
PIECE = 64 * MIB  # of a data set that is read at once, if its chunks are not larger
ROOM = 2 * GIB  # address space beyond that of the idle process and of what a piece takes
SLOWEST = 20 * MIB  # bytes a second of CPU time that any machine unpacks
# What h5py may raise for a damaged file; attributes and names may have any type.
DAMAGED = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError)


def serve(idle: float) -> None:
    """Answer requests from standard input until it ends, or for ``idle`` s nothing is asked.

    A request is a line of JSON: [absolute path, s of CPU time for one piece]. The answer is a line
    of JSON, {"error": name of the type or null, "errno": number or null, "text": text}. Where a
    piece takes longer, SIGXCPU ends the process before it answers.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limits = _Limits()
    while select.select([sys.stdin], [], [], idle)[0]:
        line = sys.stdin.readline()
        if not line:
            return
        path, seconds = json.loads(line)
        print(json.dumps(_answer(path, limits, seconds)), flush=True)


def check_contents(path: str, begin: Callable[[int], None]) -> None:
    """Read all of a file. ``begin(bytes)`` is called before each piece, with what it unpacks to.

    Raises OSError where it cannot be opened, ValueError for what leads out of the file, OverBudget
    for declared sizes. Parts that cannot be read are left to those who need them.
    """
    begin(0)
    with h5py.File(path, "r") as file:
        declared = stored = names = 0
        seen: set[Any] = set()
        waiting = [b"/"]
        while waiting:
            where = waiting.pop()
            begin(0)
            item = h5o.open(file.id, where)
            address = h5o.get_info(item).addr
            if address in seen:  # two names of one object; a group may hold itself
                continue
            seen.add(address)
            _read_attributes(item, begin)
            if isinstance(item, h5g.GroupID):
                inside = _inside(item, where)
                names += len(inside)
                if names > OBJECTS:
                    raise OverBudget(f"it has more than {OBJECTS} groups and data sets")
                waiting += inside
            elif isinstance(item, h5d.DatasetID):
                sizes = _check_dataset(item, where)
                declared += sizes[0]
                stored += sizes[1]
                with contextlib.suppress(*DAMAGED):
                    _read(item, begin)
        check_declared(declared, stored)


def _inside(group: h5g.GroupID, where: bytes) -> list[bytes]:
    inside = []
    for name in group:
        path = where.rstrip(b"/") + b"/" + name
        if group.links.get_info(name).type != h5l.TYPE_HARD:
            raise ValueError(f"{_text(path)} leads to another file or place")
        inside.append(path)
    return inside


def _check_dataset(item: h5d.DatasetID, where: bytes) -> tuple[int, int]:
    """The bytes that a data set declares and stores."""
    settings = item.get_create_plist()
    if settings.get_layout() == h5d.VIRTUAL or settings.get_external_count():
        raise ValueError(f"{_text(where)} keeps its data in another file")
    declared = math.prod(item.shape or (1,)) * item.get_type().get_size()
    stored = item.get_storage_size()
    try:
        check_declared(declared, stored)
    except OverBudget as error:
        raise OverBudget(f"{_text(where)}: {error}") from None
    return declared, stored


def _read_attributes(item: h5o.ObjectID, begin: Callable[[int], None]) -> None:
    for number in range(h5a.get_num_attrs(item)):
        begin(0)
        try:
            attribute = h5a.open(item, index=number)
            attribute.read(np.empty(attribute.shape, attribute.dtype))
        except DAMAGED:
            continue


def _read(item: h5d.DatasetID, begin: Callable[[int], None]) -> None:
    shape, kind = item.shape, item.dtype
    if shape is None or 0 in shape:  # nothing is stored
        return
    row = math.prod(shape[1:]) * kind.itemsize
    settings = item.get_create_plist()
    # Whole chunks, because each one is unpacked as a whole.
    slab = settings.get_chunk()[0] if settings.get_layout() == h5d.CHUNKED else 1
    rows = max(1, PIECE // (row * slab)) * slab
    for first in range(0, shape[0] if shape else 1, rows):
        begin(row * rows)
        size = (min(rows, shape[0] - first), *shape[1:]) if shape else ()
        where = item.get_space()
        if size != shape:
            where.select_hyperslab((first, *[0] * (len(shape) - 1)), size)
        item.read(h5s.create_simple(size) if size else h5s.ALL, where, np.empty(size, kind))


class _Limits:
    """Limits of this process: CPU time and memory of the next piece."""

    def __init__(self) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        self._idle = pages * resource.getpagesize()
        self._until = 0.0  # steady s until which the limits stand as they are
        self._unpacked = 0

    def forget(self) -> None:
        """Set the limits anew before the next piece."""
        self._until = 0.0

    def begin(self, seconds: int, unpacked: int) -> None:
        """Allow ``seconds`` of CPU time from now on, or from less than 1 s ago.

        ``unpacked`` bytes that a piece unpacks to take more of it, and memory.
        """
        now = time.monotonic()
        if now < self._until and unpacked <= self._unpacked:
            return
        self._until, self._unpacked = now + 1.0, unpacked
        used = resource.getrusage(resource.RUSAGE_SELF)
        until = math.ceil(used.ru_utime + used.ru_stime) + seconds + unpacked // SLOWEST
        _limit(resource.RLIMIT_CPU, until)
        # A chunk as it is stored, unpacked, and copied.
        _limit(resource.RLIMIT_AS, self._idle + ROOM + 3 * unpacked)


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _answer(path: str, limits: _Limits, seconds: int) -> dict[str, Any]:
    try:
        limits.forget()
        check_contents(path, lambda unpacked: limits.begin(seconds, unpacked))
    except MemoryError:
        return {"error": "OverBudget", "errno": None, "text": "reading it takes too much memory"}
    except OSError as error:
        text = error.strerror or str(error)
        return {"error": "OSError", "errno": error.errno, "text": text}
    except DAMAGED as error:
        kind = "OverBudget" if isinstance(error, OverBudget) else "ValueError"
        return {"error": kind, "errno": None, "text": str(error)}
    return {"error": None, "errno": None, "text": ""}


def _text(name: bytes) -> str:
    return os.fsdecode(name)
