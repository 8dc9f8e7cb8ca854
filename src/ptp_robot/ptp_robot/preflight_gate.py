# SPDX-License-Identifier: Apache-2.0
"""Preflight gate: the arm may be enabled only after a fresh, passed preflight of its limits."""

from __future__ import annotations

import math
from typing import Any

from ptp_core.data.file_limits import parse_json

__all__ = ["PREFLIGHT_AGE", "PreflightGate"]

PREFLIGHT_AGE = 600.0  # s that a preflight is valid: what it checked may change
AHEAD = 1.0  # s: clocks of two machines differ, and the preflight has found by how much
LONGEST = 256 * 1024  # characters of a report; ours have some thousand
LONGEST_TEXT = 4096  # characters of one text in it
RUN = "run ptp doctor --real"


class PreflightGate:
    """Keeps the newest report, as `ptp doctor --real` writes it (JSON).

    A report has ``ok``, ``stamp`` [s since 1970], ``limits`` (digest, as in DriverState),
    ``backend`` and ``findings``. A report that cannot be read replaces the one before: the arm
    stays disabled rather than enabled with an unreadable report.
    """

    def __init__(self) -> None:
        self._report: dict | None = None
        self._problem = "no preflight was made"

    def take(self, text: str) -> None:
        """A report came."""
        try:
            report = parse_json(text, LONGEST)
            if not isinstance(report["findings"], list):
                raise ValueError("findings are a list")
            findings = [_text(finding) for finding in report["findings"]]
            self._report = {
                "ok": report["ok"] is True and not findings,
                "stamp": float(report["stamp"]),
                "limits": _text(report["limits"]),
                "backend": _text(report["backend"]),
                "findings": findings,
            }
        # Any fault refuses the report: it must not end the driver.
        except Exception as error:
            self._report = None
            self._problem = f"the preflight's report cannot be read ({str(error)[:200]})"

    def refusal(self, now: float, limits: str, backend: str) -> str:
        """Why the arm must not be enabled now [s since 1970]; empty: it may."""
        report = self._report
        if report is None:
            return f"{self._problem}: {RUN}"
        age = now - report["stamp"]
        if not (math.isfinite(age) and -AHEAD <= age <= PREFLIGHT_AGE):
            return (
                f"the preflight is {age / 60.0:.0f} min old, at most {PREFLIGHT_AGE / 60.0:.0f} "
                f"count: {RUN} again"
            )
        if (report["limits"], report["backend"]) != (limits, backend):
            return (
                f"the preflight was of limits {report['limits']} of {report['backend']}, in force "
                f"are {limits} of {backend}: {RUN} again"
            )
        if not report["ok"]:
            first = report["findings"][0] if report["findings"] else "it does not say why"
            return f"the preflight did not pass: {first}"
        return ""


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise ValueError(f"{type(value).__name__} where a text belongs")
    return value
