# SPDX-License-Identifier: Apache-2.0
"""Fuzz a parser with mutations of valid content: it may only raise our own errors.

For tests. `PTP_FUZZ_SECONDS` sets the time for each parser; without it there are few trials. The
trials of a parser are the same on every machine. Content that made it fail joins a corpus, which
is committed: it also holds what earlier versions failed on.

The trials run in a fork of the process. A parser that crashes, or loops in C where nothing in its
own process can stop it, ends that fork, and its content is kept like any other find.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from ptp_core.errors import PtpError
from ptp_core.processes import die_with_parent

SECONDS = "PTP_FUZZ_SECONDS"  # environment variable: s for each parser
TRIALS = 15  # for each parser without SECONDS
MEMORY = 2**30  # bytes that a parser may take beyond what the process has
ENDLESS = "endless"  # in the names of finds that no reader ended with: they are not mutated
TRIAL_SECONDS = 30  # of CPU time for one trial; those that end take less than 2
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

    Finds NAME_endless* are not mutated.

    Returns the number of mutations. Raises AssertionError at the first content for which ``read``
    raises anything but ``refusals``, for example MemoryError, does not end, or ends its process.
    That content joins the corpus, the folder ``finds``, and every later run tries it again.
    ``read`` runs in a fork: it shares what it changes with nobody, except for files.
    """
    known = {path.name: path.read_bytes() for path in sorted(finds.glob(f"{name}_*"))}
    # Mutations of what never ends seldom end, and each takes as long as its reader allows.
    slow = f"{name}_{ENDLESS}"
    seeds = [*contents, *(find for found, find in known.items() if not found.startswith(slow))]

    def content(trial: int) -> bytes:
        rng = np.random.default_rng([trial, len(name)])
        return mutated(seeds[trial % len(seeds)], rng)

    def cases() -> Iterator[bytes]:
        yield from known.values()
        deadline = time.monotonic() + float(os.environ.get(SECONDS, 0.0))
        trials = 0
        while trials < TRIALS or time.monotonic() < deadline:
            yield content(trials)
            trials += 1

    began, failure = _in_a_fork(read, cases(), refusals)
    trials = began - len(known)  # mutations among the contents that were tried
    if not failure:
        return trials
    if trials <= 0:
        raise AssertionError(f"{list(known)[began - 1]}: {failure}")
    found = content(trials - 1)
    kind = ENDLESS if failure == _ended(-signal.SIGXCPU) else ""
    kept = finds / f"{name}_{kind}{hashlib.sha256(found).hexdigest()[:8]}"
    finds.mkdir(exist_ok=True)
    kept.write_bytes(found)
    raise AssertionError(f"{name}, trial {trials - 1}: {failure}; kept as {kept}")


def _in_a_fork(
    read: Callable[[bytes], object],
    cases: Iterable[bytes],
    refusals: tuple[type[Exception], ...],
) -> tuple[int, str]:
    """Number of cases that were begun, and why the last one failed; "" where none did."""
    context = multiprocessing.get_context("fork")
    begun = context.RawValue("q", 0)
    answers, answer = context.Pipe(duplex=False)

    def run() -> None:
        die_with_parent()
        _limit_memory()
        if "torch" in sys.modules:  # a fork has none of its parent's threads
            sys.modules["torch"].set_num_threads(1)
        for content in cases:
            begun.value += 1
            _limit_time()
            failure = _failure(read, content, refusals)
            if failure:
                return answer.send(failure)
        answer.send("")

    process = context.Process(target=run, daemon=True)
    process.start()
    answer.close()
    try:
        failure = answers.recv()
    except EOFError:
        process.join()
        failure = _ended(process.exitcode)
    process.join()
    return begun.value, failure


def _failure(
    read: Callable[[bytes], object], content: bytes, refusals: tuple[type[Exception], ...]
) -> str:
    try:
        read(content)
    except refusals:
        return ""
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
    return ""


def _ended(status: int) -> str:
    if status == -signal.SIGXCPU:
        return f"it did not end within {TRIAL_SECONDS} s of CPU time"
    name = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"it ended its process ({name})"


def _limit_memory() -> None:
    """Limit this process to `MEMORY` more bytes, so that larger allocations fail."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))


def _limit_time() -> None:
    """Limit this process to `TRIAL_SECONDS` more of CPU time."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + TRIAL_SECONDS, hard))
