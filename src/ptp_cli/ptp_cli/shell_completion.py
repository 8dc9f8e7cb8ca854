# SPDX-License-Identifier: Apache-2.0
"""Completion of the ``ptp`` command in bash, zsh and fish, by argcomplete.

The shell runs `ptp` with the variable ``_ARGCOMPLETE`` and reads the candidates. Options and
their choices come from the parsers; the functions here complete what no parser knows.
"""

from __future__ import annotations

import argparse
import os

SHELLS = ("bash", "zsh", "fish")


def complete_words(parser: argparse.ArgumentParser) -> None:
    """Print the candidates and exit, if a shell asks for them; else return at once."""
    if "_ARGCOMPLETE" in os.environ:
        from argcomplete import autocomplete

        autocomplete(parser, always_complete_options=False)


def shell_code(shell: str) -> str:
    """Code that makes ``shell`` (one of `SHELLS`) complete `ptp`."""
    from argcomplete import shellcode

    return shellcode(["ptp"], shell=shell)


def stack_names(**_) -> tuple[str, ...]:
    """Names of the stacks, for `ptp up`."""
    from ptp_bringup.stacks import STACK_NAMES

    return STACK_NAMES


def stack_arguments(
    prefix: str, parsed_args: argparse.Namespace, stack: str | None = None, **_
) -> list[str]:
    """Candidates ``NAME:=`` or ``NAME:=VALUE`` of a stack, for a word that begins with ``prefix``.

    The stack is ``stack`` or the one that ``parsed_args.stack`` names. Unknown stacks have none.
    """
    from ptp_bringup.stacks import stack_named
    from ptp_core.errors import ConfigError

    try:
        arguments = stack_named(stack or parsed_args.stack).arguments
    except ConfigError:
        return []
    name, assigned, _ = prefix.partition(":=")
    if not assigned:
        return [f"{argument.name}:=" for argument in arguments]
    return [
        f"{name}:={choice}"
        for argument in arguments
        if argument.name == name
        for choice in argument.choices
    ]
