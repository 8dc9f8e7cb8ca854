# SPDX-License-Identifier: Apache-2.0
"""Messages between host and guest: what goes in comes out, and what is no message is refused."""

import contextlib
import json
import os
import threading
import time

import numpy as np
import pytest

from ptp_core.guests import pipe as pipe_module
from ptp_core.guests.pipe import MessagePipe, PipeClosed, PipeError, PipeTimeout


@pytest.fixture
def ends():
    """A pipe for each direction: (host, guest, file descriptor of the guest's sink)."""
    (read_a, write_a), (read_b, write_b) = os.pipe(), os.pipe()
    yield MessagePipe(read_b, write_a), MessagePipe(read_a, write_b), write_b
    for end in (read_a, write_a, read_b, write_b):
        with contextlib.suppress(OSError):
            os.close(end)


def soon(seconds=5.0):
    return time.monotonic() + seconds


def frame(text, arrays=b"", magic=b"PTPG", announced=None):
    size = len(arrays) if announced is None else announced
    return pipe_module._HEAD.pack(magic, len(text), size) + text + arrays


def test_a_message_arrives_as_it_was_sent(ends):
    host, guest, _ = ends
    rng = np.random.default_rng(0)
    sent = {
        "image": rng.integers(0, 256, (64, 64, 3), np.uint8),
        "turned": np.arange(6.0).reshape(2, 3).T,
        "big_endian": np.arange(3, dtype=">i4"),
        "nothing": np.zeros((0, 3), np.float32),
        "scalar": np.float32(0.5),
        "zero_d": np.array(7),
        "flag": np.bool_(True),
        "said": ["ü", None, True, 1, 1.5, {"deep": (1, 2)}],
    }
    guest.send(sent)
    found = host.receive(soon())
    for name in ("image", "turned", "big_endian", "nothing", "zero_d"):
        assert found[name].shape == sent[name].shape
        assert found[name].dtype == sent[name].dtype.newbyteorder("<")
        np.testing.assert_array_equal(found[name], sent[name])
    assert (found["scalar"], found["flag"]) == (0.5, True)
    assert found["said"] == ["ü", None, True, 1, 1.5, {"deep": [1, 2]}]
    found["image"][:] = 0  # may be written to


def test_a_message_larger_than_the_pipe_arrives_while_the_other_side_reads(ends):
    host, guest, _ = ends
    image = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    sender = threading.Thread(target=guest.send, args=({"image": image}, soon()))
    sender.start()
    np.testing.assert_array_equal(host.receive(soon())["image"], image)
    sender.join()


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (np.array(["a"]), 'message["a"][0] is an array of <U1'),
        (object(), 'message["a"][0] is a object'),
        ({1: 2}, 'message["a"][0] has the key 1'),
        ({"#": 2}, "has the key '#'"),
    ],
)
def test_what_cannot_be_sent_is_named_and_nothing_is_sent(ends, value, names):
    host, guest, _ = ends
    with pytest.raises(TypeError) as raised:
        guest.send({"a": [value]})
    assert names in str(raised.value)
    guest.send({"b": 1})
    assert host.receive(soon()) == {"b": 1}


def test_a_message_that_is_too_large_is_not_sent(ends, monkeypatch):
    monkeypatch.setattr(pipe_module, "MOST_ARRAYS", 100)
    with pytest.raises(TypeError, match="101 of arrays, at most"):
        ends[1].send({"a": np.zeros(101, np.uint8)})


def described(*arrays):
    return json.dumps({"message": {"a": {"#": 0}}, "arrays": list(arrays)}).encode()


@pytest.mark.parametrize(
    ("sent", "names"),
    [
        (b"Traceback (most recent call last)", "begin with b'PTPG' but with b'Trac'"),
        (frame(b"", announced=2**60), "announces 0 bytes of text and 1152921504606846976"),
        (frame(b"{"), "damaged"),
        (frame(b"[" * 100_000), "damaged"),
        (frame(b"[1]"), "damaged"),
        (frame(b'{"message": 3, "arrays": []}'), "no dict"),
        (frame(described({"dtype": "|O", "shape": [1]}), b"01234567"), "an array of object"),
        (frame(described({"dtype": "|u1", "shape": [-1]}), b"0"), "an array of uint8"),
        (frame(described({"dtype": "|u1", "shape": [9]}), b"0"), "longer than the data"),
        (frame(described({"dtype": "|u1", "shape": [1]}), b"01"), "belong to no array"),
        (frame(described(), b""), "damaged"),
    ],
)
def test_what_is_no_message_is_refused(ends, sent, names):
    host, _, sink = ends
    threading.Thread(target=_write_all, args=(sink, sent), daemon=True).start()
    with pytest.raises(PipeError, match=names):
        host.receive(soon())


def _write_all(sink, data):
    os.set_blocking(sink, True)
    while data:
        data = data[os.write(sink, data) :]


def test_a_side_that_says_nothing_times_out(ends):
    host, guest, _ = ends
    began = time.monotonic()
    with pytest.raises(PipeTimeout):
        host.receive(began + 0.05)
    assert time.monotonic() - began >= 0.05
    with pytest.raises(PipeTimeout):  # and one that does not read
        guest.send({"a": np.zeros(2**20, np.uint8)}, soon(0.05))


def test_a_side_that_is_gone_is_noticed(ends):
    host, _, sink = ends
    os.write(sink, frame(described())[:10])
    os.close(sink)
    with pytest.raises(PipeClosed):
        host.receive(soon())
