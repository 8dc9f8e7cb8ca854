# SPDX-License-Identifier: Apache-2.0
"""Sphinx extension that shows docstrings as they are written: as plain text with `names`.

Formulas, layouts of results and tables stay as they are aligned. Signs such as * and | mean
themselves.
"""

from __future__ import annotations

import re

NAMES = re.compile(
    r"(``.+?``|`.+?`)", re.DOTALL
)  # names and values, in single or double backticks
LISTED = re.compile(r"[*-] |\d+\. ")


def setup(app):
    """Convert docstrings before Sphinx parses them as reStructuredText."""
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _process(app, what, name, obj, options, lines: list[str]) -> None:
    lines[:] = as_rst("\n".join(lines)).split("\n")


def as_rst(text: str) -> str:
    """A docstring, without its indentation, as reStructuredText."""
    paragraphs = [part for part in re.split(r"\n\s*\n", text.strip("\n")) if part.strip()]
    return "\n\n".join(map(_paragraph, paragraphs)) + "\n"


def _paragraph(text: str) -> str:
    lines = text.split("\n")
    if not LISTED.match(lines[0]) and any(_aligned(line) for line in lines):
        return "::\n\n" + "\n".join(f"    {line}" for line in lines)
    return "".join(
        part if number % 2 else _escaped(part) for number, part in enumerate(NAMES.split(text))
    )


def _aligned(line: str) -> bool:
    """Whether spaces of the line have a meaning."""
    return line.startswith(" ") or "  " in line.strip()


def _escaped(text: str) -> str:
    """Text whose signs are no markup; markers of lists stay."""
    text = re.sub(r"(?<!^)(?<!\n)\*|^\*(?! )|(?<=\n)\*(?! )", r"\\*", text)
    return re.sub(r"(\w)_(?!\w)", r"\1\\_", text.replace("|", r"\|"))
