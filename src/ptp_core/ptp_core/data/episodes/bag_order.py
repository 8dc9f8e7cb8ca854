# SPDX-License-Identifier: Apache-2.0
"""When messages were received, in the order in which they were written.

rosbags sorts messages by the time of receipt. That hides a clock that was set back while
recording, so the files themselves are asked here, without decompressing a message.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

from mcap.records import Channel, Chunk, Message, MessageIndex
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.highlevel import AnyReader

from ptp_core.errors import EpisodeError

BACK = 0.05  # s that a message may be older than the one of its topic before: it was overtaken


def check_received(reader: AnyReader, topics: Collection[str], where: Path) -> None:
    """Raise EpisodeError where the receiver's clock was set back between two messages of a topic.

    Two takes with the same times would be mixed.
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
    except Exception:  # each layer below has its own
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
    chunk: Chunk | None = None  # the last one, until its indices come
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
