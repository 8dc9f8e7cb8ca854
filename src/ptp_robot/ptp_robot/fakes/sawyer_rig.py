# SPDX-License-Identifier: Apache-2.0
"""A fake Sawyer and the back-end that drives it, over a real socket, with time driven by hand."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from ptp_robot.backends.backend import BackendError
from ptp_robot.backends.sawyer import SawyerBackend, SawyerConfig
from ptp_robot.fakes.fake_sawyer_robot import PERIOD, FakeIntera

__all__ = ["SawyerRig"]

PATIENCE = 5.0  # s of real time for a connection to come or go


class SawyerRig:
    """The rig of `ptp_robot.backend_contract`. A time step ends when all messages have arrived."""

    def __init__(self, robot: dict[str, Any] | None = None, **config: Any) -> None:
        """``robot``: arguments of FakeIntera; ``config``: of SawyerConfig."""
        self.intera = FakeIntera(**(robot or {}))
        self.intera.start()
        self._time = 100.0
        self._faults: set[str] = set()
        near = {"host": "127.0.0.1", "reconnect_first": 0.02, "reconnect_longest": 0.05}
        settings = SawyerConfig(port=self.intera.bridge.port, **{**near, **config})
        self.backend = SawyerBackend(settings, self.now, lambda: 1e9 + self._time)

    def __enter__(self) -> SawyerRig:
        return self

    def __exit__(self, *_: object) -> None:
        self.backend.close()
        self.intera.stop()

    def now(self) -> float:
        """Time of the back-end [s]."""
        return self._time

    def joints(self) -> np.ndarray:
        """Joints of the fake arm: (7,) rad."""
        self.settle()
        return self.intera.joints()

    def fault(self, name: str) -> None:
        """Start one of `ptp_robot.fakes.fake_sawyer_robot.FAULTS`."""
        self.intera.fault(name)
        self._faults.add(name)
        self.settle()

    def mend(self, name: str) -> None:
        """End a fault."""
        self.intera.mend(name)
        self._faults.discard(name)
        self.settle()

    def advance(self, seconds: float) -> None:
        """Let time pass; the back-end is read at the driver's rate."""
        self.settle()  # earlier commands take effect
        for _ in range(max(round(seconds / PERIOD), 1)):
            self._time += PERIOD
            self.intera.advance(PERIOD)
            self.settle()
            self.backend.reading()

    def settle(self) -> None:
        """Wait until sent messages have arrived, both ways, or the link is down."""
        link = self.backend.link
        if not link.trying or "stall_link" in self._faults:
            return
        up = "drop_link" not in self._faults
        assert link.wait(up, PATIENCE), f"the link did not {'come' if up else 'go'}"
        if up:
            with contextlib.suppress(BackendError):  # gone again meanwhile
                self.backend.round_trip()
