# SPDX-License-Identifier: Apache-2.0
"""Fake back-end: an ideal arm in memory, with faults of a real one on request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ptp_core.config.loading import require
from ptp_core.errors import ConfigError
from ptp_robot.backends.backend import BackendError, Interface, JointReading
from ptp_robot.kinematics import ARM_JOINTS, REST_CONFIGURATION

__all__ = ["FAULTS", "FakeBackend", "FakeConfig"]

FAULTS = (
    "drop_link",  # no message arrives, none can be sent
    "freeze_joints",  # the robot is connected, but its joint positions stop arriving
    "nan_joints",  # joint positions are NaN
    "press_estop",  # motors off; after `mend`: released, but stopped until cleared
    "disable_motors",  # another program turned the motors off
    "refuse_enable",  # the robot ignores requests for motors on
    "slow_ack",  # motors come on 2 s after the request
)
SPEED = (1.74, 1.328, 1.957, 1.957, 3.485, 3.485, 4.545)  # rad/s, Sawyer's URDF


@dataclass(frozen=True, kw_only=True)
class FakeConfig:
    """Settings of the fake arm."""

    interface: Interface = "velocity"
    command_timeout: float = 0.2  # s without command until a velocity falls to 0 (Sawyer's own)
    slow_ack: float = 2.0  # s until the motors are on under the fault of that name
    speed_ratio: float = 0.3  # of the joints' top speed in position mode (Sawyer's own)
    wrench: bool = False  # measures forces: 0 until `push` sets another
    start: tuple[float, ...] = REST_CONFIGURATION  # rad, where the arm is found

    def __post_init__(self) -> None:
        require(self, "command_timeout", 0.01, 1.0)
        require(self, "slow_ack", 0.0)
        require(self, "speed_ratio", 0.01, 1.0)
        if len(self.start) != len(ARM_JOINTS):
            raise ConfigError(f"FakeConfig.start has {len(self.start)} joints, not 7")


class FakeBackend:
    """An ideal robot, limited only by its joint speeds; see `backend.Backend`.

    ``clock`` returns the time of a steady clock [s]; the arm moves with that time. A
    velocity is followed until the next command or the timeout. A position is followed without a
    timeout, as real arms do. `fault` and `mend` start and end faults.
    """

    name = "fake"
    joint_names = ARM_JOINTS

    def __init__(
        self,
        clock: Callable[[], float],
        interface: Interface | None = None,
        config: FakeConfig | None = None,
    ) -> None:
        self.config = config = config or FakeConfig()
        self.interface: Interface = interface or config.interface
        self._clock = clock
        self._speed = np.array(SPEED)
        if self.interface == "position":
            self._speed *= config.speed_ratio
        self._faults: set[str] = set()
        self._problems: Counter[str] = Counter()
        self._open = False
        self._time = clock()
        self._q = np.array(config.start, dtype=np.float64)
        self._dq = np.zeros_like(self._q)
        self._goal = self._q.copy()  # position mode
        self._velocity = np.zeros_like(self._q)  # velocity mode
        self._commanded = -np.inf  # when
        self._enabled = False
        self._enabling: float | None = None  # when the motors come on
        self._stopped = ""  # why the robot refuses until it is cleared
        self._gripper = -1.0
        self._wrench = np.zeros(6)
        self._last: JointReading | None = None

    # Called by the driver

    def connect(self) -> None:
        """Connect at once."""
        self._open = True

    def close(self) -> None:
        """Hold position, then disconnect."""
        self._advance()
        self._halt()
        self._open = False
        self._last = None

    def reading(self) -> JointReading | None:
        """The current state, or with frozen joints the last one before."""
        now = self._advance()
        if not self._linked:
            self._last = None
            return None
        if "nan_joints" in self._faults:
            self._problems["joint positions that are not finite"] += 1
        elif "freeze_joints" not in self._faults:
            self._last = JointReading(now, self._q.copy(), self._dq.copy(), self._enabled)
        if self._last is None:
            return None
        return replace(
            self._last,
            enabled=self._enabled,
            trouble=self._trouble(),
            gripper=self._gripper,
            wrench=self._wrench.copy() if self.config.wrench else None,
        )

    def problems(self) -> dict[str, int]:
        """Faults of joint positions so far."""
        return dict(self._problems)

    def enable(self) -> None:
        """Motors on, at once or later, unless stopped."""
        now = self._reach()
        if trouble := self._trouble():
            raise BackendError(trouble)
        if "refuse_enable" not in self._faults and not self._enabled:
            self._enabling = now + (self.config.slow_ack if "slow_ack" in self._faults else 0.0)
            self._advance()

    def disable(self) -> None:
        """Motors off."""
        self._reach()
        self._motors_off()

    def stop(self) -> None:
        """Motors off until cleared; with the link down, the arm stops by its timeout."""
        self._advance()
        if self._linked:
            self._motors_off()
            self._stopped = "stopped by software: clear the fault, then enable"

    def clear(self) -> None:
        """Clear the stop, unless the button is still pressed."""
        self._reach()
        if "press_estop" in self._faults:
            raise BackendError(self._trouble())
        self._stopped = ""

    def command(self, q: np.ndarray, dq: np.ndarray) -> None:
        """Follow dq, or go to q."""
        now = self._reach()
        q, dq = np.array(q, dtype=np.float64), np.array(dq, dtype=np.float64)
        if q.shape != self._q.shape or dq.shape != self._q.shape:
            raise BackendError(f"a command has (7,) numbers twice, not {q.shape} and {dq.shape}")
        if not (np.isfinite(q).all() and np.isfinite(dq).all()):
            raise BackendError("a command that is not finite is not sent")
        self._commanded = now
        if self._enabled:
            self._goal = q
            self._velocity = np.clip(dq, -self._speed, self._speed)

    def hold(self) -> None:
        """Hold position."""
        self._reach()
        self._halt()

    def grip(self, opening: float) -> None:
        """Open or close at once."""
        self._reach()
        if self._enabled:
            self._gripper = float(np.clip(opening, -1.0, 1.0))

    # Called by tests and users

    def fault(self, name: str) -> None:
        """Start one of FAULTS."""
        if name not in FAULTS:
            raise ValueError(f'no fault "{name}": use one of {", ".join(FAULTS)}')
        self._advance()
        self._faults.add(name)
        if name == "press_estop":
            self._motors_off()
            self._stopped = "the emergency stop was released: clear the fault, then enable"
        elif name == "disable_motors":
            self._motors_off()

    def mend(self, name: str) -> None:
        """End a fault; its effects may last until cleared and enabled."""
        self._advance()
        self._faults.discard(name)

    def place(self, q: np.ndarray) -> None:
        """Move the arm by hand to q (7,) [rad], all at once."""
        self._advance()
        self._q = np.array(q, dtype=np.float64)
        self._halt()

    def push(self, wrench: np.ndarray) -> None:
        """Let the tool measure this wrench (6,) [N, N m] from now on."""
        self._wrench = np.array(wrench, dtype=np.float64)

    def joints(self) -> np.ndarray:
        """True joints of the arm: (7,) rad, whatever the link reports."""
        self._advance()
        return self._q.copy()

    @property
    def _linked(self) -> bool:
        return self._open and "drop_link" not in self._faults

    def _reach(self) -> float:
        now = self._advance()
        if not self._linked:
            raise BackendError("the robot is not connected: check power, cable and address")
        return now

    def _trouble(self) -> str:
        if "press_estop" in self._faults:
            return "the emergency stop is pressed: release it, clear the fault, then enable"
        return self._stopped

    def _motors_off(self) -> None:
        self._enabled = False
        self._enabling = None
        self._halt()

    def _halt(self) -> None:
        self._goal = self._q.copy()
        self._velocity = np.zeros_like(self._q)
        self._dq = np.zeros_like(self._q)

    def _advance(self) -> float:
        """Move by the time that has passed; return the time now."""
        now = self._clock()
        passed = now - self._time
        if passed > 0.0:
            if self.interface == "velocity":
                left = self._commanded + self.config.command_timeout - self._time
                self._q = self._q + self._velocity * min(max(left, 0.0), passed)
                self._dq = self._velocity.copy() if left > passed else np.zeros_like(self._q)
            else:
                reach = self._speed * passed
                step = np.clip(self._goal - self._q, -reach, reach)
                self._q = self._q + step
                self._dq = step / passed
            self._time = now
        if self._enabling is not None and now >= self._enabling:
            self._enabled, self._enabling = True, None
            self._halt()
        return now
