# SPDX-License-Identifier: Apache-2.0
"""Sentences for primitives: one meaning each, several ways to say it, drawn from a seed."""

import numpy as np
import pytest

from ptp_sim.instructions import PHRASES, instruction, paraphrases
from ptp_sim.primitives import PRIMITIVES
from ptp_sim.scene import QUADRANT_PLACES


def test_every_primitive_has_several_sentences_and_none_has_two_meanings():
    assert set(PHRASES) == set(PRIMITIVES)
    meanings = [(name, "") for name in PRIMITIVES if name != "slide"]
    meanings += [("slide", place) for place in QUADRANT_PLACES]
    sentences = [sentence for meaning in meanings for sentence in paraphrases(*meaning)]
    assert len(set(sentences)) == len(sentences)
    assert all(len(paraphrases(*meaning)) >= 4 for meaning in meanings)
    assert "slide the can to the far left" in paraphrases("slide", "far left")


def test_the_generator_alone_decides_what_is_said():
    meanings = [("open", "open"), ("block_tray", "tray")]

    def say(seed):
        return instruction(meanings, np.random.default_rng(seed))

    assert say(3) == say(3)
    assert len({say(seed) for seed in range(30)}) > 8
    first, second = say(0).split(", then ")
    assert first in paraphrases("open", "open") and second in paraphrases("block_tray", "tray")


def test_an_unknown_primitive_is_named():
    with pytest.raises(ValueError, match="unknown primitive 'fly'"):
        paraphrases("fly", "moon")
