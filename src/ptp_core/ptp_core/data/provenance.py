# SPDX-License-Identifier: Apache-2.0
"""What a folder of results was made from, kept beside them; another input is refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptp_core.data import json_text
from ptp_core.data.files import write_atomically
from ptp_core.errors import InputError

FORMAT_VERSION = 1
SHOWN = 4  # differences that a line names


def differences(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What differs, as "vqvae.steps is 8, asked for is 9", by ascending name.

    A name that only one side has differs, too.
    """
    old, new = _flat(stored), _flat(asked)
    found = []
    for name in sorted(old.keys() | new.keys()):
        if old.get(name, ...) != new.get(name, ...):
            was, now = (_said(values.get(name, "absent")) for values in (old, new))
            found.append(f"{name} is {was}, asked for is {now}")
    return found


def said(found: list[str]) -> str:
    """Differences in one line, the first few by name."""
    more = len(found) - SHOWN
    return "; ".join(found[:SHOWN]) + (f"; {more} more differ" if more > 0 else "")


def keep_inputs(path: Path, inputs: Mapping[str, Any], cure: str) -> None:
    """Write ``inputs`` into ``path``, or compare them with those that stand there.

    Raises InputError that names what differs and the ``cure``, or a file that is damaged.
    """
    asked = json.loads(json.dumps({"format_version": FORMAT_VERSION, **inputs}))
    if not path.exists():
        text = json.dumps(asked, indent=1, sort_keys=True) + "\n"
        write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
        return
    try:
        stored = json_text.read(path)
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
