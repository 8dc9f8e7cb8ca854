# SPDX-License-Identifier: Apache-2.0
"""A Sawyer through rosbridge: enabling, emergency stop, joint commands, gripper.

The driver's thread sends, the link's thread receives. Requests are repeated
from `SawyerBackend.reading`, which the driver calls at its rate.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ptp_description import sawyer_urdf_path
from ptp_robot.backends.backend import BackendError, Interface, JointReading, NoGripper
from ptp_robot.backends.rosbridge_link import RosbridgeLink, RoundTrip
from ptp_robot.backends.sawyer_messages import (
    COMMAND,
    COMMAND_TIMEOUT,
    POSITION_MODE,
    SAWYER,
    SPEED_RATIO,
    STATE,
    STOP,
    VELOCITY_MODE,
    BadMessage,
    JointLimits,
    joint_command,
)
from ptp_robot.backends.sawyer_state import (
    REQUESTS,
    Gripper,
    Handshakes,
    Problems,
    SawyerConfig,
    SawyerState,
    bounded_target,
    bounded_velocity,
)
from ptp_robot.kinematics import ARM_JOINTS, SawyerKinematics

__all__ = ["SawyerBackend", "SawyerConfig"]

WRENCH_PATIENCE = 0.25  # s until a wrench is too old


class SawyerBackend:
    """See `backend.Backend`. Commands need an `enable` on the same connection."""

    name = "sawyer"
    joint_names = ARM_JOINTS

    def __init__(
        self,
        config: SawyerConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``clock``: steady [s]; ``wall``: seconds since the epoch, for the robot's stamps."""
        self.config = config = config or SawyerConfig()
        self.interface: Interface = config.interface
        self._clock, self._wall = clock, wall
        self._lock = threading.RLock()
        arm = SawyerKinematics.from_urdf(sawyer_urdf_path())
        self._urdf = JointLimits(arm.lower, arm.upper, arm.velocity)
        self._handshakes = Handshakes(config.repeat)
        self._problems = Problems()
        self._heard = self._nothing(0)
        self._armed: int | None = None  # the connection on which `enable` was asked for
        self._failure = ""  # of the last request
        self._moved: int | None = None  # the connection on which a command was sent
        self._sent: np.ndarray | None = None  # last target, position mode
        self._holding = False
        self._calibrated = 0  # the connection on which the gripper was told to calibrate
        self.link = RosbridgeLink(
            config.host,
            config.port,
            SAWYER,
            self._hear,
            self._complain,
            greeting=(
                (COMMAND_TIMEOUT, {"data": config.command_timeout}),
                (SPEED_RATIO, {"data": config.speed_ratio}),
            ),
            reconnect=(config.reconnect_first, config.reconnect_longest),
        )

    @property
    def limits(self) -> JointLimits:
        """The narrower of the URDF's and the robot's own limits, once it has sent them."""
        with self._lock:
            own = self._heard.limits
            return self._urdf if own is None else self._urdf.narrowed(own)

    def connect(self) -> None:
        """Begin to connect, and keep trying."""
        self.link.open()

    def close(self) -> None:
        """Hold position and close the link."""
        with self._lock:
            with contextlib.suppress(BackendError):
                self.hold()
            self._forget()
        self.link.close()

    def round_trip(self) -> RoundTrip:
        """Round-trip time to rosbridge. Blocks: for checks before the arm moves."""
        return self.link.round_trip(self._clock)

    def problems(self) -> dict[str, int]:
        """Faults of messages so far."""
        with self._lock:
            return self._problems.so_far()

    def reading(self) -> JointReading | None:
        """The newest reading; also sends due requests."""
        with self._lock:
            now, heard = self._clock(), self._heard
            connection = self.link.connection
            if connection != heard.connection:
                self._forget()
            if connection is None:
                self._problems.miss(f"no rosbridge at {self.link.address}: check cable", now)
                return None
            self._pump(now)
            if connection != heard.connection or not heard.whole:
                self._problems.miss("rosbridge is there, the robot is not: check its power", now)
                return None
            self._problems.found()
            return JointReading(
                heard.joints_at,
                heard.q.copy(),
                heard.dq.copy(),
                self._armed == heard.connection and heard.state.enabled and self._fresh(now),
                self._trouble(now) or self._failure,
                heard.gripper.opening() if self.config.gripper != "none" else None,
                heard.wrench(now, WRENCH_PATIENCE),
            )

    def enable(self) -> None:
        """Request motors on, and allow commands on this connection."""
        with self._lock:
            now, heard = self._reach()
            if self._handshakes.pending("stop") or self._handshakes.pending("reset"):
                raise BackendError("the robot has not answered the last stop or reset yet: wait")
            if trouble := self._trouble(now):
                raise BackendError(trouble)
            if heard.limits is None:
                self._problems.count("joint limits were not heard: the URDF's alone hold")
            self._failure = ""
            self._armed = heard.connection
            self._sent, self._holding = None, False
            self._handshakes.drop("disable")
            self._ask("enable", lambda: heard.state.enabled, now)

    def disable(self) -> None:
        """Request motors off."""
        with self._lock:
            now, heard = self._reach()
            self._disarm()
            self._failure = ""
            self._ask("disable", lambda: not heard.state.enabled, now)

    def stop(self) -> None:
        """Stop the robot as its emergency stop does. It needs `clear` and `enable` afterwards."""
        with self._lock:
            now, heard, connection = self._clock(), self._heard, self.link.connection
            with contextlib.suppress(BackendError):  # the link is down; the stop is still latched
                self._still()
            self._disarm()
            if connection == heard.connection:
                self._ask("stop", lambda: heard.stopped, now)
            elif connection is not None:  # a new connection without messages yet
                with contextlib.suppress(BackendError):
                    self.link.publish(connection, STOP, {})

    def clear(self) -> None:
        """Ask the robot to clear its errors; its motors stay off."""
        with self._lock:
            now, heard = self._reach()
            if heard.state.pressed:
                raise BackendError(heard.state.trouble())
            self._failure = ""
            self._disarm()
            self._handshakes.drop("stop")
            if not heard.state.healthy:
                self._ask("reset", lambda: heard.state.healthy, now)

    def command(self, q: np.ndarray, dq: np.ndarray) -> None:
        """Command q and dq. BackendError: the robot would not follow now; nothing is sent."""
        with self._lock:
            q, dq = (np.array(value, dtype=np.float64) for value in (q, dq))
            if q.shape != self._urdf.lower.shape or dq.shape != q.shape:
                raise BackendError(f"a command is (7,) and (7,), not {q.shape} and {dq.shape}")
            if not (np.isfinite(q).all() and np.isfinite(dq).all()):
                raise BackendError("a command that is not finite was not sent")
            now, heard = self._reach()
            if trouble := self._trouble(now):
                raise BackendError(trouble)
            if self._armed != heard.connection or not heard.state.enabled:
                raise BackendError("the motors are off, or the link is new: enable the arm first")
            silent = now - heard.joints_at
            if silent > self.config.silence:
                raise BackendError(
                    f"no joint states for {silent:.2f} s: a command might arrive late, so that "
                    "none is sent; check robot and network"
                )
            self._holding = False
            here, limits = heard.q, self.limits
            if self.interface == "velocity":
                self._send(VELOCITY_MODE, bounded_velocity(dq, here, limits, self.config))
                return
            last = here if self._sent is None else self._sent
            self._sent, short = bounded_target(q, last, here, limits, self.config)
            if short:
                self._problems.count("position commands cut to a step, the leash or a limit")
            self._send(POSITION_MODE, self._sent)

    def hold(self) -> None:
        """Hold position."""
        with self._lock:
            now, heard = self._reach()
            if self._moved != heard.connection or not heard.state.enabled:
                return  # no command of ours can be moving it
            if self.interface == "velocity":
                self._still()
            elif self._holding or now - heard.joints_at <= self.config.silence:
                if not self._holding:
                    self._sent, self._holding = heard.q.copy(), True
                self._send(POSITION_MODE, self._sent)

    def grip(self, opening: float) -> None:
        """Move the gripper: -1 open .. +1 closed."""
        with self._lock:
            now, heard = self._reach()
            if self.config.gripper == "none":
                raise NoGripper('this robot has no gripper (`gripper: "none"`)')
            if self._armed != heard.connection:
                raise BackendError("the link is new or the arm is off: enable the arm first")
            heard.gripper.grip(opening, now, self._wall())
            self._pump(now)

    # Inside

    def _still(self) -> None:
        if self.interface == "velocity" and self._moved == self._heard.connection:
            self._send(VELOCITY_MODE, np.zeros(len(ARM_JOINTS)))

    def _send(self, mode: int, values: np.ndarray) -> None:
        message = joint_command(mode, ARM_JOINTS, values, self._wall())
        self._moved = self._heard.connection
        self.link.publish(self._heard.connection, COMMAND, message)

    def _reach(self) -> tuple[float, SawyerState]:
        """The time, and the state of the current connection. BackendError without one."""
        heard, connection = self._heard, self.link.connection
        if connection is None:
            raise BackendError(
                f"no link to rosbridge at {self.link.address}: check cable, address and server"
            )
        if heard.connection != connection or not heard.whole:
            raise BackendError("the robot has not said yet how it is: wait, or see that it is on")
        return self._clock(), heard

    def _trouble(self, now: float) -> str:
        if not self._fresh(now):
            return (
                f"the robot's state is {now - self._heard.state_at:.1f} s old: check robot and "
                f"network, and that rosbridge serves {STATE}"
            )
        return self._heard.trouble()

    def _fresh(self, now: float) -> bool:
        return now - self._heard.state_at <= self.config.state_silence

    def _ask(self, name: str, done: Callable[[], bool], now: float) -> None:
        topic, message, failure = REQUESTS[name]
        patience = self.config.patience
        self._handshakes.ask(name, topic, message, done, now, patience, failure.format(patience))
        self._pump(now)

    def _pump(self, now: float) -> None:
        heard = self._heard
        if self.config.calibrate_gripper and self._calibrated != heard.connection:
            on = heard.state is not None and heard.state.enabled
            if on and self._armed == heard.connection and not heard.gripper.calibrated:
                self._calibrated = heard.connection
                heard.gripper.calibrate(now, self._wall())
        send, failed = self._handshakes.due(now)
        for name, failure in failed.items():
            if name == "gripper":
                self._problems.count(failure)
            else:
                self._failure = failure
            if name == "enable":
                self._armed = None
        for topic, message in send:
            with contextlib.suppress(BackendError):  # the link is lost: `reading` sees to it
                self.link.publish(heard.connection, topic, message)

    def _disarm(self) -> None:
        self._armed = None
        self._handshakes.drop("enable")

    def _forget(self) -> None:
        """Drop all requests of a closed connection."""
        self._armed = None
        self._failure = ""
        self._handshakes.drop()

    def _nothing(self, connection: int) -> SawyerState:
        config = self.config
        gripper = Gripper(self._handshakes, config.gripper_patience, config.gripper_stroke)
        return SawyerState(connection, ARM_JOINTS, gripper)

    # In the thread of the link

    def _complain(self, text: str) -> None:
        with self._lock:
            self._problems.count(text)

    def _hear(self, connection: int, topic: str, message: Mapping[str, Any]) -> None:
        with self._lock:
            if connection != self._heard.connection:
                self._forget()
                self._heard = self._nothing(connection)
            heard = self._heard
            was = heard.state
            try:
                heard.take(topic, message, self._clock())
            except BadMessage as error:
                self._problems.count(str(error))
                return
            # Motors that went off, or trouble, cancel earlier requests: afterwards the robot
            # stays disabled until a person enables it again.
            off = was is not None and was.enabled and not heard.state.enabled
            if off or heard.trouble():
                self._disarm()
