# SPDX-License-Identifier: Apache-2.0
"""Write files so that they are whole or absent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ptp_core.errors import StorageError


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file, flush it to the disk, rename it to ``path``.

    Whatever ``write`` raises (Ctrl-C) leaves ``path`` as it was. Raises StorageError where the
    disk does not take it.
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
