# SPDX-License-Identifier: Apache-2.0
"""Bounds on files from others: what they declare, pictures, JSON, YAML, XML. Loads nothing heavy.

Python's JSON parser raises RecursionError for deep nesting, and ValueError or OverflowError for a
number of hundreds of digits; `parse_json` raises ValueError for all of them. A few lines of nested
YAML aliases can expand to billions of values ("billion laughs"); `parse_yaml` refuses aliases, as
our files need none, or counts what they expand to where others wrote the file. Nested XML entities
do the same; `load_xml` refuses their declarations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import yaml

MIB, GIB = 2**20, 2**30
SLACK = 64 * MIB  # that any file may declare
RATIO = 1000  # unpacked to stored bytes beyond that; deflate reaches 1032, pictures 50
MOST = 64 * GIB  # that one file may declare
MOST_WEIGHTS = 4 * GIB  # of a file of weights, which is read whole
MOST_STATE = 4 * MOST_WEIGHTS  # of a training: weights, averages of them, two moments of Adam

LARGEST = 8192  # pixels a side; a camera has less
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
# Start of frame, of every kind that holds a size; C4, C8 and CC are something else.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}

JSON_MOST = 64 * 2**20  # bytes
JSON_DEEPEST = 32  # levels; ours have up to 8

YAML_MOST = MIB  # bytes, and characters that aliases may expand to

XML_MOST = 16 * MIB  # bytes; the URDF of our arm has 30 kB


class OverBudget(ValueError):
    """A file claims more than its reader takes. A ValueError: readers name file and cure."""


def check_declared(declared: int, stored: int, most: int = MOST) -> None:
    """Raise OverBudget where ``declared`` bytes cannot be what ``stored`` bytes hold."""
    if declared > most:
        raise OverBudget(f"it declares {_size(declared)}, at most {_size(most)} are read")
    if declared > SLACK + RATIO * stored:
        raise OverBudget(
            f"it declares {_size(declared)} and stores {_size(stored)}: no recording is that even"
        )


def at_most(path: Path, most: int) -> Path:
    """The path itself; raises OSError, and OverBudget for a file of more than ``most`` bytes.

    For readers of safetensors files, which take as much memory as a file is large, and no more.
    """
    if path.stat().st_size > most:
        raise OverBudget(f"it has more than {_size(most)}")
    return path


def read_bytes(path: Path, most: int) -> bytes:
    """Content of a file. Raises OSError, and OverBudget for one of more than ``most`` bytes."""
    at_most(path, most)  # a device or a file that grows says nothing true of its size
    content = bytearray()  # grows with what is there: reading makes room for what is asked for
    with path.open("rb") as file:
        while piece := file.read(MIB):
            content += piece
            if len(content) > most:
                raise OverBudget(f"it has more than {_size(most)}")
    return bytes(content)


def declared_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels; None where it is neither PNG nor JPEG, or ends before."""
    if data[:8] == _PNG:
        if data[12:16] != b"IHDR" or len(data) < 24:
            return None
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:2] == _JPEG:
        return _jpeg_size(data)
    return None


def check_picture_size(data: bytes) -> None:
    """Raise ValueError for what is no PNG or JPEG, OverBudget for one that is too large."""
    size = declared_size(data)
    if size is None:
        raise ValueError("no PNG and no JPEG")
    if not all(0 < side <= LARGEST for side in size):
        raise OverBudget(f"it declares {size[0]} x {size[1]} pixels, at most {LARGEST} a side")


def parse_json(text: str | bytes, longest: int = JSON_MOST) -> Any:
    """The value of a JSON text. Raises ValueError for any fault in it.

    ``longest``: most characters, or bytes. An integer beyond the range of a float is refused.
    """
    if len(text) > longest:
        raise ValueError(f"{len(text)} characters of JSON, at most {longest} are read")
    try:
        value = json.loads(text, parse_int=_json_integer)
    except RecursionError:
        raise ValueError(f"JSON of more than {JSON_DEEPEST} levels") from None
    _check_json_depth(value)
    return value


def load_json(path: Path, longest: int = JSON_MOST) -> Any:
    """The value of a JSON file (UTF-8). Raises OSError, and ValueError as `parse_json` does."""
    return parse_json(read_bytes(path, longest).decode("utf-8"), longest)


def parse_yaml(text: str, *, aliases: bool = False) -> Any:
    """The values of a YAML text. Raises yaml.YAMLError for any fault in it.

    ``aliases``: take those that expand to less than YAML_MOST characters; otherwise none.
    """
    if len(text) > YAML_MOST:
        raise yaml.YAMLError(f"{len(text)} characters, at most {YAML_MOST} are read")
    try:
        return yaml.load(text, Loader=_AliasLoader if aliases else _YamlLoader)
    except RecursionError:
        raise yaml.YAMLError("too many levels") from None
    # Impossible dates, numbers of 5,000 digits, keys that cannot be hashed.
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise yaml.YAMLError(str(error)) from error


def load_yaml(path: Path, *, aliases: bool = False) -> Any:
    """The values of a YAML file (UTF-8). Raises OSError, UnicodeDecodeError, yaml.YAMLError.

    ``aliases``: as in `parse_yaml`.
    """
    try:
        content = read_bytes(path, YAML_MOST)
    except ValueError as error:
        raise yaml.YAMLError(str(error)) from error
    return parse_yaml(content.decode("utf-8"), aliases=aliases)


def load_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file. Raises OSError, OverBudget, and ValueError for what is no XML."""
    content = read_bytes(path, XML_MOST)
    first = expat.ParserCreate()
    first.StartDoctypeDeclHandler = _refuse_doctype
    try:
        first.Parse(content, True)
        return ElementTree.fromstring(content)
    # LookupError: an unknown encoding.
    except (expat.ExpatError, ElementTree.ParseError, LookupError) as error:
        raise ValueError(str(error)) from error


def _refuse_doctype(*declared: object) -> None:
    raise OverBudget("it declares a document type, which may hold entities: take that out")


def _size(count: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at, found = 2, None
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker in _FRAMES:
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            width = int.from_bytes(data[at + 7 : at + 9], "big")
            # A decoder may take the last of several: the largest counts.
            found = (width, height) if found is None else max(found, (width, height), key=max)
        if marker == 0xDA:  # the scan: nothing but pixels follows
            return found
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return found


def _json_integer(digits: str) -> int:
    if len(digits) > 300:  # 1e308 is the largest float
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _check_json_depth(value: Any) -> None:
    level = [value]
    for _ in range(JSON_DEEPEST):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        if not inner:
            return
        level = inner
    if any(isinstance(item, (dict, list)) for item in level):
        raise ValueError(f"JSON of more than {JSON_DEEPEST} levels")


class _YamlLoader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"an alias, *{event.anchor}: write the values out")
        return super().compose_node(parent, index)


class _AliasLoader(yaml.SafeLoader):
    """Counts the characters that aliases expand to."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._sizes: dict[str, int] = {}  # of what each anchor names, with its aliases written out
        self._composed = self._expanded = 0  # characters so far, of them by aliases

    def compose_node(self, parent: Any, index: Any) -> Any:
        event, before = self.peek_event(), self._composed
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.anchors and event.anchor not in self._sizes:
                raise yaml.YAMLError(f"the alias *{event.anchor} is part of what it names")
            size = self._sizes.get(event.anchor, 0)
            self._expanded += size
            if self._expanded > YAML_MOST:
                raise yaml.YAMLError(f"aliases that expand to more than {YAML_MOST} characters")
        else:
            size = 1 + len(getattr(event, "value", None) or "")
        self._composed += size
        node = super().compose_node(parent, index)
        if not isinstance(event, yaml.AliasEvent) and event.anchor is not None:
            self._sizes[event.anchor] = self._composed - before
        return node
