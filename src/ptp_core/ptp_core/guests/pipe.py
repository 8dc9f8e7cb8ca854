# SPDX-License-Identifier: Apache-2.0
"""Messages between host and guest: JSON with raw arrays, over two file descriptors.

A frame is a head of 16 bytes, a JSON text and the arrays' bytes one after the other:

    4 bytes   PTPG
    uint32    bytes of the JSON text, little endian
    uint64    bytes of the arrays, little endian

The JSON text is {"message": ..., "arrays": [{"dtype": "|u1", "shape": [64, 64, 3]}, ...]}; where
the message has an array, it has {"#": number of the array}. Arrays are C-contiguous. Both sides
run this module, each in its own Python, so it needs the standard library and numpy alone.
"""

from __future__ import annotations

import json
import math
import os
import select
import struct
import time
from typing import Any

import numpy as np

VERSION = 1  # of what the messages say; the guest's first message has it
MAGIC = b"PTPG"
MOST_TEXT = 4 * 2**20  # bytes of the JSON text of a message
MOST_ARRAYS = 256 * 2**20  # bytes of the arrays of a message
ARRAY = "#"
KINDS = "biuf"  # of arrays: bool, integers, floats

_HEAD = struct.Struct("<4sIQ")


class PipeError(Exception):
    """What arrives is no message."""


class PipeClosed(PipeError):
    """The other side has closed its end."""


class PipeTimeout(PipeError):
    """The other side did not read or answer in time."""


class MessagePipe:
    """Sends and receives messages; ``source`` and ``sink`` are file descriptors of pipes.

    A message is a dict of JSON values and arrays; tuples arrive as lists, numpy's scalars as plain
    ones. Deadlines are times of `time.monotonic`; None: wait for ever.
    """

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        os.set_blocking(source, False)
        os.set_blocking(sink, False)

    def send(self, message: dict[str, Any], deadline: float | None = None) -> None:
        """Send a message. Raises PipeClosed, PipeTimeout; TypeError for what cannot be sent."""
        arrays: list[np.ndarray] = []
        said = {"message": _plain(message, arrays, "message")}
        said["arrays"] = [{"dtype": a.dtype.str, "shape": list(a.shape)} for a in arrays]
        text = json.dumps(said).encode()
        size = sum(array.nbytes for array in arrays)
        if len(text) > MOST_TEXT or size > MOST_ARRAYS:
            raise TypeError(
                f"the message is too large: {len(text)} bytes of text and {size} of arrays, at "
                f"most {MOST_TEXT} and {MOST_ARRAYS}"
            )
        self._write(_HEAD.pack(MAGIC, len(text), size) + text, deadline)
        for array in arrays:
            self._write(array.data.cast("B") if array.size else b"", deadline)

    def receive(self, deadline: float | None = None) -> dict[str, Any]:
        """The next message; its arrays can be written to. Raises PipeError."""
        magic, characters, size = _HEAD.unpack(self._read(_HEAD.size, deadline))
        if magic != MAGIC:
            raise PipeError(f"it does not begin with {MAGIC!r} but with {magic!r}")
        if characters > MOST_TEXT or size > MOST_ARRAYS:
            raise PipeError(f"it announces {characters} bytes of text and {size} of arrays")
        text, data = self._read(characters, deadline), self._read(size, deadline)
        try:
            said = json.loads(text)
            message = _whole(said["message"], _arrays(said["arrays"], data))
        except (
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            RecursionError,
            OverflowError,
        ) as error:
            raise PipeError(f"its text or arrays are damaged ({error})") from error
        if not isinstance(message, dict):
            raise PipeError("it is no dict")
        return message

    def _read(self, count: int, deadline: float | None) -> bytearray:
        found = bytearray()
        while len(found) < count:
            self._wait(self._source, select.POLLIN, deadline)
            part = os.read(self._source, min(count - len(found), 2**20))
            if not part:
                raise PipeClosed("the other side has closed the pipe")
            found += part
        return found

    def _write(self, data: bytes | memoryview, deadline: float | None) -> None:
        left = memoryview(data)
        while left:
            self._wait(self._sink, select.POLLOUT, deadline)
            try:
                left = left[os.write(self._sink, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise PipeClosed("the other side has closed the pipe") from None

    @staticmethod
    def _wait(end: int, event: int, deadline: float | None) -> None:
        poll = select.poll()
        poll.register(end, event)
        left = None if deadline is None else math.ceil(1e3 * (deadline - time.monotonic()))
        if not poll.poll(None if left is None else max(left, 0)):
            raise PipeTimeout("the other side did not answer in time")


def _plain(value: Any, arrays: list[np.ndarray], where: str) -> Any:
    """JSON values of ``value``; its arrays are added to ``arrays``. Raises TypeError."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in KINDS:
            raise TypeError(f"{where} is an array of {value.dtype}: numbers and bools can be sent")
        little = value.dtype.newbyteorder("<")
        arrays.append(np.ascontiguousarray(value, little).reshape(value.shape))
        return {ARRAY: len(arrays) - 1}
    if isinstance(value, np.generic):
        return _plain(value.item(), arrays, where)
    if isinstance(value, dict):
        if wrong := [key for key in value if not isinstance(key, str) or key == ARRAY]:
            raise TypeError(
                f'{where} has the key {wrong[0]!r}: keys are text other than "{ARRAY}"'
            )
        return {key: _plain(part, arrays, f'{where}["{key}"]') for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part, arrays, f"{where}[{k}]") for k, part in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"{where} is a {type(value).__name__}: numbers, text, lists, dicts and arrays can be sent"
    )


def _arrays(descriptions: list[dict[str, Any]], data: bytearray) -> list[np.ndarray]:
    """The arrays in ``data``, without a copy. Raises ValueError unless they fill it exactly."""
    found, start = [], 0
    for description in descriptions:
        dtype, shape = np.dtype(description["dtype"]), tuple(description["shape"])
        if dtype.kind not in KINDS or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"an array of {dtype} {shape}")
        count = math.prod(shape)
        if start + count * dtype.itemsize > len(data):
            raise ValueError(f"an array of {dtype} {shape} is longer than the data")
        if count:
            found.append(np.frombuffer(data, dtype, count, start).reshape(shape))
        else:
            found.append(np.zeros(shape, dtype))
        start += count * dtype.itemsize
    if start != len(data):
        raise ValueError(f"{len(data) - start} bytes belong to no array")
    return found


def _whole(value: Any, arrays: list[np.ndarray]) -> Any:
    """The message of JSON values, with its arrays."""
    if isinstance(value, dict):
        if set(value) == {ARRAY}:
            return arrays[value[ARRAY]]
        return {key: _whole(part, arrays) for key, part in value.items()}
    return [_whole(part, arrays) for part in value] if isinstance(value, list) else value
