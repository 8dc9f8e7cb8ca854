# SPDX-License-Identifier: Apache-2.0
"""Settings of the method as ROS parameters: one for each field of a configuration dataclass.

They carry no default of their own: what is not set is left to the preset or the checkpoint.
Descriptions are the comments beside the fields, so that they cannot drift apart.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from typing import Any, Literal, TypeVar

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from ptp_core.config import from_dict, to_dict
from ptp_core.errors import ConfigError

T = TypeVar("T")

_TYPES = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}


def declare_overrides(node: Node, prefix: str, cls: type) -> dict[str, Any]:
    """Declare ``prefix.field`` for each field of ``cls``; the values that were set.

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
    """Comment at the end of each field's line in the source of a dataclass."""
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
        return Parameter.Type[f"{_TYPES[options[0]].name}_ARRAY"], ()
    return _TYPES[hint], ()
