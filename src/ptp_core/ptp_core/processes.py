# SPDX-License-Identifier: Apache-2.0
"""What every process that this package spawns needs."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading


def follow_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Send this process signal ``number`` when its parent dies: nobody else would tell it."""

    def watch() -> None:
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, name="follow_parent", daemon=True).start()
