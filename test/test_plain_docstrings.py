# SPDX-License-Identifier: Apache-2.0
"""Docstrings become reStructuredText that says what they say."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def as_rst():
    """docs/plain_docstrings.py, which Sphinx loads by its path."""
    path = ROOT / "docs" / "plain_docstrings.py"
    spec = importlib.util.spec_from_file_location("plain_docstrings", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.as_rst


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Latent actions (*shape, z_dim).", r"Latent actions (\*shape, z_dim)."),
        ("E[ |a| ] and `a_ * b`, ``|c|``.", r"E[ \|a\| ] and `a_ * b`, ``|c|``."),
        ("hash_ of x_1", r"hash\_ of x_1"),
        ("* one\n* two * three\n  more", "* one\n* two \\* three\n  more"),
        ("a `name that\ngoes * on`", "a `name that\ngoes * on`"),
    ],
)
def test_signs_mean_themselves(as_rst, text, expected):
    assert as_rst(text) == f"{expected}\n"


def test_what_is_aligned_stays_aligned(as_rst):
    text = "Cost:\n\nvalue    = -eta * V,\n           the start\n\nThe end."
    literal = "::\n\n    value    = -eta * V,\n               the start"
    assert as_rst(text) == f"Cost:\n\n{literal}\n\nThe end.\n"
    assert "::\n\n        {" in as_rst('Result:\n\n    {"a", "b"}\n')
