# SPDX-License-Identifier: Apache-2.0
"""Whether the last preflight allows to enable the arm: fresh, of these limits, passed."""

from __future__ import annotations

import json
import math

__all__ = ["PREFLIGHT_AGE", "PreflightGate"]

PREFLIGHT_AGE = 600.0  # s that a preflight counts: what it looked at changes
AHEAD = 1.0  # s: clocks of two machines differ, and the preflight has found by how much
RUN = "run ptp doctor --real"


class PreflightGate:
    """Keeps the newest report, as `ptp doctor --real` writes it (JSON).

    A report has ``ok``, ``stamp`` [s since 1970], ``limits`` (digest, as in DriverState),
    ``backend`` and ``findings``. A report that cannot be read replaces the one before: the arm
    stays disabled rather than enabled on what nobody understands.
    """

    def __init__(self) -> None:
        self._report: dict | None = None
        self._problem = "no preflight was made"

    def take(self, text: str) -> None:
        """A report came."""
        try:
            report = json.loads(text)
            findings = [str(finding) for finding in report["findings"]]
            self._report = {
                "ok": report["ok"] is True and not findings,
                "stamp": float(report["stamp"]),
                "limits": str(report["limits"]),
                "backend": str(report["backend"]),
                "findings": findings,
            }
        except (ValueError, KeyError, TypeError) as error:
            self._report = None
            self._problem = f"the preflight's report cannot be read ({error})"

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
