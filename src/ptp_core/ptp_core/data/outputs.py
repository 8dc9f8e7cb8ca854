# SPDX-License-Identifier: Apache-2.0
"""Try outputs before inputs are read: an hour of work must not end at a folder that is none.

A file that is being made has a lock beside it, a folder one inside it. Locks end with their
process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ptp_core.errors import InputError

LOCK = ".lock"


def check_file(path: Path) -> None:
    """Make the folder of the file ``path``; InputError where it could not be written."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise InputError(f"{path}: it may not be written: name another file")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Make ``folder`` where there is none; InputError where nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".try."):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({_cause(error, folder)})") from error


def check_new_folder(folder: Path) -> None:
    """InputError where ``folder`` could not be made and written into; it is not left behind."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    made: list[Path] = []
    inner = folder
    while inner != there:
        made.append(inner)
        inner = inner.parent
    try:
        check_folder(folder)
    finally:
        for one in made:  # the deepest comes first
            with suppress(OSError):
                one.rmdir()


def _cause(error: OSError, folder: Path) -> str:
    for above in (folder, *folder.parents):
        if above.exists() and not above.is_dir():
            return f"{above} is a file: name another folder"
    return f"{error.strerror or error}: name another folder"


@contextmanager
def reserved_file(path: Path) -> Iterator[None]:
    """Hold the name ``path``, of a file that is to be made, against other processes.

    Raises InputError where it exists, where another process makes it, or where it cannot be made.
    """
    if path.exists():
        raise InputError(f"{path} exists: choose another file, or remove it")
    check_file(path)
    lock = path.with_name(f".{path.name}{LOCK}")
    with _held(lock, f"{path}: another process is making this file: name another one"):
        if path.exists():  # it was finished in the meantime
            raise InputError(f"{path} exists: choose another file, or remove it")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextmanager
def reserved_folder(folder: Path) -> Iterator[None]:
    """Hold ``folder``, which is made, for one process; InputError while another one has it."""
    check_folder(folder)
    with _held(
        folder / LOCK, f"{folder}: another process is writing here: wait for it or stop it"
    ):
        yield


@contextmanager
def _held(lock: Path, refusal: str) -> Iterator[None]:
    try:
        file = lock.open("w")
    except OSError as error:
        raise InputError(f"{lock.parent}: cannot be written to ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(refusal) from None
        yield
