# SPDX-License-Identifier: Apache-2.0
"""Run the evaluations that are missing, one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ptp_cli.results.evaluation_files import Standing, Wanted, look_at
from ptp_core.errors import PtpError


def measure(
    wanted: Sequence[Wanted],
    *,
    num_envs: int,
    redo: bool,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> list[str]:
    """Make every file that is not there; the names of those that could not be made.

    A file that is there and was made as asked for stays. ``redo``: also make those anew that were
    made with other settings; else they stay and are told of. An evaluation that fails stops no
    other. Interrupted by Ctrl-C, the next call goes on after the last finished episode.
    """
    failed = []
    for number, one in enumerate(wanted, 1):
        standing = look_at(one)
        if standing.state == "there":
            continue
        if standing.state == "differs" and not redo:
            say(f"{one.name}: {one.path} is left as it is: {standing.differs}; --redo replaces it")
            continue
        say(f"{one.name} ({number} of {len(wanted)}): {one.command}")
        try:
            _evaluate(one, num_envs, redo, progress)
        except PtpError as error:
            say(f"{one.name} failed: {error}")
            failed.append(one.name)
    return failed


def not_there(wanted: Sequence[Wanted]) -> tuple[list[Standing], list[str]]:
    """What there is of each, and a line for each that has no figures."""
    found = [look_at(one) for one in wanted]
    lines = []
    for standing in found:
        if standing.state == "missing":
            lines.append(f"{standing.wanted.name}: not measured yet")
        elif standing.state == "differs":
            lines.append(
                f"{standing.wanted.name}: measured with other settings: {standing.differs}"
            )
    return found, lines


def _evaluate(one: Wanted, num_envs: int, redo: bool, progress: bool) -> None:
    from ptp_core.errors import InputError
    from ptp_core.practice.evaluation import evaluate

    options = {"num_envs": num_envs, "output": one.path, "progress": progress}
    try:
        evaluate(one.config, **options)
    except InputError as error:
        partial = one.path.with_name(f"{one.path.name}.partial")
        if not (redo and str(error).startswith(str(partial))):
            raise
        partial.unlink()  # unfinished, and of other settings
        evaluate(one.config, **options)
