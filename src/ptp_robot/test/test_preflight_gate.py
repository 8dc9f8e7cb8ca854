# SPDX-License-Identifier: Apache-2.0
"""An arm may be enabled on a fresh preflight of its own limits, and on nothing else."""

import json

import pytest

from ptp_robot.arm_driver import PREFLIGHT_AGE, PreflightGate

NOW = 1e9
GOOD = {"ok": True, "stamp": NOW, "limits": "abc", "backend": "fake", "findings": []}


def refusal(report, now=NOW, limits="abc", backend="fake"):
    gate = PreflightGate()
    gate.take(report if isinstance(report, str) else json.dumps(report))
    return gate.refusal(now, limits, backend)


def test_a_fresh_report_of_these_limits_that_passed_allows_it():
    assert refusal(GOOD) == ""
    assert refusal(GOOD, now=NOW + PREFLIGHT_AGE - 1) == ""
    assert refusal(GOOD, now=NOW - 0.5) == "", "the doctor's clock may be a little ahead"


@pytest.mark.parametrize(
    ("changes", "asked", "text"),
    [
        ({}, {"now": NOW + PREFLIGHT_AGE + 1}, "10 min old"),
        ({}, {"now": NOW - 60}, "-1 min old"),
        ({"stamp": float("nan")}, {}, "nan min old"),
        ({}, {"limits": "abd"}, "of limits abc of fake, in force are abd"),
        ({}, {"backend": "sawyer"}, "in force are abc of sawyer"),
        ({"ok": False, "findings": ["disk: full"]}, {}, "did not pass: disk: full"),
        ({"ok": False}, {}, "it does not say why"),
        ({"findings": ["clock: off"]}, {}, "did not pass: clock: off"),
        ({"ok": "yes"}, {}, "did not pass"),
    ],
)
def test_anything_else_forbids_it_and_says_why(changes, asked, text):
    assert text in refusal({**GOOD, **changes}, **asked)


HOSTILE = {
    "deep": "[" * 100_000,
    "deep and whole": "[" * 5_000 + "]" * 5_000,
    "deep finding": json.dumps(GOOD).replace("[]", "[" * 40 + "]" * 40),
    "stamp of 400 digits": json.dumps(GOOD).replace(str(NOW), "9" * 400),
    "stamp of 5000 digits": json.dumps(GOOD).replace(str(NOW), "9" * 5_000),
    "long": json.dumps({**GOOD, "more": "x" * 10**6}),
    "long text": json.dumps({**GOOD, "limits": "x" * 10**5}),
    "findings that are a text": json.dumps({**GOOD, "findings": ""}),
    "half a surrogate": '{"ok": true, "limits": "\\ud800"',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_report_is_refused_in_one_short_line(text):
    reason = refusal(text)
    assert "cannot be read" in reason and len(reason) < 400


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"ok": true}', "null"])
def test_a_report_that_cannot_be_read_forbids_it(text):
    assert "cannot be read" in refusal(text)


def test_without_a_report_the_cure_is_named_and_a_broken_one_replaces_a_good_one():
    gate = PreflightGate()
    assert "no preflight was made: run ptp doctor --real" in gate.refusal(NOW, "abc", "fake")
    gate.take(json.dumps(GOOD))
    gate.take("{")
    assert gate.refusal(NOW, "abc", "fake")
