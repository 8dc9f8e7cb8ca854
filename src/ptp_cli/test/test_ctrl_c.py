# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C is not mistaken for an error of the library that it hit."""

import signal
import threading

import pytest

from ptp_cli.ctrl_c import ctrl_c_kept


def extension():
    """Does what extensions do: reports what was raised inside as an error of its own."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("could not determine the shape") from None


def heeded():
    """Fails of itself, after Ctrl-C was heard."""
    signal.raise_signal(signal.SIGINT)
    raise ValueError("could not go on")


def test_an_error_after_ctrl_c_is_ctrl_c():
    with pytest.raises(KeyboardInterrupt) as caught, ctrl_c_kept():
        extension()
    assert str(caught.value.__cause__) == "could not determine the shape"
    with pytest.raises(KeyboardInterrupt), ctrl_c_kept(), ctrl_c_kept():
        extension()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_error_stays_what_it_is():
    with pytest.raises(ValueError, match="odd"), ctrl_c_kept():
        raise ValueError("odd")
    with pytest.raises(KeyboardInterrupt), ctrl_c_kept():
        signal.raise_signal(signal.SIGINT)


def test_whoever_handles_ctrl_c_goes_on_doing_so():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append("Ctrl-C"))
    try:
        with pytest.raises(ValueError, match="could not"), ctrl_c_kept():
            heeded()
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == ["Ctrl-C"]


def test_other_threads_may_use_it():
    done = []

    def work():
        with ctrl_c_kept():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
