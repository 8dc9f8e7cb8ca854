# SPDX-License-Identifier: Apache-2.0
"""Limit the unpacked size of untrusted bags, without unpacking them.

Chunks of an mcap file declare their unpacked size, and so do the zstd frames within. Both are
compared with the bytes in the file. sqlite3 files store what they declare, unless they have views,
which can produce any number of rows.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import lz4.frame
import yaml
import zstandard

from ptp_core.data.file_limits import MIB, OverBudget, check_declared, load_yaml
from ptp_core.errors import EpisodeError

CHUNK = 256 * MIB  # one chunk may unpack to this: it is held in memory; writers use a few MB
BLOCK = 128 * 1024  # bytes that a block of zstd may unpack to (RFC 8878, 3.1.1.2)
MAGIC = b"\x89MCAP0\r\n"
CHUNK_RECORD, CHUNK_INDEX = 0x06, 0x08  # mcap.dev/spec
ZSTD_MAGIC, SKIPPABLE = 0xFD2FB528, range(0x184D2A50, 0x184D2A60)


def check_bag(path: Path) -> None:
    """Raise EpisodeError where a bag, a folder or one file, would unpack to more than it may.

    Other damage is left to the reader, which reports it.
    """
    where = path
    try:
        files = [path]
        if path.is_dir():
            where = path / "metadata.yaml"
            _check_metadata(where)
            files = sorted(file for file in path.iterdir() if file.suffix in (".mcap", ".db3"))
        for where in files:
            with where.open("rb") as file:
                start = file.read(16)
                if start.startswith(MAGIC):
                    _check_mcap(file)
                elif start.startswith(b"SQLite format 3"):
                    _check_sqlite(where)
    except FileNotFoundError:
        return  # the reader reports it
    except OSError as error:
        raise EpisodeError(f"{where}: cannot be read ({error.strerror})") from error
    except (ValueError, struct.error, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:300]
        raise EpisodeError(f"{where}: refused as a bag ({reason})") from error


def check_mcap(path: Path) -> None:
    """As `check_bag`, for a single mcap file, whole or truncated."""
    try:
        with path.open("rb") as file:
            file.seek(len(MAGIC))
            _check_mcap(file)
    except OverBudget as error:
        raise EpisodeError(f"{path}: refused as a bag ({error})") from error
    except (ValueError, struct.error):
        return  # damaged: the records before this place can still be read


def _check_metadata(path: Path) -> None:
    values = load_yaml(path, aliases=True)
    about = values.get("rosbag2_bagfile_information") if isinstance(values, dict) else None
    mode = about.get("compression_mode") if isinstance(about, dict) else None
    if str(mode or "none").lower() not in ("none", "storage"):
        raise OverBudget(
            f"compression_mode {str(mode)[:20]}: `ros2 bag convert` to mcap with its own chunks, "
            "whose sizes can be checked"
        )


def _check_mcap(file: BinaryIO) -> None:
    chunks: dict[int, tuple[int, bytes, int]] = {}  # offset: stored, compression, unpacked
    declared = 0
    size = file.seek(0, 2)
    for offset, kind, length in _records(file, size):
        if kind == CHUNK_RECORD:
            head = file.read(min(length, 64))
            (unpacked,) = struct.unpack_from("<Q", head, 16)
            (letters,) = struct.unpack_from("<I", head, 28)
            compression = head[32 : 32 + letters]
            (stored,) = struct.unpack_from("<Q", head, 32 + letters)
            stored = min(stored, max(0, length - 40 - letters))
            if compression not in (b"", b"lz4", b"zstd"):
                raise ValueError(f"compression {compression[:20]!r}")
            _check_chunk(file, offset + 9 + 40 + letters, compression, stored, unpacked)
            declared += unpacked
            chunks[offset] = (stored, compression, unpacked)
        elif kind == CHUNK_INDEX:
            _check_index(file.read(min(length, MIB)), chunks)
    check_declared(declared, size)


def _records(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """(offset, kind, length) of every record; the file is positioned at its content."""
    at = len(MAGIC)
    while at + 9 <= size:
        file.seek(at)
        kind, length = struct.unpack("<BQ", file.read(9))
        if at + 9 + length > size:  # truncated, or the magic at the end
            return
        yield at, kind, length
        at += 9 + length


def _check_chunk(file: BinaryIO, at: int, compression: bytes, stored: int, unpacked: int) -> None:
    if unpacked > CHUNK:
        raise OverBudget(
            f"a chunk declares {unpacked} bytes, at most {CHUNK} are unpacked at once"
        )
    if not compression:
        return
    file.seek(at)
    data = file.read(stored)
    most = _zstd_most(data) if compression == b"zstd" else _lz4_most(data)
    if most > CHUNK:
        raise OverBudget(f"a chunk unpacks to {most} bytes, at most {CHUNK} are unpacked at once")


def _zstd_most(data: bytes) -> int:
    """Upper bound of the frames' unpacked bytes; counting stops at data that is no frame."""
    claimed = blocks = at = 0
    while at + 4 <= len(data):
        (magic,) = struct.unpack_from("<I", data, at)
        if magic in SKIPPABLE and at + 8 <= len(data):
            at += 8 + struct.unpack_from("<I", data, at + 4)[0]
            continue
        if magic != ZSTD_MAGIC:
            break
        try:
            frame = zstandard.get_frame_parameters(data[at : at + 18])
            begin = at + zstandard.frame_header_size(data[at : at + 18])
        except zstandard.ZstdError:
            break
        more, at = _skip_blocks(data, begin, frame.has_checksum)
        blocks += more
        if frame.content_size != zstandard.CONTENTSIZE_UNKNOWN:
            claimed += frame.content_size
    if claimed <= CHUNK < blocks * BLOCK:  # blocks may be small: count exactly
        return _zstd_count(data)
    return max(claimed, blocks * BLOCK)


def _zstd_count(data: bytes) -> int:
    """Bytes that it unpacks to, or a little more than CHUNK."""
    total = 0
    try:
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            while total <= CHUNK and (piece := reader.read(MIB)):
                total += len(piece)
    except zstandard.ZstdError:
        pass
    return total


def _skip_blocks(data: bytes, at: int, checksum: bool) -> tuple[int, int]:
    """How many blocks a frame has, and where it ends."""
    blocks = 0
    while at + 3 <= len(data):
        head = int.from_bytes(data[at : at + 3], "little")
        last, kind, size = head & 1, head >> 1 & 3, head >> 3
        at += 3 + (1 if kind == 1 else size)  # kind 1: one byte, repeated
        blocks += 1
        if last:
            break
    return blocks, at + 4 * checksum


def _lz4_most(data: bytes) -> int:
    """Bytes that it unpacks to, or a little more than CHUNK; 0 for what cannot be read."""
    if 255 * len(data) <= CHUNK:  # the largest ratio of the format
        return 255 * len(data)
    total = 0
    try:
        unpack = lz4.frame.LZ4FrameDecompressor()
        piece = unpack.decompress(data, max_length=MIB)
        while piece and total <= CHUNK:
            total += len(piece)
            piece = b"" if unpack.eof else unpack.decompress(b"", max_length=MIB)
    except (RuntimeError, EOFError, ValueError):
        return total
    return total


def _check_index(record: bytes, chunks: dict[int, tuple[int, bytes, int]]) -> None:
    """Raise where the summary names unchecked chunks, as readers follow its offsets."""
    try:
        (offset,) = struct.unpack_from("<Q", record, 16)
        (table,) = struct.unpack_from("<I", record, 32)
        at = 36 + table + 8
        (letters,) = struct.unpack_from("<I", record, at)
        compression = record[at + 4 : at + 4 + letters]
        stored, unpacked = struct.unpack_from("<QQ", record, at + 4 + letters)
    except struct.error:
        raise ValueError("an index of a chunk is damaged") from None
    if chunks.get(offset) != (stored, compression, unpacked):
        raise ValueError("the index names a chunk that is not there, or is another")


def _check_sqlite(path: Path) -> None:
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            found = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return  # the reader reports it
    for kind, name, text in found:
        words = str(text or "").upper()
        if kind not in ("table", "index") or "VIRTUAL" in words or "GENERATED" in words:
            raise ValueError(f"{str(name)[:40]} is a {kind} that makes rows up")
        if kind == "table" and " AS (" in words:
            raise ValueError(f"{str(name)[:40]} has columns that are computed")
