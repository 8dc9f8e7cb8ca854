# SPDX-License-Identifier: Apache-2.0
"""What a sentence must be like to tell an agent what to do. Loads no networks."""

from __future__ import annotations

from ptp_core.errors import GoalError, quoted

MOST_CHARACTERS = 400  # of an instruction


def check_length(text: str) -> None:
    """Raise GoalError for an instruction of more than MOST_CHARACTERS."""
    if len(text) > MOST_CHARACTERS:
        raise GoalError(
            f"the instruction {quoted(text)} has {len(text)} characters; {MOST_CHARACTERS} are "
            "allowed: shorten it"
        )


def given_instruction(text: str, what: str) -> str:
    """A sentence that a person gave, without blanks around it; empty: none was given.

    Raises GoalError, which begins with ``what``, for blanks alone, several lines and too long a
    sentence.
    """
    check_length(text)
    found = text.strip()
    if text and not found:
        raise GoalError(f"{what} is empty: say what to do in words, or leave it out")
    if len(found.splitlines()) > 1:
        raise GoalError(f"{what} has several lines: say it in one")
    return found
