# SPDX-License-Identifier: Apache-2.0
"""Console of a fake Sawyer: run it in real time, and type faults."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import numpy as np

from ptp_core.errors import InputError
from ptp_robot.fakes.fake_sawyer_robot import FAULTS, FakeIntera

__all__ = ["HELP", "serve"]

HELP = "\n".join(
    (
        "type a fault to bring it about, `mend FAULT` to end it:",
        *(f"  {name:<15} {what}" for name, what in FAULTS.items()),
        "`show` says how the robot is, `push X Y Z` lets its hand feel that force in N, `quit` "
        "ends it",
    )
)


def serve(robot: FakeIntera, lines: Iterable[str], say: Callable[[str], None]) -> None:
    """Run ``robot`` in real time while obeying ``lines``; return at `quit`.

    It does not stop at the end of the lines: without a terminal it runs until KeyboardInterrupt.
    Raises InputError: its port is taken.
    """
    host, port = robot.bridge.host, robot.bridge.port
    try:
        robot.start()
    except OSError as error:
        raise InputError(
            f"port {port} of {host} cannot be listened on ({error.strerror}): end what uses it, "
            "or name another with --port"
        ) from error
    ended = threading.Event()
    running = threading.Thread(target=robot.run, args=(ended,), daemon=True)
    running.start()
    try:
        say(f"a fake Sawyer at ws://{host}:{robot.bridge.port}\n{HELP}")
        for line in lines:
            words = line.split()
            if words[:1] == ["quit"]:
                return
            if words:
                say(_obey(robot, words))
        ended.wait()
    finally:
        ended.set()
        running.join()
        robot.stop()


def _obey(robot: FakeIntera, words: list[str]) -> str:
    match words:
        case ["show"]:
            q = np.round(robot.joints(), 3).tolist()
            motors = "on" if robot.enabled else "off"
            faults = ", ".join(robot.faults) or "none"
            return (
                f"motors {motors}, gripper {1e3 * robot.opening:.0f} mm open, joints {q}, "
                f"{robot.bridge.clients} connections, faults: {faults}"
            )
        case ["push", *numbers]:
            try:
                force = [float(number) for number in numbers]
            except ValueError:
                force = []
            if len(force) != 3 or not np.isfinite(force).all():
                return "push takes three numbers, in N: push 0 0 12"
            robot.push((*force, 0.0, 0.0, 0.0))
            return f"the hand feels {force} N"
        case ["mend", name] if name in FAULTS:
            robot.mend(name)
            return f"{name} is over"
        case [name] if name in FAULTS:
            robot.fault(name)
            return f"{name}: {FAULTS[name]}"
    return f"not understood: {' '.join(words)}\n{HELP}"
