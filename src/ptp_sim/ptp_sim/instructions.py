# SPDX-License-Identifier: Apache-2.0
"""Sentences that ask for a primitive, several for each meaning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptp_core.data.trajectory import in_sequence

PHRASES = {
    "slide": (
        "slide the can to the {place}",
        "push the can to the {place}",
        "move the can to the {place} of the table",
        "shove the can over to the {place}",
    ),
    "block_tray": (
        "put the block on the tray",
        "place the block on the tray",
        "set the block down on top of the drawer",
        "lay the block on the tray",
    ),
    "block_drawer": (
        "put the block in the drawer",
        "place the block inside the drawer",
        "drop the block into the drawer",
        "store the block in the open drawer",
    ),
    "block_table": (
        "put the block on the table",
        "place the block on the table",
        "set the block down on the table",
        "lay the block on the table",
    ),
    "open": (
        "open the drawer",
        "pull the drawer open",
        "pull out the drawer",
        "slide the drawer open",
    ),
    "close": (
        "close the drawer",
        "push the drawer shut",
        "shut the drawer",
        "slide the drawer closed",
    ),
}
"""By primitive; ``place`` is a target's. The first one of each is the plainest."""


def paraphrases(primitive: str, place: str) -> tuple[str, ...]:
    """All sentences for one meaning.

    Raises:
        ValueError: there is no such primitive.

    """
    if primitive not in PHRASES:
        raise ValueError(f"unknown primitive '{primitive}': use one of {', '.join(PHRASES)}")
    return tuple(phrase.format(place=place) for phrase in PHRASES[primitive])


def instruction(meanings: Sequence[tuple[str, str]], rng: np.random.Generator) -> str:
    """Draw a sentence for (primitive, place) pairs, to be done in this order."""
    sentences = [paraphrases(*meaning) for meaning in meanings]
    return in_sequence([options[rng.integers(len(options))] for options in sentences])
