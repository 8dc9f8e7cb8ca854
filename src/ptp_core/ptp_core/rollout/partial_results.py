# SPDX-License-Identifier: Apache-2.0
"""Files of finished episodes, from which an interrupted evaluation resumes. Loads no torch."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ptp_core.data.files import write_atomically
from ptp_core.errors import InputError
from ptp_core.rollout.episode_results import EpisodeResult

Key = tuple[str, int]
"""Task and episode number."""


class PartialResults:
    """JSON lines of finished episodes, after a line with the settings that results depend on.

    A line truncated by a kill is dropped. Raises InputError if the file has other settings, or was
    written by a version that stored other fields of an episode.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.results: dict[Key, EpisodeResult] = {}
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        lines = [line for line in lines if line.endswith(b"\n")]
        if lines:
            self._read(lines, settings)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [_line(settings)]
        write_atomically(path, lambda partial: partial.write_bytes(b"".join(lines)))

    def add(self, key: Key, result: EpisodeResult) -> None:
        """Store one finished episode; it survives a kill from now on."""
        self.results[key] = result
        values = {**dataclasses.asdict(result), "latencies": result.latencies.tolist()}
        with open(self.path, "ab") as file:
            file.write(_line({"task": key[0], "episode": key[1], **values}))
            file.flush()
            os.fsync(file.fileno())

    def _check_format(self, row: dict[str, Any]) -> None:
        known = {entry.name for entry in dataclasses.fields(EpisodeResult)}
        found = row.keys() - {"task", "episode"}
        if found != known:
            other = " and ".join(
                f"{word} {', '.join(sorted(names))}"
                for word, names in (("without", known - found), ("with", found - known))
                if names
            )
            raise InputError(
                f"{self.path} holds unfinished results of another version of this program, "
                f"{other}: finish them with that version, or delete the file to start anew"
            )

    def _read(self, lines: list[bytes], settings: dict[str, Any]) -> None:
        try:
            stored, *rows = [json.loads(line) for line in lines]
            for row in rows:
                self._check_format(row)
                key = row.pop("task"), row.pop("episode")
                row["latencies"] = np.array(row["latencies"], dtype=np.float64)
                self.results[key] = EpisodeResult(**row)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{self.path} is damaged: delete it to start anew") from error
        current = json.loads(_line(settings))
        for name in sorted(stored.keys() | current.keys()):
            if stored.get(name) != current.get(name):
                raise InputError(
                    f'{self.path} holds unfinished results with another "{name}": repeat that '
                    "command to finish it, delete the file, or write to another --json"
                )


def _line(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, sort_keys=True) + "\n").encode()
