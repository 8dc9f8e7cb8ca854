# SPDX-License-Identifier: Apache-2.0
"""Declarations for launch files: arguments, conditions and nodes as plain data.

They need no launch_ros, but use the names and keywords of launch and launch_ros.
`ptp_bringup.launch_actions` turns them into launch_ros actions, `ptp_bringup.bring_up` into
processes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ptp_core.errors import ConfigError, quoted

Values = Mapping[str, str]
"""The text of every argument, by name."""

AS_PRESET = "preset"
LEFT_OUT = None
"""As the value of a parameter: the node is given none, and has its own default."""


@dataclass(frozen=True)
class Argument:
    """A launch argument, ``name:=value`` on the command line (DeclareLaunchArgument).

    With the default `AS_PRESET` the value comes from the stack's ``presets``. ``several``: the
    value is a list like A,B, whose items are ``choices``. With ``minimum`` or ``maximum`` the
    value is a number. ``same_as``: the argument whose value it is, where it is not empty.
    """

    name: str
    default: str
    description: str
    choices: tuple[str, ...] = ()
    several: bool = False
    minimum: float | None = None
    maximum: float | None = None
    same_as: str = ""

    def check(self, text: str) -> None:
        """Raise ConfigError for an invalid value."""
        if self.choices:
            for word in words(text) if self.several and text.strip(" ,") else (text,):
                if word not in self.choices:
                    raise ConfigError(
                        f"{self.name} is {quoted(text)}; it must be {self._choice()}"
                    )
        if (self.minimum, self.maximum) == (None, None) or text == AS_PRESET == self.default:
            return
        try:
            fits = self._low <= float(text) <= self._high
        except ValueError:
            raise ConfigError(f"{self.name} is {quoted(text)}; it must be a number") from None
        if not fits:
            raise ConfigError(f"{self.name} is {text}; it must be {self._range()}")

    def limits(self) -> str:
        """Text that describes the valid values; empty: any text."""
        if self.choices:
            return self._choice().replace(" of ", " of: ", 1)
        if self.same_as:
            return f"one of those of {self.same_as}"
        return "" if (self.minimum, self.maximum) == (None, None) else self._range()

    @property
    def _low(self) -> float:
        return -math.inf if self.minimum is None else self.minimum

    @property
    def _high(self) -> float:
        return math.inf if self.maximum is None else self.maximum

    def _choice(self) -> str:
        names = ", ".join(self.choices)
        return f"a list of {names}" if self.several else f"one of {names}"

    def _range(self) -> str:
        if self.maximum is None:
            return f"{self.minimum:g} or more"
        if self.minimum is None:
            return f"{self.maximum:g} or less"
        return f"from {self.minimum:g} to {self.maximum:g}"


@dataclass(frozen=True)
class LaunchConfiguration:
    """The value of an argument.

    ``value_type``: str, int, float, bool, list[str] or list[int], as of launch_ros'
    ParameterValue, or a function that converts the text. The function raises ValueError, which
    says what the text must be, or ConfigError with its own message.
    """

    name: str
    value_type: Any = str

    def resolve(self, values: Values) -> Any:
        """The value. Raises ConfigError for a text that cannot be converted."""
        convert = _CONVERSIONS.get(self.value_type, self.value_type)
        try:
            return convert(values[self.name])
        except ValueError as error:
            kind = _KINDS.get(self.value_type) or str(error)
            raise ConfigError(
                f"{self.name} is {quoted(values[self.name])}; it must be {kind}"
            ) from None

    def names(self, values: Values | None = None) -> set[str]:
        """Arguments that it depends on."""
        return {self.name}


class Condition(ABC):
    """Condition on arguments. As the value of a parameter it is true or false."""

    @abstractmethod
    def resolve(self, values: Values) -> bool:
        """Whether it holds."""

    @abstractmethod
    def names(self, values: Values | None = None) -> set[str]:
        """Arguments that it depends on."""


@dataclass(frozen=True)
class IfCondition(Condition):
    """Holds where the argument is "true"."""

    name: str

    def resolve(self, values: Values) -> bool:
        """Whether it holds."""
        return values[self.name] == "true"

    def names(self, values: Values | None = None) -> set[str]:
        """The argument."""
        return {self.name}


@dataclass(frozen=True)
class Equals(Condition):
    """Holds where the argument has this value (EqualsSubstitution)."""

    name: str
    value: str

    def resolve(self, values: Values) -> bool:
        """Whether it holds."""
        return values[self.name] == self.value

    def names(self, values: Values | None = None) -> set[str]:
        """The argument."""
        return {self.name}


@dataclass(frozen=True)
class NotEquals(Equals):
    """Holds where the argument has another value (NotEqualsSubstitution)."""

    def resolve(self, values: Values) -> bool:
        """Whether it holds."""
        return values[self.name] != self.value


@dataclass(frozen=True)
class And(Condition):
    """Holds where both conditions hold (AndSubstitution)."""

    left: Condition
    right: Condition

    def resolve(self, values: Values) -> bool:
        """Whether it holds."""
        return self.left.resolve(values) and self.right.resolve(values)

    def names(self, values: Values | None = None) -> set[str]:
        """The arguments of both."""
        return self.left.names() | self.right.names()


@dataclass(frozen=True)
class IfElse:
    """One of two values, selected by a condition (IfElseSubstitution)."""

    condition: Condition
    if_value: Any
    else_value: Any

    def resolve(self, values: Values) -> Any:
        """The value."""
        return resolve(self._taken(values), values)

    def names(self, values: Values | None = None) -> set[str]:
        """Arguments that it depends on; with ``values``: those of the selected value."""
        branches = (self.if_value, self.else_value) if values is None else (self._taken(values),)
        return self.condition.names().union(*(names(branch, values) for branch in branches))

    def _taken(self, values: Values) -> Any:
        return self.if_value if self.condition.resolve(values) else self.else_value


def resolve(value: Any, values: Values) -> Any:
    """Value of a declaration for these arguments; a function without arguments is called."""
    if isinstance(value, LaunchConfiguration | Condition | IfElse):
        return value.resolve(values)
    return value() if callable(value) else value


def names(value: Any, values: Values | None = None) -> set[str]:
    """Arguments that a declared value depends on; with ``values``: for these values only."""
    if isinstance(value, LaunchConfiguration | Condition | IfElse):
        return value.names(values)
    return set()


@dataclass(frozen=True)
class Shutdown:
    """As ``on_exit`` of a node: when the node ends, the stack ends."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node of a stack, as launch_ros.actions.Node.

    A value of ``parameters`` is a plain value, a declaration of this module, or a function that
    is called when the stack starts. ``condition`` None: the node always starts. ``respawn``: the
    node is restarted when it dies; with ``on_exit=Shutdown()`` the stack then ends only when the
    node exits with 0. ``optional``: where the package is not installed, a line is printed and the
    node is left out.
    """

    package: str
    executable: str
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str | LaunchConfiguration, ...] = ()
    remappings: tuple[tuple[str, str], ...] = ()
    condition: Condition | None = None
    on_exit: Shutdown | None = None
    respawn: bool = False
    optional: bool = False

    @property
    def essential(self) -> bool:
        """Whether the stack ends when this node ends."""
        return self.on_exit is not None

    def wanted(self, values: Values) -> bool:
        """Whether it starts with these arguments."""
        return self.condition is None or self.condition.resolve(values)

    def argument_names(self) -> set[str]:
        """Arguments of the launch file that it depends on."""
        declared = (*self.parameters.values(), *self.arguments, self.condition)
        return set().union(*(names(value) for value in declared))


def words(text: str) -> tuple[str, ...]:
    """A comma-separated list: "A,B" as ("A", "B")."""
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise ValueError(text)
    return found


def flag(text: str) -> bool:
    """Text "true" or "false" as a bool."""
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


# list[str] is equal to every other list[str], so that it can be a key.
_CONVERSIONS: dict[Any, Callable[[str], Any]] = {
    bool: flag,
    list[str]: words,
    list[int]: _numbers,
}
_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list[str]: "a list like A,B",
    list[int]: "whole numbers like 3,-4",
}
