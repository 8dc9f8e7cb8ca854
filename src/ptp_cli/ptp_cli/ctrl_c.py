# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C stays Ctrl-C, also where an extension turns it into another error."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Noting:
    """Python's own handler of SIGINT, which also notes that it was called."""

    def __init__(self) -> None:
        self.called = False

    def __call__(self, number: int, frame) -> None:
        self.called = True
        signal.default_int_handler(number, frame)


@contextmanager
def ctrl_c_kept() -> Iterator[None]:
    """Raise KeyboardInterrupt for any error in the block that follows Ctrl-C. Blocks may nest.

    Extensions report what Python raised inside of them as their own error: safetensors has a
    ValueError of a shape that it could not determine. Changes nothing in other threads than the
    main one, and where something else handles Ctrl-C.
    """
    handler = signal.getsignal(signal.SIGINT)
    outermost = (
        handler is signal.default_int_handler
        and threading.current_thread() is threading.main_thread()
    )
    if outermost:
        handler = _Noting()
        signal.signal(signal.SIGINT, handler)
    try:
        yield
    except Exception as error:
        if isinstance(handler, _Noting) and handler.called:
            raise KeyboardInterrupt from error
        raise
    finally:
        if outermost:
            signal.signal(signal.SIGINT, signal.default_int_handler)
