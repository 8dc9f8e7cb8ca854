# SPDX-License-Identifier: Apache-2.0
"""Plans and films of the page of results, made with the networks of the evaluations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ptp_cli.report.pictures import TRIES, Pictures, picture
from ptp_cli.results.evaluation_files import Standing
from ptp_cli.terminal import libraries_into
from ptp_core.errors import InputError
from ptp_core.practice.past_evaluation import PastEvaluation

FOLDER = "pictures"  # below the folder of results


@dataclass(frozen=True)
class RowPictures:
    """Of a row on one task. Paths are below the folder of results."""

    protocol: str
    row: str
    task: str
    strip: str | None  # the plan of the first episode
    strip_success: bool
    film: str | None  # of the first episode that failed
    film_episode: int
    tried: int  # episodes among which a failure was looked for
    why_not: str  # why there are no pictures


def results_pictures(found: Sequence[Standing], out: Path) -> list[RowPictures]:
    """Of every measured row that asks for pictures. Those of an earlier page stay.

    Raises PlanCancelled.
    """
    wanted = [
        (standing, task)
        for standing in found
        if standing.values is not None and standing.wanted.row.pictures != "none"
        for task in standing.wanted.config.tasks
    ]
    made = []
    with (
        libraries_into(Path(os.devnull)) as terminal,
        tqdm(wanted, unit="film", desc="plans and films", file=terminal) as bar,
    ):
        for standing, task in bar:
            bar.set_postfix_str(f"{standing.wanted.name} {task}")
            made.append(_of_row(standing, task, out))
    return made


def _of_row(standing: Standing, task: str, out: Path) -> RowPictures:
    wanted = standing.wanted
    below = Path(FOLDER, wanted.protocol, wanted.row.name)
    config = wanted.config
    try:
        past = PastEvaluation.of_figures(
            str(wanted.path), standing.values, task, config.checkpoint
        )
        tries = TRIES if wanted.row.pictures == "film" else 1
        shown = picture(past, out / below, tries=tries)
    except InputError as error:
        shown = Pictures(task, wanted.row.method, config.seed, why_not=str(error))
    film = None if wanted.row.pictures != "film" or shown.film is None else below / shown.film
    return RowPictures(
        wanted.protocol,
        wanted.row.name,
        task,
        strip=None if shown.strip is None else str(below / shown.strip),
        strip_success=shown.strip_success,
        film=None if film is None else str(film),
        film_episode=shown.film_episode,
        tried=shown.tried if wanted.row.pictures == "film" else 0,
        why_not=shown.why_not,
    )
