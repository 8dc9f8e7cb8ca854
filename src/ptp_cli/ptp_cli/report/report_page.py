# SPDX-License-Identifier: Apache-2.0
"""HTML page of the report, one file that contains its images and films."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptp_cli.pages import environment
from ptp_cli.report import paper_numbers
from ptp_cli.report.gather_runs import FoundRuns
from ptp_cli.report.report_figures import PracticeRow
from ptp_cli.report.report_pictures import ReportPictures
from ptp_core.data.files import write_atomically

PAGE = "index.html"
MEDIA = {".png": "image/png", ".webm": "video/webm", ".mp4": "video/mp4"}


def write(
    out: Path,
    found: FoundRuns,
    rows: Sequence[PracticeRow],
    drawn: Mapping[str, str],
    pictures: Sequence[ReportPictures],
    titles: Mapping[str, str],
    about: Mapping[str, Any],
) -> Path:
    """Write the page into ``out``; its path.

    ``drawn`` maps "evaluation" and "practice" to PNG files in ``out``. ``titles`` says what each
    task is. ``about``: "commands", "configuration", "machine" [(label, value)], "date",
    "version", "commit", "tables" (files), "pictures_wanted".
    """

    def inline(name: str) -> str:
        path = out / name
        data = base64.b64encode(path.read_bytes()).decode()
        return f"data:{MEDIA[path.suffix]};base64,{data}"

    made = environment(Path(__file__).parent)
    made.filters["inline"] = inline
    made.filters["label"] = paper_numbers.label
    made.filters["percent"] = percent
    text = made.get_template("page.html").render(
        found=found,
        rows=rows,
        drawn=drawn,
        pictures=pictures,
        titles=titles,
        smoothed=paper_numbers.SMOOTHED,
        **about,
    )
    path = out / PAGE
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    return path


def percent(rate: float | None) -> str:
    """A rate in [0, 1] as people write it, or a dash."""
    return "\N{EN DASH}" if rate is None else f"{100 * rate:.1f}\N{NO-BREAK SPACE}%"
