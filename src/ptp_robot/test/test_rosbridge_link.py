# SPDX-License-Identifier: Apache-2.0
"""The link to rosbridge: nothing forbidden goes out, and nothing goes out late."""

import socket
import sys
import time

import numpy as np
import pytest

from ptp_robot.backends import sawyer_messages as topics
from ptp_robot.backends.backend import BackendError
from ptp_robot.backends.rosbridge_link import RosbridgeLink, _protocol
from ptp_robot.backends.sawyer import SawyerBackend, SawyerConfig
from ptp_robot.backends.sawyer_messages import SAWYER, AllowList, Forbidden
from ptp_robot.fakes.fake_rosbridge import FakeRosbridge
from ptp_robot.fakes.fake_sawyer_robot import OTHER_TOPICS
from ptp_robot.fakes.sawyer_rig import SawyerRig

PATIENCE = 5.0  # s
PERIOD = 0.01  # s


@pytest.fixture
def rig():
    with SawyerRig() as rig:
        yield rig


def drive(rig, periods, speed=0.1):
    """Move joint 3 evenly; the number of commands that were taken."""
    q = rig.backend.reading().q
    dq = np.zeros(7)
    dq[3] = speed
    for sent in range(periods):
        q = q + dq * PERIOD
        try:
            rig.backend.command(q, dq)
        except BackendError:
            return sent
        rig.advance(PERIOD)
    return periods


def enabled(rig):
    rig.backend.connect()
    rig.advance(0.1)
    rig.backend.enable()
    rig.advance(0.1)
    assert rig.backend.reading().enabled


def commands(rig):
    return [message for topic, message in rig.intera.bridge.received if topic == topics.COMMAND]


@pytest.mark.parametrize("topic", [*OTHER_TOPICS, "/robot/limb/right/suppress_anything_new"])
def test_what_turns_a_safety_function_off_can_neither_be_sent_nor_listed(rig, topic):
    rig.backend.connect()
    rig.settle()
    with pytest.raises(Forbidden, match="not in the allow-list"):
        rig.backend.link.publish(rig.backend.link.connection, topic, {})
    with pytest.raises(Forbidden, match="safety"):
        AllowList(heard={}, sent={topic: "std_msgs/Empty"})
    rig.settle()
    assert topic not in [name for name, _ in rig.intera.bridge.received]


def test_nothing_beside_the_list_goes_out_in_a_whole_session(rig):
    enabled(rig)
    drive(rig, 20)
    rig.backend.grip(1.0)
    rig.backend.hold()
    rig.fault("press_estop")
    rig.advance(0.1)
    rig.mend("press_estop")
    rig.advance(0.1)
    rig.backend.clear()
    rig.advance(0.2)
    rig.backend.stop()
    rig.advance(0.2)
    rig.backend.clear()
    rig.advance(0.2)
    rig.backend.enable()
    rig.advance(0.2)
    rig.backend.disable()
    rig.advance(0.2)
    sent = {topic for topic, _ in rig.intera.bridge.received}
    assert sent == set(SAWYER.sent)
    assert rig.backend.problems() == {}  # none that the strict server complained of


@pytest.mark.parametrize("operation", ["publish", "advertise", "subscribe", "call_service"])
def test_every_way_out_asks_the_list(operation):
    SAWYER.check("publish", topics.COMMAND)
    SAWYER.check("subscribe", topics.JOINTS)
    with pytest.raises(Forbidden):
        SAWYER.check(operation, "/robot/head/command_head_pan")
    with pytest.raises(Forbidden):
        SAWYER.check("unheard_of", topics.COMMAND)


def test_commands_of_an_outage_are_refused_and_none_is_delivered_after_it(rig):
    enabled(rig)
    drive(rig, 10)
    before = len(commands(rig))
    old = rig.backend.link.connection
    rig.fault("drop_link")
    for _ in range(20):
        with pytest.raises(BackendError, match="no link"):
            rig.backend.command(np.zeros(7), np.full(7, 0.1))
        with pytest.raises(BackendError, match="no link"):
            rig.backend.link.publish(old, topics.COMMAND, {})
        rig.advance(PERIOD)
    rig.backend.stop()  # nor is a stop kept for later
    rig.mend("drop_link")
    start = rig.joints()
    rig.advance(1.0)
    assert len(commands(rig)) == before
    assert topics.STOP not in [topic for topic, _ in rig.intera.bridge.received]
    np.testing.assert_array_equal(rig.joints(), start)


def test_roslibpys_own_topics_do_deliver_them():
    """The hazard is real, and the fake shows it: else the test above could not fail."""
    import roslibpy

    with SawyerRig() as rig:
        bridge = rig.intera.bridge
        roslibpy.comm.select_factory("asyncio").set_initial_delay(0.02)
        ros = roslibpy.Ros("127.0.0.1", bridge.port, transport="asyncio")
        ros.run(PATIENCE)
        stop = roslibpy.Topic(ros, topics.STOP, SAWYER.sent[topics.STOP])
        bridge.drop()
        until(lambda: not ros.is_connected)
        for _ in range(20):
            stop.publish({})  # raises nothing
        bridge.restore()
        until(lambda: len(bridge.received) == 20)
        ros.close()


def test_a_message_bound_to_an_old_connection_never_goes_over_a_new_one(rig):
    enabled(rig)
    old = rig.backend.link.connection
    rig.fault("drop_link")
    rig.mend("drop_link")
    assert rig.backend.link.connection == old + 1
    before = len(commands(rig))
    with pytest.raises(BackendError, match="no link"):
        rig.backend.link.publish(old, topics.COMMAND, {})
    rig.settle()
    assert len(commands(rig)) == before


def test_after_a_reconnection_nothing_moves_until_it_is_enabled_again(rig):
    enabled(rig)
    drive(rig, 10)
    rig.fault("drop_link")
    rig.advance(0.3)
    rig.mend("drop_link")
    rig.advance(0.2)
    assert rig.intera.enabled, "the robot itself never noticed"
    assert not rig.backend.reading().enabled
    start = rig.joints()
    assert drive(rig, 5) == 0
    for refused in (lambda: rig.backend.grip(1.0), lambda: rig.backend.command(start, start)):
        with pytest.raises(BackendError, match="enable the arm first"):
            refused()
    rig.backend.hold()
    rig.advance(0.5)
    np.testing.assert_array_equal(rig.joints(), start)
    rig.backend.enable()
    rig.advance(0.1)
    assert drive(rig, 5) == 5


def test_every_connection_begins_with_the_robots_own_watchdog(rig):
    rig.intera.arm.timeout = 1.0
    enabled(rig)
    assert rig.intera.arm.timeout == rig.backend.config.command_timeout == 0.2
    rig.fault("drop_link")
    rig.intera.arm.timeout = 1.0  # the robot has restarted meanwhile
    rig.mend("drop_link")
    rig.advance(0.1)
    assert rig.intera.arm.timeout == 0.2


def test_a_server_that_hangs_gets_a_few_commands_and_then_loses_the_connection(rig):
    enabled(rig)
    drive(rig, 10)
    before, start = len(commands(rig)), rig.joints()
    rig.fault("stall_link")
    config = rig.backend.config
    sent = drive(rig, 200)
    assert 0 < sent <= config.silence / PERIOD + 1
    with pytest.raises(BackendError, match="no joint states"):
        rig.backend.command(start, start * 0)
    assert rig.backend.link.wait(False, PATIENCE), "the hanging server kept its connection"
    assert rig.backend.reading() is None
    rig.mend("stall_link")
    rig.advance(1.0)
    assert len(commands(rig)) - before <= sent
    # The last command before and the last in the server's hands end by the robot's own watchdog.
    assert np.abs(rig.joints() - start).max() <= 2 * 0.1 * config.command_timeout + 0.1 * PERIOD
    assert not rig.backend.reading().enabled


def test_it_is_tried_again_at_most_every_so_often_however_long_nobody_answers():
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(PATIENCE)
        config = SawyerConfig(
            host="127.0.0.1",
            port=door.getsockname()[1],
            reconnect_first=0.01,
            reconnect_longest=0.05,
        )
        backend = SawyerBackend(config)
        backend.connect()
        start = time.monotonic()
        for _ in range(12):  # roslibpy's own waits would add up to 20 minutes
            door.accept()[0].close()
        assert time.monotonic() - start < PATIENCE
        backend.close()
    assert SawyerConfig().reconnect_longest == 2.0


def test_who_is_closed_tries_no_more(rig):
    enabled(rig)
    rig.fault("drop_link")
    rig.backend.close()
    rig.intera.bridge.restore()
    rig.advance(0.5)
    assert not rig.backend.link.trying
    assert rig.backend.link.connection is None
    with pytest.raises(BackendError, match="no link"):
        rig.backend.round_trip()


def test_closing_sends_what_was_published_and_can_be_followed_by_connecting(rig):
    enabled(rig)
    drive(rig, 5)
    rig.backend.close()
    until(lambda: rig.intera.bridge.clients == 0)
    assert commands(rig)[-1]["velocity"] == [0.0] * 7
    rig.backend.connect()
    rig.advance(0.1)
    assert not rig.backend.reading().enabled


def test_what_the_server_complains_of_is_a_problem():
    bridge = FakeRosbridge({}, {}, lambda topic, message: None)  # built without intera_core_msgs
    bridge.start()
    backend = SawyerBackend(SawyerConfig(host="127.0.0.1", port=bridge.port))
    try:
        backend.connect()
        assert backend.link.wait(True, PATIENCE)
        until(lambda: len(backend.problems()) == len(SAWYER.heard) + len(SAWYER.sent) + 2)
        assert any("rosbridge says: subscribe /robot/state" in text for text in backend.problems())
        with pytest.raises(BackendError, match="start rosapi"):
            backend.round_trip()
        with pytest.raises(BackendError, match="has not said yet"):
            backend.enable()
    finally:
        backend.close()
        bridge.stop()


def test_silence_is_named_once_an_outage():
    now = [0.0]
    config = SawyerConfig(host="127.0.0.1", port=9)
    backend = SawyerBackend(config, lambda: now[0])
    for _ in range(1000):
        now[0] += 0.01
        assert backend.reading() is None
    ((text, count),) = backend.problems().items()
    assert "no rosbridge at ws://127.0.0.1:9" in text and count == 1


def test_without_roslibpy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "roslibpy.comm", None)
    with pytest.raises(BackendError, match="pip install roslibpy"):
        SawyerBackend(SawyerConfig()).connect()


def test_a_round_trip_is_measured_and_fails_in_time(rig):
    rig.backend.connect()
    rig.settle()
    trip = rig.backend.link.round_trip(time.monotonic)
    assert 0.0 < trip.seconds < 1.0
    assert abs(trip.time - time.time()) < 60.0
    rig.intera.bridge.stall()
    with pytest.raises(BackendError, match=r"did not answer within 0\.05 s"):
        rig.backend.link.round_trip(time.monotonic, 0.05)
    rig.intera.bridge.resume()


def test_a_list_that_latches_what_it_does_not_send_is_refused():
    with pytest.raises(Forbidden, match="latched, but not sent"):
        AllowList(heard={}, sent={}, latched=frozenset({topics.STOP}))
    link = RosbridgeLink("h", 1, SAWYER, lambda *_: None, lambda _: None)
    assert link.connection is None and not link.trying
    with pytest.raises(BackendError, match="ws://h:1"):
        link.publish(1, topics.STOP, {})


def until(condition):
    """Wait for what another thread does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, b"101"),
        ("http://localhost:9090", b"101"),
        ("http://127.0.0.1", b"101"),
        ("http://evil.example", b"403"),
        ("http://127.0.0.1.evil.example", b"403"),
        ("null", b"400"),  # a page in a sandbox, or a file
    ],
)
def test_pages_of_other_machines_cannot_connect_to_the_fake_robot(origin, status):
    bridge = FakeRosbridge({}, {}, lambda topic, message: None)
    bridge.start()
    try:
        with socket.create_connection(("127.0.0.1", bridge.port), PATIENCE) as page:
            line = "" if origin is None else f"Origin: {origin}\r\n"
            page.sendall(f"{HANDSHAKE}{line}\r\n".encode())
            assert page.recv(100).split()[1] == status
    finally:
        bridge.stop()


@pytest.mark.parametrize(
    "payload", [b"[" * 10**5, b"{", b"[]", b"\xff\x80", b'{"op": ' + b"9" * 400]
)
def test_a_message_that_cannot_be_read_is_a_complaint(payload):
    heard = []
    protocol = _protocol(object, lambda protocol, message: heard.append(message))()
    protocol.on_message(payload)
    (complaint,) = heard
    assert complaint["op"] == "status" and "cannot be read" in complaint["msg"]
    assert len(complaint["msg"]) < 300
