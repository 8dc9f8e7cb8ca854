# SPDX-License-Identifier: Apache-2.0
"""Read configuration dataclasses from YAML; errors name the key and the nearest valid one."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from ptp_core.data.file_limits import load_yaml
from ptp_core.errors import ConfigError, quoted

T = TypeVar("T")
FORMERLY = "formerly"  # key of a field's metadata: its name in files of earlier versions


def formerly(name: str, default: Any) -> Any:
    """A field of a configuration that files of earlier versions call ``name``."""
    return dataclasses.field(default=default, metadata={FORMERLY: name})


def require(config: Any, field: str, minimum: float, maximum: float = float("inf")) -> None:
    """Raise ConfigError unless ``minimum <= config.field <= maximum``."""
    value = getattr(config, field)
    if not minimum <= value <= maximum:
        upper = "" if maximum == float("inf") else f" and at most {maximum}"
        raise ConfigError(
            f"{type(config).__name__}.{field} is {value}; it must be at least {minimum}{upper}"
        )


def load_config(path: str | Path, cls: type[T], overrides: dict[str, Any] | None = None) -> T:
    """Read a ``cls`` from a YAML file.

    ``overrides`` maps dotted keys ("iql.steps") to values that replace those of the file.
    Raises ConfigError for a missing file, broken YAML, an unknown key or a wrong type.
    """
    path = Path(path)
    values = read_yaml(path)
    for key, value in (overrides or {}).items():
        _set_dotted(values, key, value, path)
    return from_dict(cls, values, source=str(path), formerly=False)


def read_yaml(path: Path) -> Any:
    """Read the values of a YAML file, {} for an empty one. Raises ConfigError with the reason."""
    try:
        values = load_yaml(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    return {} if values is None else values


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a configuration dataclass into plain dicts, lists and scalars (for JSON and YAML)."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return value

    return plain(config)


def from_dict(
    cls: type[T],
    values: Any,
    *,
    source: str = "configuration",
    prefix: str = "",
    formerly: bool = True,
) -> T:
    """Build ``cls`` from nested dicts. Missing keys keep their defaults.

    ``formerly``: accept field names of earlier versions, as old checkpoints have them. Raises
    ConfigError that names the dotted key, ``source``, and for an unknown key the nearest valid
    one.
    """
    if not isinstance(values, dict):
        where = prefix.rstrip(".") or "the top level"
        raise ConfigError(f"{source}: {where} must be a mapping, not {_kind(values)}")
    types_of = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]
    today = {
        f.metadata[FORMERLY]: f.name for f in dataclasses.fields(cls) if FORMERLY in f.metadata
    }
    arguments = {}
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        if key in today and not formerly:
            raise ConfigError(f'{source}: {quoted(dotted)} is now "{prefix}{today[key]}"')
        key = today.get(key, key)
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f'{source}: unknown key {quoted(dotted)}; did you mean "{prefix}{near}"?'
            )
        arguments[key] = _convert(types_of[key], value, source, dotted, formerly)
    try:
        return cls(**arguments)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _convert(hint: Any, value: Any, source: str, key: str, formerly: bool) -> Any:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        for option in options:
            if dataclasses.is_dataclass(option) and isinstance(value, dict):
                return _convert(option, value, source, key, formerly)  # its errors name the key
            try:
                return _convert(option, value, source, key, formerly)
            except ConfigError:
                continue
        raise _wrong(hint, value, source, key)
    if origin is Literal:
        if value in options and not isinstance(value, bool):
            return value
        raise _wrong(hint, value, source, key)
    if origin is tuple:
        if isinstance(value, (list, tuple)):
            return tuple(_convert(options[0], item, source, key, formerly) for item in value)
        raise _wrong(hint, value, source, key)
    if origin is dict:
        if isinstance(value, dict):
            return dict(value)
        raise _wrong(hint, value, source, key)
    if hint is type(None):
        if value is None:
            return None
        raise _wrong(hint, value, source, key)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        return from_dict(hint, value, source=source, prefix=f"{key}.", formerly=formerly)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 3e-4 as text
        try:
            value = float(value)
        except ValueError:
            raise _wrong(hint, value, source, key) from None
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isnan(value):
            raise ConfigError(f"{source}: {quoted(key)} is not a number")
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise _wrong(hint, value, source, key)


def _wrong(hint: Any, value: Any, source: str, key: str) -> ConfigError:
    return ConfigError(f"{source}: {quoted(key)} must be {_expected(hint)}, not {_kind(value)}")


def _expected(hint: Any) -> str:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(quoted(option) for option in options)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_expected(option) for option in options)
    if origin is tuple:
        return f"a list of {_expected(options[0])}"
    names = {float: "a number", int: "an integer", str: "text", bool: "true or false"}
    if hint is type(None):
        return "null"
    return names.get(hint, "a mapping")


def _kind(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else repr(value)


def _set_dotted(values: dict[str, Any], key: str, value: Any, path: Path) -> None:
    node = values
    *parents, last = key.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(
                f"{path}: {quoted(key)} cannot be set: {quoted(parent)} is not a mapping"
            )
    node[last] = value
