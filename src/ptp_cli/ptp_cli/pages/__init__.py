# SPDX-License-Identifier: Apache-2.0
"""Jinja environment with the common style of the HTML pages."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def environment(folder: Path) -> Environment:
    """Templates of ``folder``, which may extend base.html; `figure` is a filter of theirs."""
    made = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["figure"] = figure
    return made


def figure(value: float | None, form: str = ".1f", unit: str = "") -> str:
    """A number with its unit, or a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:{form}}" + (f"\N{NO-BREAK SPACE}{unit}" if unit else "")
