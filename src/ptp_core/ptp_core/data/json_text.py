# SPDX-License-Identifier: Apache-2.0
"""Read untrusted JSON with limits on length, depth and numbers; refuse it with ValueError.

Python's parser raises RecursionError for deep nesting, and ValueError or OverflowError for a
number of hundreds of digits. `parse_json` raises ValueError for all of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ptp_core.data.file_limits import read_bytes

JSON_MOST = 64 * 2**20  # bytes
JSON_DEEPEST = 32  # levels; ours have up to 8


def parse_json(text: str | bytes, longest: int = JSON_MOST) -> Any:
    """The value of a JSON text. Raises ValueError for any fault in it.

    ``longest``: most characters, or bytes. An integer beyond the range of a float is refused.
    """
    if len(text) > longest:
        raise ValueError(f"{len(text)} characters of JSON, at most {longest} are read")
    try:
        value = json.loads(text, parse_int=_json_integer)
    except RecursionError:
        raise ValueError(f"JSON of more than {JSON_DEEPEST} levels") from None
    _check_json_depth(value)
    return value


def load_json(path: Path, longest: int = JSON_MOST) -> Any:
    """The value of a JSON file (UTF-8). Raises OSError, and ValueError as `parse_json` does."""
    return parse_json(read_bytes(path, longest).decode("utf-8"), longest)


def _json_integer(digits: str) -> int:
    if len(digits) > 300:  # 1e308 is the largest float
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _check_json_depth(value: Any) -> None:
    level = [value]
    for _ in range(JSON_DEEPEST):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        if not inner:
            return
        level = inner
    if any(isinstance(item, (dict, list)) for item in level):
        raise ValueError(f"JSON of more than {JSON_DEEPEST} levels")
