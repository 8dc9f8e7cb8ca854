# SPDX-License-Identifier: Apache-2.0
"""Typed ROS parameters from dataclasses: each field is a parameter with description and range."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from ptp_core.config import from_dict, to_dict
from ptp_core.errors import ConfigError, quoted

T = TypeVar("T")

_TYPES = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
    tuple[str, ...]: Parameter.Type.STRING_ARRAY,
    tuple[int, ...]: Parameter.Type.INTEGER_ARRAY,
    tuple[float, ...]: Parameter.Type.DOUBLE_ARRAY,
}
_UNBOUNDED = {float: 1e18, int: 2**62}
_OF_RCLPY = ("qos_overrides.",)  # declared by rclpy when a publisher or subscription is made


def parameter(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | Callable[[], tuple[str, ...]] = (),
) -> Any:
    """A dataclass field that `declare` turns into a read-only ROS parameter.

    ``choices`` may be a function, for names that are known only when the node starts.
    """
    metadata = {
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
    }
    return dataclasses.field(default=default, metadata=metadata)


def describe(field: dataclasses.Field, kind: type) -> ParameterDescriptor:
    """Descriptor of one field: description, range, choices, read-only."""
    text, choices = field.metadata["description"], _choices(field)
    descriptor = ParameterDescriptor(name=field.name, description=text, read_only=True)
    if choices:
        descriptor.additional_constraints = "one of " + ", ".join(choices)
    low, high = field.metadata["minimum"], field.metadata["maximum"]
    if low is not None or high is not None:
        low = -_UNBOUNDED[kind] if low is None else low
        high = _UNBOUNDED[kind] if high is None else high
        if kind is float:
            span = FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
            descriptor.floating_point_range = [span]
        else:
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return descriptor


def declare(node: Node, cls: type[T]) -> T:
    """Declare every field of ``cls`` on ``node`` and return the values as an instance.

    Raises ConfigError, one line that names node and parameter, for a wrong type, a value out of
    range, and for a parameter that the node does not have.
    """
    hints = typing.get_type_hints(cls)
    values = {}
    for field in dataclasses.fields(cls):
        values[field.name] = _declare_one(node, field, hints[field.name])
    _refuse_unknown(node)
    return cls(**values)


def _declare_one(node: Node, field: dataclasses.Field, kind: Any) -> Any:
    default = field.default
    given = node._parameter_overrides.get(field.name)  # rclpy has no public way to see them
    if given is not None and kind is float and given.type_ == Parameter.Type.INTEGER:
        # "rate:=10" is an integer on the command line, and is accepted for a float parameter.
        node._parameter_overrides[field.name] = Parameter(field.name, value=float(given.value))
    where = f"{node.get_name()}: parameter {field.name}"
    if given is not None and given.type_ != Parameter.Type.NOT_SET:
        expected = _TYPES[kind]
        actual = node._parameter_overrides[field.name].type_
        if actual != expected:
            raise ConfigError(
                f"{where} is {given.value!r}, of type {actual.name.lower()}; "
                f"give a value of type {expected.name.lower()}"
            )
    try:
        value = node.declare_parameter(field.name, _plain(default), describe(field, kind)).value
    except (InvalidParameterTypeException, InvalidParameterValueException):
        raise ConfigError(f"{where} is {given.value!r}; it must be {_range(field)}") from None
    choices = _choices(field)
    if choices and value not in choices:
        raise ConfigError(f"{where} is {quoted(value)}; it must be one of {', '.join(choices)}")
    return tuple(value) if isinstance(default, tuple) else value


def _choices(field: dataclasses.Field) -> tuple[str, ...]:
    choices = field.metadata["choices"]
    return choices() if callable(choices) else choices


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _range(field: dataclasses.Field) -> str:
    low, high = field.metadata["minimum"], field.metadata["maximum"]
    if high is None:
        return f"at least {low}"
    return f"at most {high}" if low is None else f"between {low} and {high}"


def _refuse_unknown(node: Node) -> None:
    for name in node._parameter_overrides:
        if node.has_parameter(name) or name.startswith(_OF_RCLPY):
            continue
        known = [n for n in node._parameters if not n.startswith(_OF_RCLPY)]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"{node.get_name()}: there is no parameter {quoted(name)}; did you "
            f"mean {quoted(near)}?"
        )


_OVERRIDE_TYPES = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}


def declare_overrides(node: Node, prefix: str, cls: type) -> dict[str, Any]:
    """Declare ``prefix.field`` for each field of ``cls``; returns the values that were set.

    Raises ConfigError for a value of a wrong type. Ranges are checked by `apply_overrides`.
    """
    values = {}
    comments = field_comments(cls)
    for name, hint in typing.get_type_hints(cls).items():
        kind, options = _parameter_type(hint)
        full = f"{prefix}.{name}"
        descriptor = ParameterDescriptor(
            name=full,
            description=f"{comments.get(name, name)} (not set: as the preset has it)",
            read_only=True,
            additional_constraints=f"one of {', '.join(options)}" if options else "",
        )
        given = node._parameter_overrides.get(full)  # rclpy has no public way to see them
        if given is None:
            node.declare_parameter(full, kind, descriptor)
            continue
        value = given.value
        if kind == Parameter.Type.DOUBLE and given.type_ == Parameter.Type.INTEGER:
            value = float(value)
            node._parameter_overrides[full] = Parameter(full, value=value)
        elif given.type_ != kind:
            raise ConfigError(
                f"{node.get_name()}: parameter {full} is {value!r}; "
                f"give a value of type {kind.name.lower()}"
            )
        node.declare_parameter(full, kind, descriptor)
        values[name] = list(value) if kind.name.endswith("ARRAY") else value
    return values


def apply_overrides(node: Node, config: T, values: dict[str, Any]) -> T:
    """``config`` with the values that were set. Raises ConfigError for one out of range."""
    if not values:
        return config
    return from_dict(type(config), {**to_dict(config), **values}, source=node.get_name())


def field_comments(cls: type) -> dict[str, str]:
    """Comment at the end of each field's line in the source of a dataclass, by field."""
    names = {field.name for field in dataclasses.fields(cls)}
    comments = {}
    for line in inspect.getsource(cls).splitlines():
        match = re.match(r"\s+(\w+):[^#]*#\s*(.*)", line)
        if match and match.group(1) in names:
            comments[match.group(1)] = match.group(2)
    return comments


def _parameter_type(hint: Any) -> tuple[Parameter.Type, tuple[str, ...]]:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _parameter_type(options[0])
    if origin is Literal:
        return Parameter.Type.STRING, options
    if origin is tuple:
        return Parameter.Type[f"{_OVERRIDE_TYPES[options[0]].name}_ARRAY"], ()
    return _OVERRIDE_TYPES[hint], ()
