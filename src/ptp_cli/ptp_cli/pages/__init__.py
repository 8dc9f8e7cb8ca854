# SPDX-License-Identifier: Apache-2.0
"""Jinja environment with the common style and filters of the HTML pages."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

MEDIA = {".png": "image/png", ".webm": "video/webm", ".mp4": "video/mp4"}


def environment(folder: Path, inlined: Path | None = None) -> Environment:
    """Templates of ``folder``, which may extend base.html.

    Their filters: `figure`, and `inline` for files of the folder ``inlined``, which the page then
    contains.
    """
    made = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["figure"] = figure
    if inlined is not None:
        made.filters["inline"] = lambda name: data_url(inlined / name)
    return made


def data_url(path: Path) -> str:
    """A film or an image as a URL that contains it."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f"data:{MEDIA[path.suffix]};base64,{data}"


def figure(value: float | None, form: str = ".1f", unit: str = "") -> str:
    """A number with its unit, or a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:{form}}" + (f"\N{NO-BREAK SPACE}{unit}" if unit else "")
