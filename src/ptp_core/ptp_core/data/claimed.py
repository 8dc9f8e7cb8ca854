# SPDX-License-Identifier: Apache-2.0
"""Folders that a command may empty: those that it made itself, told by a marker in them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from ptp_core.data.files import storage_error
from ptp_core.errors import InputError

MARKER = ".made_by_ptp"  # holds the name of the command


def claim(folder: Path, command: str, leftovers: Iterable[str] = ()) -> None:
    """Make ``folder`` for a command's own use; what an earlier one left there goes.

    ``leftovers``: names of files and folders in it. Raises InputError where the folder holds
    something and no marker of that command: it may be somebody's work.
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
        elif marker.read_text(encoding="utf-8").strip() != command:
            raise InputError(
                f"{folder} was made by another command than `{command}`: name a folder of its "
                "own with --out"
            )
        for path in (folder / name for name in leftovers):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError):
            raise storage_error(error, folder) from error
        raise InputError(f"{marker} is damaged: name another folder with --out") from error
