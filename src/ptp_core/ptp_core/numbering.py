# SPDX-License-Identifier: Apache-2.0
"""Numbers of observations that go on where an earlier process of the same machine ended."""

from __future__ import annotations

import time

NUMBERS_A_SECOND = 200  # more observations than any table or camera makes
NUMBERS = 2**31  # of 2**32, so that none runs out on the way


def first_number() -> int:
    """A number that is higher than all of a source that ran before on this machine.

    After a restart nobody takes an old observation for a new one, and simulated time, which
    counts observations, does not jump back. It begins anew once in 124 days.
    """
    return int(time.time() * NUMBERS_A_SECOND) % NUMBERS
