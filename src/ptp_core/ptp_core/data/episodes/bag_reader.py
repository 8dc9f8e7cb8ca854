# SPDX-License-Identifier: Apache-2.0
"""Read bags with rosbags, and what is left of a truncated one with mcap's streaming reader."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
import zstandard
from mcap.records import Channel, Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.storage_mcap import zstd  # the one of this Python
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ptp_core.data import yaml_text
from ptp_core.data.episodes import format_1
from ptp_core.data.episodes.assemble import assemble
from ptp_core.data.episodes.bag_budget import check_bag, check_mcap
from ptp_core.data.episodes.bag_writer import BAG_FILE, FOOTER, HEADER, METADATA_FILE, Topic
from ptp_core.data.episodes.definitions import (
    LATENT,
    OBSERVATION,
    PACKAGE,
    STEP_RECORD,
    Definitions,
)
from ptp_core.data.episodes.episode import (
    LABELS,
    ROW_KINDS,
    Episode,
    EpisodeInfo,
    Row,
    make_row,
)
from ptp_core.data.episodes.store import Entry, Session
from ptp_core.data.episodes.unreadable import unreadable
from ptp_core.errors import EpisodeError, PtpError

# What the layers below raise for a bag that is damaged after its beginning.
DAMAGED = (
    *(AnyReaderError, ReaderError, zstandard.ZstdError, zstd.ZstdError, RuntimeError),
    *(EOFError, struct.error, sqlite3.Error, UnicodeDecodeError),
)


class Record(NamedTuple):
    """A message of a bag as bytes."""

    topic: Topic
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
        except Exception as error:  # each layer below has its own
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
    """What a bag of ours was asked for, from its metadata.yaml; empty for other bags."""
    try:
        found = yaml_text.read(folder / METADATA_FILE)
        found = found["rosbag2_bagfile_information"].get("custom_data")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) and "episode_id" in found else {}


def is_format_1(kind: str, type_hash: str | None, definitions: Definitions, where: Path) -> bool:
    """Whether messages of ``kind`` with this hash are those of the format before.

    Raises EpisodeError where the hash is of one of our types, and neither the installed nor that
    format has it.
    """
    if not kind.startswith(f"{PACKAGE}/") or kind not in definitions.store.fielddefs:
        return False
    if type_hash == definitions.hash(kind):
        return False
    if type_hash != format_1.HASHES.get(kind):
        raise EpisodeError(
            f"{where}: {kind} was recorded with another definition than the one that is "
            "installed: read it with the version that session.json names"
        )
    return True


def messages(
    reader: AnyReader, wanted: Iterable[str], definitions: Definitions
) -> Iterator[tuple[str, Any]]:
    """Type and content of the messages of the types ``wanted``, as the newest format has them.

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
                message = format_1.upgrade(kind, message, definitions)
            yield kind, message
    except PtpError:
        raise
    except Exception as error:  # chunks and messages that are damaged: each layer has its own
        raise unreadable(where, error) from error


def read_rows(reader: AnyReader, definitions: Definitions) -> Iterator[Row]:
    """Rows of everything that an episode is put together from; see `messages`."""
    wanted = set(ROW_KINDS)
    if any(c.msgtype == LATENT and c.msgcount for c in reader.connections):
        wanted.remove(OBSERVATION)  # images are not needed where there are latents
    for kind, message in messages(reader, wanted, definitions):
        row = make_row(kind, message)
        if row is not None:
            yield row


def read_episode(folder: Path, definitions: Definitions) -> Episode:
    """Put an episode together again from its bag; number and label are not set."""
    text = custom_data(folder)
    info = EpisodeInfo.from_text(text, str(folder))
    with open_bag(folder) as reader:
        return assemble(info, read_rows(reader, definitions), text.get("end_reason", ""))[0]


def read_confirmed(session: Session, entry: Entry, definitions: Definitions) -> Episode:
    """Read a confirmed episode of a session, with number and today's label."""
    episode = read_episode(session.path(entry), definitions)
    episode.number, episode.label = entry.number, LABELS.index(entry.label)
    return episode


class Salvage:
    """Whole chunks of an mcap file that ends in the middle. Iterate once; then see ``problem``."""

    def __init__(self, folder: Path, definitions: Definitions) -> None:
        self.path = folder / BAG_FILE
        self.header: dict[str, str] = {}
        self.footer: dict[str, str] = {}
        self.problem = ""  # why the file ended; empty for a whole one
        self._definitions = definitions
        self._topics: dict[int, Topic] = {}
        self._schemas: dict[int, Schema] = {}
        self._earlier: dict[str, Any] = {}  # types of format 1 and how they are decoded

    def __iter__(self) -> Iterator[Record]:
        """Yield the messages as the newest format has them.

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
        except Exception as error:  # mcap and zstd raise many things for bytes that end early
            self.problem = f"{type(error).__name__} {error}".strip()

    def _record(self, message: Message) -> Record:
        topic, data = self._topics[message.channel_id], message.data
        if topic.kind in self._earlier and topic.kind != STEP_RECORD:  # those are made again
            old = self._earlier[topic.kind].deserialize_cdr(data, topic.kind)
            data = self._definitions.encode(format_1.upgrade(topic.kind, old, self._definitions))
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
            qos = yaml_text.parse(record.metadata["offered_qos_profiles"])[0]
            self._topics[record.id] = replace(
                Topic(record.topic, kind),
                latched=qos["durability"] == "transient_local",
                reliable=qos["reliability"] == "reliable",
                depth=qos["depth"],
            )
        elif isinstance(record, Metadata) and record.name == HEADER:
            self.header = record.metadata
        elif isinstance(record, Metadata) and record.name == FOOTER:
            self.footer = record.metadata
