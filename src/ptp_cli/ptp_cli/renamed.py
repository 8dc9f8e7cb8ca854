# SPDX-License-Identifier: Apache-2.0
"""Options that had another name: whoever gives the old one is told the new one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

BASELINES = {"--baselines": "--checkpoint, the folder of the method's own checkpoint"}


class Renamed(argparse.Action):
    """Ends the program with one line that names the option to give instead."""

    def __init__(self, option_strings, dest, *, now: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs="?", help=argparse.SUPPRESS)
        self.now = now

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Exit with status 2."""
        parser.exit(2, f"{parser.prog}: {option_string} is now {self.now}\n")


def add_renamed(parser: argparse.ArgumentParser, names: Mapping[str, str]) -> None:
    """Let ``parser`` answer each old name with what ``names`` says of it."""
    for old, now in names.items():
        parser.add_argument(old, action=Renamed, now=now)
