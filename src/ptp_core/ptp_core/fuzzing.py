# SPDX-License-Identifier: Apache-2.0
"""Fuzz a parser with mutations of valid content: it may only raise our own errors.

For tests. `PTP_FUZZ_SECONDS` sets the time for each parser; without it there are few trials. The
trials of a parser are the same on every machine. Content that made it fail is saved.
"""

from __future__ import annotations

import contextlib
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ptp_core.errors import PtpError

SECONDS = "PTP_FUZZ_SECONDS"  # environment variable: s for each parser
TRIALS = 15  # for each parser without SECONDS
MEMORY = 2**30  # bytes that a parser may take beyond what the process has
ODD = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Return the content with a few bytes, numbers or parts changed, or truncated."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        if not data:
            return b""
        at = int(rng.integers(len(data)))
        length = int(rng.integers(1, min(64, len(data)) + 1))
        match int(rng.integers(7)):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at] = int(rng.integers(256))
            case 2:  # a number, of any width and order
                width = int(rng.choice([1, 2, 4, 8]))
                number = int(ODD[rng.integers(len(ODD))]) % 256**width
                order = "little" if rng.integers(4) else "big"
                data[at : at + width] = number.to_bytes(width, order)
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length] * int(rng.integers(1, 4))
            case 5:
                other = int(rng.integers(len(data)))
                data[at : at + length] = data[other : other + length]
            case _:
                if not rng.integers(4):
                    del data[at:]
    return bytes(data)


def fuzz(
    read: Callable[[bytes], object],
    contents: list[bytes],
    finds: Path,
    name: str,
    refusals: tuple[type[Exception], ...] = (PtpError,),
) -> int:
    """Give ``read`` earlier findings and mutations of ``contents``; return the number of trials.

    Raises AssertionError at the first content for which ``read`` raises anything but ``refusals``,
    for example MemoryError. That content is saved in the folder for temporary files.
    """
    for path in sorted(finds.glob(f"{name}_*")):
        _try(read, path.read_bytes(), refusals, path.name)
    deadline = time.monotonic() + float(os.environ.get(SECONDS, 0.0))
    trials = 0
    with _little_memory():
        while trials < TRIALS or time.monotonic() < deadline:
            rng = np.random.default_rng([trials, len(name)])
            content = mutated(contents[trials % len(contents)], rng)
            _try(read, content, refusals, f"{name}, trial {trials}")
            trials += 1
    return trials


def _try(
    read: Callable[[bytes], object],
    content: bytes,
    refusals: tuple[type[Exception], ...],
    what: str,
) -> None:
    try:
        read(content)
    except refusals:
        pass
    except Exception as error:
        kept = Path(tempfile.gettempdir()) / "ptp_fuzz" / what.replace(", trial ", "_")
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(content)
        raise AssertionError(f"{what}: {type(error).__name__}: {error}; {kept}") from error


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    """Limit this process to `MEMORY` more bytes, so that larger allocations fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
