# SPDX-License-Identifier: Apache-2.0
"""Terminal input that reads single keys."""

from __future__ import annotations

import contextlib
import os
import termios

from ptp_core.errors import InputError

CONTROLLING = "/dev/tty"
MOST = 4096  # bytes a look


class Terminal:
    """Opens a terminal beside whoever has it, without echo and line by line; gives it back.

    Args:
        path: of the terminal; empty: the one that controls this process.

    """

    def __init__(self, path: str = "") -> None:
        self.path = path or CONTROLLING
        self._file: int | None = None
        self._before: list | None = None

    @property
    def is_open(self) -> bool:
        """Whether keys can be read."""
        return self._file is not None

    def open(self) -> None:
        """Take the keys. Raises InputError where there is no terminal."""
        try:
            # O_NOCTTY: another session's terminal must not become the one that controls us.
            file = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be opened ({error.strerror}): start teleop in a terminal, or "
                "name one with the parameter tty"
            ) from error
        try:
            self._before = termios.tcgetattr(file)
            changed = termios.tcgetattr(file)
            changed[3] &= ~(termios.ICANON | termios.ECHO)  # Ctrl-C stays a signal
            changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
            termios.tcsetattr(file, termios.TCSADRAIN, changed)
        except termios.error as error:
            os.close(file)
            raise InputError(f"{self.path} is no terminal ({error.args[-1]})") from error
        self._file = file

    def read(self) -> str:
        """What was typed since the last call, maybe nothing. InputError when it is gone."""
        try:
            data = os.read(self._file, MOST)
        except BlockingIOError:
            return ""
        except OSError as error:
            raise InputError(f"{self.path} is gone ({error.strerror})") from error
        if not data:
            raise InputError(f"{self.path} is gone")
        return data.decode("utf-8", "replace")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._file is None:
            return
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)
        os.close(self._file)
        self._file = None
