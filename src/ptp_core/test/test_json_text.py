# SPDX-License-Identifier: Apache-2.0
"""JSON from others is read whole or refused with ValueError, whatever it is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptp_core.data.json_text import JSON_DEEPEST, load_json, parse_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.text()
    | st.integers(-(2**53), 2**53),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_within_bounds_comes_back(value):
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 10**6, "levels"),
        ("[" * (JSON_DEEPEST + 1) + "]" * (JSON_DEEPEST + 1), "levels"),
        ('{"a":' * 10**5, "levels"),
        ("9" * 400, "400 digits"),
        ("-" + "9" * 10**5, "digits"),
        (" " * 101, "at most 100"),
        (b"\xff\x80[]", "decode"),
    ],
)
def test_what_is_beyond_them_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_json(text, 100 if text[:1] == " " else 2 * 10**6)


def test_a_large_file_is_not_read_whole(tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="more than 1000"):
        load_json(path, 1000)
