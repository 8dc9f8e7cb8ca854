# SPDX-License-Identifier: Apache-2.0
"""Why a bag does not open, and what mends it: by looking at its files, not at the error alone."""

from __future__ import annotations

from pathlib import Path

import yaml

from ptp_core.data import yaml_text
from ptp_core.data.episodes.bag_writer import HEADER, METADATA_FILE, METADATA_VERSION
from ptp_core.errors import EpisodeError

STORAGE = {".mcap": "mcap", ".db3": "sqlite3"}  # suffix -> rosbag2's name of the storage
MCAP_MAGIC = b"\x89MCAP0\r\n"
SQLITE_MAGIC = b"SQLite format 3\0"
SESSION_FILE = "session.json"
LOOK_AT = 1 << 16  # bytes at the start of a file; the header of a recording of ours is there


def storage_files(path: Path) -> list[Path]:
    """Files with the messages of the bag ``path``, a folder or a single file."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        return []
    names = (*STORAGE, *(f"{suffix}.zstd" for suffix in STORAGE))
    return sorted(p for p in path.iterdir() if p.is_file() and p.name.endswith(names))


def unreadable(path: Path, error: Exception) -> EpisodeError:
    """An error in one line: which bag, why, and the command that mends it, where one does."""
    try:
        advice = _folder(path) if path.is_dir() else _file(path)
    except OSError as problem:
        advice = ""
        error = problem
    words = " ".join(str(error).split()) or "no reason given"
    if isinstance(error, OSError) and error.strerror:
        words = error.strerror
    elif not isinstance(error, (ValueError, RuntimeError)) and " " not in words:
        words = f"{type(error).__name__} {words}"  # a KeyError says a name alone
    return EpisodeError(f"{path}: cannot be read as a bag ({advice or words})")


def _folder(path: Path) -> str:
    """What is wrong with a folder of rosbag2; empty where nothing is seen."""
    files = storage_files(path)
    if not files:
        return "there is no .mcap and no .db3 file in it"
    kind = STORAGE[Path(files[0].name.removesuffix(".zstd")).suffix]
    reindex = f"`ros2 bag reindex -s {kind} {path}` makes it again"
    metadata = path / METADATA_FILE
    if not metadata.is_file():
        broken = next(filter(None, map(_file, files)), "")
        return broken or f"metadata.yaml is missing; {reindex}"
    try:
        information = yaml_text.read(metadata)["rosbag2_bagfile_information"]
        version, storage = information["version"], information["storage_identifier"]
        named = [Path(name).name for name in information["relative_file_paths"]]
    except (ValueError, KeyError, TypeError, yaml.YAMLError):
        return f"metadata.yaml is damaged; {reindex}"
    if isinstance(version, int) and version > METADATA_VERSION:
        cure = f"name the file {files[0]} itself" if len(files) == 1 else "convert it there"
        return (
            f"metadata.yaml has version {version}, of a newer ROS 2 than this program knows, "
            f"which reads {METADATA_VERSION}; {cure}"
        )
    missing = [name for name in named if not (path / name).is_file()]
    if missing:
        there = ", ".join(file.name for file in files)
        return (
            f"metadata.yaml names {', '.join(missing)}, there is {there}: give it its name back, "
            f"or {reindex}"
        )
    if storage not in STORAGE.values():
        if not storage:
            return f"metadata.yaml names no storage; {reindex}"
        return (
            f"its storage {storage} is not read here: `ros2 bag convert` to mcap where its plugin "
            "is installed"
        )
    confirmed = "custom_data" in information and "episode_id" in (information["custom_data"] or {})
    if confirmed and any(map(_file, files)):
        return "its file was damaged after it was confirmed: put a copy in its place"
    return next(filter(None, map(_file, files)), "")


def _file(path: Path) -> str:
    """What is wrong with one storage file; empty where nothing is seen."""
    with open(path, "rb") as file:
        head = file.read(LOOK_AT)
        file.seek(max(path.stat().st_size - len(MCAP_MAGIC), 0))
        tail = file.read()
    if not head:
        return f"{path.name} is empty: nothing was recorded"
    if head.startswith(b"version https://git-lfs"):
        return f"{path.name} is a pointer of Git LFS: `git lfs pull` fetches the file"
    if path.suffix == ".db3":
        if not head.startswith(SQLITE_MAGIC):
            return f"{path.name} is no sqlite3 database"
        return ""
    if path.suffix != ".mcap":
        return ""
    if not head.startswith(MCAP_MAGIC[: len(head)]):
        return f"{path.name} is no mcap file"
    if tail == MCAP_MAGIC and len(head) > len(MCAP_MAGIC):
        return ""
    session = path.parents[2] if len(path.parents) > 2 else path.parent
    if HEADER.encode() in head and (session / SESSION_FILE).is_file():
        return f"{path.name} ends early; `ptp episodes repair {session}` gets it back"
    new = path.with_name(f"{path.stem}_recovered.mcap")
    return (
        f"{path.name} ends early, its recorder was killed; `mcap recover {path} -o {new}` gets "
        f"its whole chunks back, then name {new.name}"
    )
