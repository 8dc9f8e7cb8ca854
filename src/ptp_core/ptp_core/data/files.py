# SPDX-License-Identifier: Apache-2.0
"""Output files and folders: atomic writes, checks beforehand, locks and stored inputs.

A file is whole or absent. Output folders are checked for writing first, carry a marker of the
command that made them, and store the inputs that they were made from.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ptp_core.data.file_limits import load_json, read_bytes
from ptp_core.errors import DatasetError, InputError, StorageError


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file, flush it to the disk, rename it to ``path``.

    If ``write`` raises anything, Ctrl-C included, ``path`` stays as it was. Raises StorageError
    where the disk refuses the file.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise storage_error(error, path) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def storage_error(error: OSError, path: Path) -> StorageError:
    """The same error, in one line that names ``path`` and the cure."""
    return StorageError(error.errno, error.strerror or str(error), str(path))


def flush_folder(folder: Path) -> None:
    """Make renames, new and removed files in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


MARKER = ".made_by_ptp"  # holds the name of the command


def claim(folder: Path, command: str, leftovers: Iterable[str] = ()) -> None:
    """Make ``folder`` for a command's own use and remove what an earlier run left there.

    ``leftovers``: names of files and folders in it. Raises InputError where the folder is not
    empty and has no marker of that command, as it may hold a user's work.
    """
    marker = folder / MARKER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            if other := next(folder.iterdir(), None):
                raise InputError(
                    f"{folder} holds {other.name} and was not made by `{command}`, which deletes "
                    "what an earlier one left: name a folder of its own with --out"
                )
            marker.write_text(f"{command}\n", encoding="utf-8")
        elif read_bytes(marker, 1024).decode("utf-8").strip() != command:
            raise InputError(
                f"{folder} was made by another command than `{command}`: name a folder of its "
                "own with --out"
            )
        for path in (folder / name for name in leftovers):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, folder) from error
    except ValueError as error:  # too long, or no UTF-8
        raise InputError(f"{marker} is damaged: name another folder with --out") from error


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
    """Reserve the name ``path`` of a new file against other processes.

    Raises InputError where it exists, where another process writes it, or where it cannot be made.
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
    """Make ``folder`` and lock it for one process; InputError while another one holds it."""
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


AGAIN = "`ptp collect` fills the gap, `ptp import-bag` makes the file again"
LOCKED = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EBUSY)
NUMBER = re.compile(r"errno = (\d+)")  # HDF5 puts the system's error number into its text


def cannot_open(path: Path, error: OSError) -> DatasetError:
    """A one-line error with the system's reason, or saying that the file is damaged."""
    text = " ".join(str(error).split())
    found = NUMBER.search(text)
    number = int(found[1]) if found else error.errno
    if "lock" in text and number in LOCKED:
        return DatasetError(
            f"{path}: another program has it open for writing (a notebook, a viewer): close it "
            "there; the file is not damaged"
        )
    if number:
        return DatasetError(f"{path}: cannot be opened ({os.strerror(number)})")
    if not path.stat().st_size:
        return DatasetError(f"{path}: it is empty; remove it: {AGAIN}")
    return DatasetError(f"{path}: truncated or not HDF5 ({text}); remove it: {AGAIN}")


FORMAT_VERSION = 1
SHOWN = 4  # differences that an error line lists


def differences(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """List differences, as "vqvae.steps is 8, asked for is 9", by ascending name.

    A name that only one side has is a difference, too.
    """
    old, new = _flat(stored), _flat(asked)
    found = []
    for name in sorted(old.keys() | new.keys()):
        if old.get(name, ...) != new.get(name, ...):
            was, now = (_said(values.get(name, "absent")) for values in (old, new))
            found.append(f"{name} is {was}, asked for is {now}")
    return found


def said(found: list[str]) -> str:
    """Join differences in one line, the first few by name."""
    more = len(found) - SHOWN
    return "; ".join(found[:SHOWN]) + (f"; {more} more differ" if more > 0 else "")


def keep_inputs(
    path: Path,
    inputs: Mapping[str, Any],
    cure: str,
    renamed: Mapping[str, str] | None = None,
) -> None:
    """Write ``inputs`` into ``path``, or compare them with those stored there.

    ``renamed``: keys of files of earlier versions, and what they are called today.
    Raises InputError that names what differs and the ``cure``, or says that the file is damaged.
    """
    asked = json.loads(json.dumps({"format_version": FORMAT_VERSION, **inputs}))
    if not path.exists():
        text = json.dumps(asked, indent=1, sort_keys=True) + "\n"
        write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
        return
    try:
        renamed = renamed or {}
        stored = {renamed.get(key, key): value for key, value in load_json(path).items()}
        found = differences(stored, asked)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}): {cure}") from error
    if found:
        raise InputError(f"{path.parent} was made from other inputs: {said(found)}: {cure}")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _said(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{text[:12]}…" if len(text) == 64 else text  # a sha256
