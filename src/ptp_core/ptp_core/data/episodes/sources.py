# SPDX-License-Identifier: Apache-2.0
"""Which bags stand behind the paths that an import was given, and what is none.

Nothing is passed over: what cannot be a bag is a source, too, with the reason why it is refused.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ptp_core.data.episodes.audit import AUDIT_FILE
from ptp_core.data.episodes.bag_order import first_time
from ptp_core.data.episodes.bag_reader import open_bag
from ptp_core.data.episodes.bag_writer import METADATA_FILE
from ptp_core.data.episodes.import_own import is_own
from ptp_core.data.episodes.store import SESSION_FILE, Session, read_json
from ptp_core.data.episodes.unreadable import STORAGE, storage_files
from ptp_core.errors import EpisodeError, PtpError

NO_BAG = (
    "no bag and no session; give folders with metadata.yaml, .mcap or .db3 files, or a session "
    "folder"
)
OTHER_FILES = {  # suffix -> why such a file is not read
    ".bag": "a bag of ROS 1: `rosbags-convert --src FILE --dst FOLDER` makes one of ROS 2",
    ".zstd": "compressed, and there is no metadata.yaml: `zstd -d FILE`, then name the result",
}
DEPTH = 3  # folders within folders that are looked through
PART = re.compile(r"(.*)_(\d+)")  # how rosbag2 names the files of a recording
TOGETHER = 1.0  # s within which the next part of a recording begins


@dataclass(frozen=True)
class Source:
    """A bag to import; ``refusal`` says why it cannot be one."""

    path: Path
    label: str = "success"
    own: bool = False
    dropped: bool = False
    refusal: str = ""


def find_sources(paths: Iterable[Path]) -> list[Source]:
    """Bags behind ``paths``: sessions, folders of bags, bags.

    A path without a bag, a bag that is named twice, and a part of a recording are sources with a
    refusal.
    """
    found: list[Source] = []
    for path in paths:
        found += _guarded(path, DEPTH) or [Source(path, refusal=NO_BAG)]
    return _once(_without_parts(found))


def _guarded(path: Path, depth: int) -> list[Source]:
    try:
        return list(_behind(path, depth))
    except (OSError, PtpError) as error:
        return [Source(path, refusal=str(error))]


def _behind(path: Path, depth: int) -> Iterator[Source]:
    if not path.exists():
        goes = f"a link to {path.readlink()}, which" if path.is_symlink() else "it"
        yield Source(path, refusal=f"{goes} is not there")
    elif path.is_file():
        yield _file(path)
    elif (path / SESSION_FILE).is_file():
        yield from _session(path)
    elif (path / METADATA_FILE).is_file():
        yield _source(path)
    elif depth:
        for inner in sorted(p for p in path.iterdir() if not p.name.startswith(".")):
            if inner.is_dir():
                yield from _guarded(inner, depth - 1) or [Source(inner, refusal="no bag in it")]
            elif not inner.exists() or inner.suffix in (*STORAGE, *OTHER_FILES):
                yield from _guarded(inner, 0)


def _file(path: Path) -> Source:
    if path.suffix in STORAGE:
        return Source(path)
    return Source(path, refusal=OTHER_FILES.get(path.suffix, NO_BAG))


def _session(path: Path) -> Iterator[Source]:
    session = Session(path)
    for entry in session.entries():
        yield Source(session.path(entry), entry.label, own=True, dropped=entry.dropped)
    for folder in session.unfinished():
        reason = f"it was never finished: `ptp episodes repair {path}` gets it back"
        yield Source(folder, "unlabelled", own=True, refusal=reason)


def _source(path: Path) -> Source:
    if not is_own(path):
        return Source(path)
    audit = path / AUDIT_FILE
    content = read_json(audit, "no audit") if audit.is_file() else {}
    label, dropped = content.get("label", "unlabelled"), content.get("dropped", False)
    return Source(path, label, own=True, dropped=dropped)


def _once(sources: Iterable[Source]) -> list[Source]:
    """Refuse a bag whose files, by whatever path, came before."""
    seen: dict[tuple[int, int], Path] = {}
    found = []
    for source in sources:
        if not source.refusal:
            files = storage_files(source.path)
            numbers = [(s.st_dev, s.st_ino) for s in (file.stat() for file in files)]
            first = next((seen[number] for number in numbers if number in seen), None)
            seen.update(dict.fromkeys(numbers, source.path))
            if first is not None:
                reason = f"it is the same bag as {first}, which was named before"
                source = replace(source, refusal=reason)
        found.append(source)
    return found


def _without_parts(sources: list[Source]) -> list[Source]:
    """Refuse single files that are parts of one recording."""
    bare = [s.path for s in sources if not s.refusal and s.path.is_file()]
    refused: dict[Path, str] = {}
    for path in bare:
        if (path.parent / METADATA_FILE).is_file() and len(storage_files(path.parent)) > 1:
            refused[path] = f"it is a part of the bag {path.parent}: name the folder"
    groups: dict[tuple[Path, str, str], dict[int, Path]] = {}
    for path in bare:
        named = PART.fullmatch(path.stem)
        if named and path not in refused:
            key = (path.parent, named[1], path.suffix)
            groups.setdefault(key, {})[int(named[2])] = path
    for (folder, _, suffix), numbered in groups.items():
        parts = [path for _, path in sorted(numbered.items())]
        for before, after in itertools.pairwise(parts):
            if _goes_on(before, after):
                reason = (
                    f"{before.name} and {after.name} are parts of one recording without "
                    f"metadata.yaml: `ros2 bag reindex -s {STORAGE[suffix]} {folder}` puts them "
                    "together"
                )
                refused |= {before: reason, after: reason}
    return [replace(s, refusal=refused.get(s.path, s.refusal)) for s in sources]


def _goes_on(before: Path, after: Path) -> bool:
    """Whether the second file begins where the first one ends."""
    try:
        with open_bag(before) as reader:
            end = reader.end_time
        start = first_time(after)
    except EpisodeError:
        return False
    return start is not None and abs(start - end) * 1e-9 < TOGETHER
