# SPDX-License-Identifier: Apache-2.0
"""Why an HDF5 file does not open: only of a damaged one may be said that it can be removed."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from ptp_core.errors import DatasetError

AGAIN = "`ptp collect` fills the gap, `ptp import-bag` makes the file again"
LOCKED = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EBUSY)
NUMBER = re.compile(r"errno = (\d+)")  # HDF5 puts the system's number into its text


def cannot_open(path: Path, error: OSError) -> DatasetError:
    """An error in one line with what the system says, or that the file is damaged."""
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
