# SPDX-License-Identifier: Apache-2.0
"""First sequence numbers of observations that increase across restarts of a process."""

from __future__ import annotations

import time

NUMBERS_A_SECOND = 200  # more observations than any table or camera sends
NUMBERS = 2**31  # half of 2**32, so that uint32 does not overflow


def first_number() -> int:
    """A number above all those of a source that ran before on this machine.

    So after a restart, no old observation is taken for a new one, and simulated time, which
    counts observations, does not jump back. The numbers wrap around every 124 days.
    """
    return int(time.time() * NUMBERS_A_SECOND) % NUMBERS
