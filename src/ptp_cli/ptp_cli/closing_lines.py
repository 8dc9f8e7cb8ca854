# SPDX-License-Identifier: Apache-2.0
"""Last lines of a long command: where its results are, and the command to go on with."""

from __future__ import annotations

import shlex


def print_results(results: object, *words: object) -> None:
    """Print the path of the results, and with ``words`` the next command, quoted for a shell."""
    print(f"results: {results}")
    if words:
        print(f"next: {shlex.join(map(str, words))}", flush=True)
