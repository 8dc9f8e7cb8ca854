# SPDX-License-Identifier: Apache-2.0
"""Bounds on what files from others declare: sizes, images. Loads nothing heavy."""

from __future__ import annotations

from pathlib import Path

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
