# SPDX-License-Identifier: Apache-2.0
"""Fuzz a parser with mutations of valid content: it may only raise our own errors.

For tests. `PTP_FUZZ_SECONDS` sets the time for each parser; without it there are few trials. The
trials of a parser are the same on every machine. Content that made it fail joins a corpus, which
is committed: it also holds what earlier versions failed on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
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
    """Give ``read`` the finds NAME_* of a corpus, then mutations of them and of ``contents``.

    Returns the number of mutations. Raises AssertionError at the first content for which ``read``
    raises anything but ``refusals``, for example MemoryError. That content joins the corpus, the
    folder ``finds``, and every later run tries it again.
    """
    with _little_memory():
        known = {path.name: path.read_bytes() for path in sorted(finds.glob(f"{name}_*"))}
        for found, content in known.items():
            _try(read, content, refusals, found)
        deadline = time.monotonic() + float(os.environ.get(SECONDS, 0.0))
        seeds = [*contents, *known.values()]
        trials = 0
        while trials < TRIALS or time.monotonic() < deadline:
            rng = np.random.default_rng([trials, len(name)])
            content = mutated(seeds[trials % len(seeds)], rng)
            try:
                _try(read, content, refusals, f"{name}, trial {trials}")
            except AssertionError as error:
                kept = finds / f"{name}_{hashlib.sha256(content).hexdigest()[:8]}"
                finds.mkdir(exist_ok=True)
                kept.write_bytes(content)
                raise AssertionError(f"{error}; kept as {kept}") from error
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
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error


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
