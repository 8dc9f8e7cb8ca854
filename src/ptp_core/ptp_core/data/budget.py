# SPDX-License-Identifier: Apache-2.0
"""How much a file from others may take: what it declares is compared with what it stores.

Formats with compression, or with arrays of a declared shape, can claim far more than they hold: a
bag of 30 kB unpacked to 2.4 GB. A reader asks here before it believes a number of the file.
"""

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
