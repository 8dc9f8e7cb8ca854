# SPDX-License-Identifier: Apache-2.0
"""How names from outside stand in an error line."""

import pytest

from ptp_core.errors import LONGEST_NAME, quoted


@pytest.mark.parametrize("name", ["", " ", "\t\n"])
def test_a_name_of_nothing_is_called_empty(name):
    assert quoted(name) == "(empty)"


def test_a_name_stays_on_its_line_and_is_cut():
    assert quoted("D") == '"D"'
    assert quoted(3) == '"3"'
    assert quoted("a\nb  c") == '"a b c"'
    assert quoted("x" * 10_000) == f'"{"x" * LONGEST_NAME}…"'
