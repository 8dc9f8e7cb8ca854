# SPDX-License-Identifier: Apache-2.0
"""Read bags with rosbags, and truncated ones with mcap's streaming reader."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
import zstandard
from mcap.records import Channel, Chunk, Message, MessageIndex, Metadata, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.storage_mcap import zstd  # the one of this Python
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ptp_core.data.file_limits import load_yaml, parse_yaml
from ptp_core.episodes.bag_budget import check_bag, check_mcap
from ptp_core.episodes.bag_writer import (
    BAG_FILE,
    FOOTER,
    HEADER,
    METADATA_FILE,
    METADATA_VERSION,
    BagTopic,
)
from ptp_core.episodes.episode import (
    LABELS,
    ROW_KINDS,
    Episode,
    EpisodeInfo,
    Row,
    instructed,
    make_row,
)
from ptp_core.episodes.message_definitions import (
    FORMAT_1_HASHES,
    LATENT,
    OBSERVATION,
    PACKAGE,
    STEP_RECORD,
    Definitions,
    upgrade_format_1,
)
from ptp_core.episodes.session_store import Entry, Session
from ptp_core.episodes.transition_builder import assemble
from ptp_core.errors import EpisodeError, PtpError

BACK = 0.05  # s by which a message may be older than the previous one of its topic


def check_received(reader: AnyReader, topics: Collection[str], where: Path) -> None:
    """Raise EpisodeError where the receiver's clock was set back between two messages of a topic.

    Otherwise two takes with the same times would be mixed.
    """
    newest: dict[str, int] = {}
    for path in _files(reader):
        for topic, time in receipts(path):
            if topic not in topics:
                continue
            if (back := (newest.get(topic, time) - time) * 1e-9) > BACK:
                raise EpisodeError(
                    f"{where}: the computer's clock went back by {back:.6g} s while recording "
                    f"(messages on {topic}): record the demonstration again"
                )
            newest[topic] = max(newest.get(topic, time), time)


def first_time(path: Path) -> int | None:
    """Time [ns] of the first message in one file; None where it has none or cannot be read."""
    try:
        return next((time for _, time in receipts(path)), None)
    except Exception:  # rosbags, mcap, zstd and sqlite3 have their own types
        return None


def receipts(path: Path) -> Iterator[tuple[str, int]]:
    """Topic and time of receipt [ns] of each message of one storage file, as written."""
    return _of_sqlite(path) if path.suffix == ".db3" else _of_mcap(path)


def _files(reader: AnyReader) -> Iterator[Path]:
    """Storage files of an open bag, decompressed ones where the whole file was compressed."""
    for inner in reader.readers:
        storage = inner.storage
        for one in getattr(storage, "storages", None) or [storage]:
            yield Path(one.path)


def _of_sqlite(path: Path) -> Iterator[tuple[str, int]]:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)
    try:
        yield from connection.execute(
            "SELECT topics.name, messages.timestamp FROM messages "
            "JOIN topics ON topics.id = messages.topic_id ORDER BY messages.id"
        )
    finally:
        connection.close()


def _of_mcap(path: Path) -> Iterator[tuple[str, int]]:
    topics: dict[int, str] = {}
    chunk: Chunk | None = None  # the newest one, until its indices follow
    indices: list[MessageIndex] = []
    with open(path, "rb") as file:
        for record in StreamReader(file, emit_chunks=True).records:
            if isinstance(record, MessageIndex) and chunk is not None:
                indices.append(record)
                continue
            if chunk is not None:
                yield from _of_chunk(chunk, indices, topics)
            chunk, indices = None, []
            if isinstance(record, Channel):
                topics[record.id] = record.topic
            elif isinstance(record, Chunk):
                chunk = record
            elif isinstance(record, Message):
                yield topics[record.channel_id], record.log_time


def _of_chunk(
    chunk: Chunk, indices: list[MessageIndex], topics: dict[int, str]
) -> Iterator[tuple[str, int]]:
    """Messages of a chunk: from its indices where their topics are known, else from itself."""
    known = all(index.channel_id in topics for index in indices)
    if indices and known:
        placed = [
            (offset, topics[index.channel_id], time)
            for index in indices
            for time, offset in index.records
        ]
        yield from ((topic, time) for _, topic, time in sorted(placed))
        return
    for record in breakup_chunk(chunk):
        if isinstance(record, Channel):
            topics[record.id] = record.topic
        elif isinstance(record, Message):
            yield topics[record.channel_id], record.log_time


STORAGE = {".mcap": "mcap", ".db3": "sqlite3"}  # suffix -> rosbag2's name of the storage
MCAP_MAGIC = b"\x89MCAP0\r\n"
SQLITE_MAGIC = b"SQLite format 3\0"
SESSION_FILE = "session.json"
LOOK_AT = 1 << 16  # bytes at the start of a file, which hold the header of our recordings


def storage_files(path: Path) -> list[Path]:
    """Files with the messages of the bag ``path``, a folder or a single file."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        return []
    names = (*STORAGE, *(f"{suffix}.zstd" for suffix in STORAGE))
    return sorted(p for p in path.iterdir() if p.is_file() and p.name.endswith(names))


def unreadable(path: Path, error: Exception) -> EpisodeError:
    """A one-line error: which bag, why, and the command that repairs it, if one does."""
    try:
        advice = _folder(path) if path.is_dir() else _file(path)
    except OSError as problem:
        advice = ""
        error = problem
    words = " ".join(str(error).split()) or "no reason given"
    if isinstance(error, OSError) and error.strerror:
        words = error.strerror
    elif not isinstance(error, (ValueError, RuntimeError)) and " " not in words:
        words = f"{type(error).__name__} {words}"  # a KeyError only gives a name
    return EpisodeError(f"{path}: cannot be read as a bag ({advice or words})")


def _folder(path: Path) -> str:
    """The fault of a rosbag2 folder; empty where none is found."""
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
        information = load_yaml(metadata, aliases=True)["rosbag2_bagfile_information"]
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
    """The fault of one storage file; empty where none is found."""
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


# What rosbags and mcap raise for a bag that is damaged after its beginning.
DAMAGED = (
    *(AnyReaderError, ReaderError, zstandard.ZstdError, zstd.ZstdError, RuntimeError),
    *(EOFError, struct.error, sqlite3.Error, UnicodeDecodeError),
)


class Record(NamedTuple):
    """A message of a bag as bytes."""

    topic: BagTopic
    time: int  # ns, when it was received
    data: bytes


@contextmanager
def open_bag(path: Path) -> Iterator[AnyReader]:
    """Open a rosbag2 folder or a single file of a bag, mcap or sqlite3.

    Types come from the definitions in the bag, the standard ones of Jazzy where it has none.
    Raises EpisodeError where nothing can be read.
    """
    check_bag(path)
    with ExitStack() as stack:
        try:
            store = get_typestore(Stores.ROS2_JAZZY)
            reader = stack.enter_context(AnyReader([path], default_typestore=store))
            known = reader.typestore.fielddefs
            if any(c.msgtype not in known for c in reader.connections):
                missing = {n: f for n, f in store.fielddefs.items() if n not in known}
                reader.typestore.register(missing)
        except Exception as error:  # rosbags, mcap, zstd and sqlite3 have their own types
            raise unreadable(path, error) from None
        try:
            yield reader
        except DAMAGED as error:
            raise unreadable(path, error) from None


def check_types(reader: AnyReader, connections: Iterable[Connection], where: Path) -> None:
    """Raise EpisodeError where the bag does not define the type of a topic that is read."""
    for connection in connections:
        kind = connection.msgtype
        if kind not in reader.typestore.fielddefs:
            raise EpisodeError(
                f"{where}: no definition of {kind}, the type of {connection.topic}: on a machine "
                "that has its package `ros2 bag convert` to mcap writes it into the bag"
            )


def custom_data(folder: Path) -> dict[str, str]:
    """custom_data of one of our bags, from its metadata.yaml; empty for other bags."""
    try:
        found = load_yaml(folder / METADATA_FILE, aliases=True)
        found = found["rosbag2_bagfile_information"].get("custom_data")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) and "episode_id" in found else {}


def is_format_1(kind: str, type_hash: str | None, definitions: Definitions, where: Path) -> bool:
    """Whether messages of ``kind`` with this hash are of format 1.

    Raises EpisodeError where ``kind`` is one of our types, and neither the installed definition
    nor format 1 has this hash.
    """
    if not kind.startswith(f"{PACKAGE}/") or kind not in definitions.store.fielddefs:
        return False
    if type_hash == definitions.hash(kind):
        return False
    if type_hash != FORMAT_1_HASHES.get(kind):
        raise EpisodeError(
            f"{where}: {kind} was recorded with another definition than the one that is "
            "installed: read it with the version that session.json names"
        )
    return True


def messages(
    reader: AnyReader, wanted: Iterable[str], definitions: Definitions
) -> Iterator[tuple[str, Any]]:
    """Type and content of the messages of the types ``wanted``, upgraded to the newest format.

    Raises EpisodeError where the bag has another definition of any of our types.
    """
    where = reader.paths[0]
    earlier = {
        c.msgtype: is_format_1(
            c.msgtype, reader.typestore.hash_rihs01(c.msgtype), definitions, where
        )
        for c in reader.connections
        if c.msgtype in reader.typestore.fielddefs
    }
    chosen = [c for c in reader.connections if c.msgtype in wanted]
    try:
        for connection, _, data in reader.messages(chosen) if chosen else ():
            kind = connection.msgtype
            message = reader.deserialize(data, kind)
            if earlier[kind]:
                message = upgrade_format_1(kind, message, definitions)
            yield kind, message
    except PtpError:
        raise
    except Exception as error:  # damaged chunks and messages: as above
        raise unreadable(where, error) from error


def read_rows(reader: AnyReader, definitions: Definitions) -> Iterator[Row]:
    """Rows of all messages that an episode is built from; see `messages`."""
    wanted = set(ROW_KINDS)
    if any(c.msgtype == LATENT and c.msgcount for c in reader.connections):
        wanted.remove(OBSERVATION)  # images are not needed where there are latents
    for kind, message in messages(reader, wanted, definitions):
        row = make_row(kind, message)
        if row is not None:
            yield row


def read_episode(folder: Path, definitions: Definitions) -> Episode:
    """Rebuild an episode from its bag; number and label are not set."""
    text = custom_data(folder)
    info = EpisodeInfo.from_text(text, str(folder))
    with open_bag(folder) as reader:
        return assemble(info, read_rows(reader, definitions), text.get("end_reason", ""))[0]


def read_confirmed(session: Session, entry: Entry, definitions: Definitions) -> Episode:
    """Read a confirmed episode of a session, with its number, current label and instruction."""
    episode = read_episode(session.path(entry), definitions)
    episode.number, episode.label = entry.number, LABELS.index(entry.label)
    episode.info = instructed(episode.info, entry.instruction)
    return episode


class Salvage:
    """Reads the whole chunks of a truncated mcap file. Iterate once; then see ``problem``."""

    def __init__(self, folder: Path, definitions: Definitions) -> None:
        self.path = folder / BAG_FILE
        self.header: dict[str, str] = {}
        self.footer: dict[str, str] = {}
        self.problem = ""  # why the file ended; empty for a whole one
        self._definitions = definitions
        self._topics: dict[int, BagTopic] = {}
        self._schemas: dict[int, Schema] = {}
        self._earlier: dict[str, Any] = {}  # decoders of the types of format 1

    def __iter__(self) -> Iterator[Record]:
        """Yield the messages, upgraded to the newest format.

        EpisodeError where a type was recorded with a definition that neither format has.
        """
        check_mcap(self.path)
        try:
            with open(self.path, "rb") as file:
                for record in StreamReader(file, validate_crcs=True).records:
                    if isinstance(record, Message):
                        yield self._record(record)
                    else:
                        self._note(record)
        except EpisodeError:
            raise
        except Exception as error:  # mcap and zstd raise many types for truncated bytes
            self.problem = f"{type(error).__name__} {error}".strip()

    def _record(self, message: Message) -> Record:
        topic, data = self._topics[message.channel_id], message.data
        if topic.kind in self._earlier and topic.kind != STEP_RECORD:  # those are built again
            old = self._earlier[topic.kind].deserialize_cdr(data, topic.kind)
            data = self._definitions.encode(upgrade_format_1(topic.kind, old, self._definitions))
        return Record(topic, message.log_time, data)

    def _note(self, record: Any) -> None:
        if isinstance(record, Schema):
            self._schemas[record.id] = record
        elif isinstance(record, Channel):
            schema = self._schemas[record.schema_id]
            kind = schema.name
            if is_format_1(
                kind, record.metadata.get("topic_type_hash"), self._definitions, self.path
            ):
                store = get_typestore(Stores.ROS2_JAZZY)
                found = get_types_from_msg(schema.data.decode(), kind)
                store.register({n: f for n, f in found.items() if n not in store.fielddefs})
                self._earlier[kind] = store
            qos = parse_yaml(record.metadata["offered_qos_profiles"])[0]
            self._topics[record.id] = replace(
                BagTopic(record.topic, kind),
                latched=qos["durability"] == "transient_local",
                reliable=qos["reliability"] == "reliable",
                depth=qos["depth"],
            )
        elif isinstance(record, Metadata) and record.name == HEADER:
            self.header = record.metadata
        elif isinstance(record, Metadata) and record.name == FOOTER:
            self.footer = record.metadata
