# SPDX-License-Identifier: Apache-2.0
"""Write one rosbag2 folder (mcap) from a bounded queue.

A kill loses the unfinished chunk only.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from mcap.writer import CompressionType, Writer

from ptp_core.data.files import flush_folder
from ptp_core.episodes.message_definitions import Definitions

GATHER = 0.02  # s; messages that arrive within this are written together


class Item(NamedTuple):
    """A message in the queue."""

    topic: BagTopic
    time: int  # ns, when it was received
    data: bytes
    spare: bool  # not needed for learning: may be dropped


class WriteQueue:
    """Queue from callbacks to the writing thread; ``put`` never waits for the disk.

    When more than ``limit`` bytes are queued, the oldest spare messages are dropped. Without
    spare messages, the new one is dropped. ``dropped`` counts them by topic name.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.dropped: Counter[str] = Counter()
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._busy = False
        self._closed = False
        self._hurry = False  # a caller waits until everything is written
        self._condition = threading.Condition()

    def put(self, item: Item) -> None:
        """Add a message, or drop one."""
        with self._condition:
            full = self._bytes + len(item.data) > self.limit
            if full and (item.spare or not self._make_room(len(item.data))):
                self.dropped[item.topic.name] += 1
                return
            self._items.append(item)
            self._bytes += len(item.data)
            if len(self._items) == 1:
                self._condition.notify_all()

    def _make_room(self, needed: int) -> bool:
        kept: deque[Item] = deque()
        for item in self._items:
            if item.spare and self._bytes + needed > self.limit:
                self._bytes -= len(item.data)
                self.dropped[item.topic.name] += 1
            else:
                kept.append(item)
        self._items = kept
        return self._bytes + needed <= self.limit

    def take(self, timeout: float) -> Item | None:
        """Remove the oldest message; None if none comes for ``timeout`` s or the queue is closed.

        The previous message counts as written.
        """
        with self._condition:
            self._done()
            if not self._items and self._condition.wait_for(self._called, timeout):
                # Write the messages of a control step together: each wake-up of the writer takes
                # CPU time from the threads that move the arm.
                self._condition.wait_for(lambda: self._hurry or self._closed, GATHER)
            if not self._items:
                return None
            item = self._items.popleft()
            self._bytes -= len(item.data)
            self._busy = True
            return item

    def _called(self) -> bool:
        return bool(self._items) or self._closed

    def _done(self) -> None:
        if self._busy:
            self._busy = False
            self._condition.notify_all()

    def wait_empty(self, timeout: float) -> bool:
        """Wait until everything is written; return whether it is."""
        with self._condition:
            self._hurry = True
            self._condition.notify_all()
            empty = self._condition.wait_for(
                lambda: not (self._items or self._busy) or self._closed, timeout
            )
            self._hurry = False
            return empty

    def give_up(self) -> None:
        """Drop all queued messages."""
        with self._condition:
            self.dropped.update(item.topic.name for item in self._items)
            self._items.clear()
            self._bytes = 0

    def clear(self) -> None:
        """Drop all queued messages, and reset the counts."""
        with self._condition:
            self._items.clear()
            self._bytes = 0
            self.dropped.clear()
            self._condition.notify_all()

    def close(self) -> None:
        """Close the queue and wake all waiting threads."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed


BAG_FILE = "episode_0.mcap"
METADATA_FILE = "metadata.yaml"
METADATA_VERSION = 9  # of rosbag2 in Jazzy
HEADER = "ptp_episode"  # mcap metadata record with the recording's EpisodeInfo
FOOTER = "ptp_episode_end"
CHUNK_SIZE = 256 * 1024  # bytes before compression; rosbag2's own is 768 kB
_INFINITE = {"sec": 9223372036, "nsec": 854775807}  # as rosbag2 writes "no limit"


@dataclass(frozen=True)
class BagTopic:
    """A topic of the bag and its quality of service."""

    name: str  # absolute
    kind: str  # "package/msg/Name"
    latched: bool = False
    reliable: bool = True
    depth: int = 1

    def qos(self) -> dict[str, Any]:
        """Quality of service as rosbag2's metadata writes it."""
        return {
            "history": "keep_last",
            "depth": self.depth,
            "reliability": "reliable" if self.reliable else "best_effort",
            "durability": "transient_local" if self.latched else "volatile",
            "deadline": dict(_INFINITE),
            "lifespan": dict(_INFINITE),
            "liveliness": "automatic",
            "liveliness_lease_duration": dict(_INFINITE),
            "avoid_ros_namespace_conventions": False,
        }


def create_file(path: Path) -> int:
    """Descriptor of a new file for writing."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)


class _Stream:
    """Unbuffered file for the mcap writer: every write reaches the operating system, whole."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._position = 0

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:  # a nearly full disk may write a part only
            written = os.write(self.descriptor, view)
            self._position += written
            view = view[written:]
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Do nothing: writes are unbuffered."""


class BagWriter:
    """One bag: ``add`` messages, then ``close`` (whole, on the disk) or ``abandon``.

    ``header`` is written at the start of the bag, and with the ``footer`` of ``close`` into
    metadata.yaml's custom_data. Every method may raise OSError, for example on a full disk.
    """

    def __init__(
        self,
        folder: Path,
        definitions: Definitions,
        header: Mapping[str, str],
        opener: Callable[[Path], int] = create_file,
    ) -> None:
        self.folder = folder
        self.bytes = 0  # of messages, before compression
        self._definitions = definitions
        self._header = dict(header)
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, tuple[int, BagTopic]] = {}
        self._counts: dict[str, int] = {}
        self.first: int | None = None  # time of a message, ns
        self.last = 0
        folder.mkdir(parents=True)
        self._stream: _Stream | None = _Stream(opener(folder / BAG_FILE))
        self._writer = Writer(
            self._stream, chunk_size=CHUNK_SIZE, compression=CompressionType.ZSTD
        )
        try:
            self._writer.start(profile="ros2")
            self._writer.add_metadata(HEADER, self._header)
            flush_folder(folder.parent)
        except OSError:
            self.abandon()
            raise

    @property
    def path(self) -> Path:
        """The .mcap file."""
        return self.folder / BAG_FILE

    @property
    def written(self) -> int:
        """Bytes in the file so far."""
        return 0 if self._stream is None else self._stream.tell()

    def add(self, topic: BagTopic, data: bytes, time: int) -> None:
        """Append a message: CDR bytes, received at ``time`` [ns]."""
        channel, _ = self._channels.get(topic.name) or self._register(topic)
        self._counts[topic.name] += 1
        self._writer.add_message(
            channel, log_time=time, data=data, publish_time=time, sequence=self._counts[topic.name]
        )
        self.bytes += len(data)
        self.first = time if self.first is None else min(self.first, time)
        self.last = max(self.last, time)

    def flush(self) -> None:
        """End the chunk, so that the messages so far survive a kill of this process."""
        self._writer.flush()

    def close(self, footer: Mapping[str, str]) -> None:
        """Finish the bag; on return it is whole and on the disk."""
        self._writer.flush()
        self._writer.add_metadata(FOOTER, dict(footer))
        self._writer.finish()
        os.fsync(self._stream.descriptor)
        self.abandon()
        text = yaml.safe_dump(self._metadata({**self._header, **footer}), sort_keys=False)
        with open(self.folder / METADATA_FILE, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        flush_folder(self.folder)

    def abandon(self) -> None:
        """Close the file unfinished."""
        stream, self._stream = self._stream, None
        if stream is not None:
            os.close(stream.descriptor)
            stream.descriptor = -1  # the descriptor may be reused

    def _register(self, topic: BagTopic) -> tuple[int, BagTopic]:
        kind = topic.kind
        if kind not in self._schemas:
            text = self._definitions.text(kind).encode()
            self._schemas[kind] = self._writer.register_schema(kind, "ros2msg", text)
        metadata = {
            "offered_qos_profiles": yaml.safe_dump([topic.qos()], sort_keys=False),
            "topic_type_hash": self._definitions.hash(kind),
        }
        number = self._writer.register_channel(topic.name, "cdr", self._schemas[kind], metadata)
        self._channels[topic.name] = (number, topic)
        self._counts[topic.name] = 0
        return self._channels[topic.name]

    def _metadata(self, custom: dict[str, str]) -> dict[str, Any]:
        start = self.first or 0

        def times() -> dict[str, Any]:  # fresh each time: YAML would write a reference
            return {
                "duration": {"nanoseconds": max(self.last - start, 0)},
                "starting_time": {"nanoseconds_since_epoch": start},
            }

        total = sum(self._counts.values())
        topics = [
            {
                "topic_metadata": {
                    "name": topic.name,
                    "type": topic.kind,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": [topic.qos()],
                    "type_description_hash": self._definitions.hash(topic.kind),
                },
                "message_count": self._counts[topic.name],
            }
            for _, topic in self._channels.values()
        ]
        information = {
            "version": METADATA_VERSION,
            "storage_identifier": "mcap",
            **times(),
            "message_count": total,
            "topics_with_message_count": topics,
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [BAG_FILE],
            "files": [{"path": BAG_FILE, **times(), "message_count": total}],
            "custom_data": custom,
            "ros_distro": "jazzy",
        }
        return {"rosbag2_bagfile_information": information}
