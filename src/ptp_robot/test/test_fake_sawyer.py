# SPDX-License-Identifier: Apache-2.0
"""The Sawyer that is not there, as a user runs it."""

import socket
import threading
import time

import numpy as np
import pytest

from ptp_core.errors import InputError
from ptp_robot.backends.sawyer import SawyerBackend, SawyerConfig
from ptp_robot.fakes.fake_sawyer_console import serve
from ptp_robot.fakes.fake_sawyer_robot import FAULTS, FakeIntera, endpoint_state

PATIENCE = 10.0  # s


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_it_runs_in_real_time_and_moves_as_a_driver_tells_it():
    robot = FakeIntera()
    robot.start()
    ended = threading.Event()
    running = threading.Thread(target=robot.run, args=(ended,))
    running.start()
    backend = SawyerBackend(SawyerConfig(host="127.0.0.1", port=robot.bridge.port))
    try:
        backend.connect()
        until(lambda: backend.reading() is not None)
        backend.enable()
        until(lambda: backend.reading().enabled)
        start = backend.reading().q
        dq = np.zeros(7)
        dq[6] = 0.5

        def moved():
            here = backend.reading().q
            backend.command(here, dq)
            return here[6] - start[6] > 0.1

        until(moved)
        backend.hold()
        until(lambda: not backend.reading().dq.any())
    finally:
        backend.close()
        ended.set()
        running.join()
        robot.stop()
        robot.stop()  # twice is once


def test_faults_are_typed_and_answered():
    robot, said = FakeIntera(), []
    lines = ["", "press_estop", "show", "push 0 0 12", "push up", "mend press_estop", "show"]
    serve(robot, [*lines, "trip", "mend trip", "quit", "show"], said.append)
    assert "a fake Sawyer at ws://127.0.0.1:" in said[0]
    assert all(name in said[0] for name in FAULTS)
    assert said[1].startswith("press_estop: the emergency stop is pressed")
    assert "motors off" in said[2] and "faults: press_estop" in said[2]
    assert said[3:6] == [
        "the hand feels [0.0, 0.0, 12.0] N",
        "push takes three numbers, in N: push 0 0 12",
        "press_estop is over",
    ]
    assert "faults: none" in said[6]
    assert all(text.startswith("not understood: ") for text in said[7:9])
    assert len(said) == 9


def test_every_fault_can_come_and_go():
    robot = FakeIntera()
    robot.start()
    for name in FAULTS:
        robot.fault(name)
        robot.advance(0.05)
        robot.mend(name)
    assert robot.faults == []
    for change in (robot.fault, robot.mend):
        with pytest.raises(ValueError, match="press_estop"):
            change("trip")
    robot.stop()


def test_a_port_that_is_taken_is_named_with_the_cure():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 .* --port"):
            serve(FakeIntera(port=port), [], lambda text: None)


def test_its_hand_says_where_it_points():
    """Quaternions of half turns about each axis, and of none."""
    for axis, xyzw in (("x", 0), ("y", 1), ("z", 2), (None, 3)):
        rotation = np.diag([1.0 if axis in (name, None) else -1.0 for name in "xyz"])
        pose = endpoint_state({}, np.zeros(3), rotation, np.zeros(6))["pose"]
        numbers = np.abs(list(pose["orientation"].values()))
        np.testing.assert_allclose(numbers, np.eye(4)[xyzw], atol=1e-12)
    angle = 0.3
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    q = endpoint_state({}, np.zeros(3), turn, np.zeros(6))["pose"]["orientation"]
    assert q["z"] / q["w"] == pytest.approx(np.tan(angle / 2))
