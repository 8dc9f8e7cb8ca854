# SPDX-License-Identifier: Apache-2.0
"""The host's side: an environment that runs in a process with a Python of its own."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import ptp_core
from ptp_core.errors import GuestError, InputError
from ptp_core.guests.guest import Guest
from ptp_core.guests.guest_worker import DECLARED, START
from ptp_core.guests.pipe import (
    VERSION,
    MessagePipe,
    PipeClosed,
    PipeError,
    PipeTimeout,
)

LAST_LINES = 20  # of a guest's standard error that are kept
END_SECONDS = 5.0  # that a guest has to end, before it is killed
HOST_ONLY = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV")


class GuestEnv(gymnasium.Env):
    """A guest's environment: the same spaces, declarations, observations and ``info``.

    ``reset`` and ``step`` raise InputError for what the guest refuses, GuestError where it fails,
    dies or does not answer in time; after the last two, or an interruption, the guest has ended.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012, gymnasium's own form

    def __init__(self, guest: Guest, **arguments: Any) -> None:
        """Start the guest and make its environment. Raises GuestError, InputError."""
        self.guest = guest
        self._process = _Process(guest)
        folder = None if guest.folder is None else str(guest.folder)
        try:
            self._process.greet()
            made = self._process.call(
                "make",
                guest.start_seconds,
                module=guest.module,
                maker=guest.maker,
                folder=folder,
                arguments=arguments,
            )
            self._take(made)
        except BaseException:
            self._process.end()
            raise

    def _take(self, made: dict[str, Any]) -> None:
        """Have what the guest's environment declares."""
        try:
            self.observation_space = _space(made["observation_space"])
            self.action_space = _space(made["action_space"])
            for name, value in made["declared"].items():
                if name in DECLARED:
                    setattr(self, name, value)
            self._attributes = dict(made["dataset_attributes"])
            if made["samples_scenes"]:
                self.sample_scene = self._sample_scene
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GuestError(f"{self.guest.name} describes itself wrongly ({error!r})") from error

    def dataset_attributes(self) -> dict[str, Any]:
        """What the guest's environment says of its data."""
        return self._attributes

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Start an episode in the guest."""
        answer = self._process.call("reset", seed=seed, options=options)
        return self._part(answer, "observation"), self._part(answer, "info")

    def step(self, action):
        """Make one control step in the guest."""
        answer = self._process.call("step", action=np.asarray(action))
        names = ("observation", "reward", "terminated", "truncated", "info")
        return tuple(self._part(answer, name) for name in names)

    def close(self) -> None:
        """End the guest."""
        self._process.end()

    def _sample_scene(self, task: str, protocol: str, seed: int) -> dict[str, float]:
        return self._process.call("sample_scene", arguments=[task, protocol, seed])

    def _part(self, answer: Any, name: str) -> Any:
        if not isinstance(answer, dict) or name not in answer:
            raise GuestError(f"{self.guest.name} answered without {name}: mend its worker")
        return answer[name]


class _Process:
    """A guest's process: calls with deadlines, and what it said last on standard error."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        if not guest.python.is_file():
            raise GuestError(
                f"{guest.name} is not installed, there is no {guest.python}: {guest.cure}"
            )
        environ = {key: value for key, value in os.environ.items() if key not in HOST_ONLY}
        package = Path(ptp_core.__file__).resolve().parent
        try:
            self._child = subprocess.Popen(
                # -E and -s: nothing of the host's Python is on its path.
                [str(guest.python), "-E", "-s", "-c", START, str(package)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**guest.variables, **environ},
                start_new_session=True,  # Ctrl-C is the host's
            )
        except OSError as error:
            raise GuestError(
                f"{guest.name}: {guest.python} cannot be run ({error.strerror}): {guest.cure}"
            ) from error
        self._said: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self._listener = threading.Thread(target=self._listen, name="guest", daemon=True)
        self._listener.start()
        self._pipe = MessagePipe(self._child.stdout.fileno(), self._child.stdin.fileno())
        self._ended = ""  # why it ended

    def greet(self) -> None:
        """Check that the guest speaks this version of the messages."""
        hello = self._exchange(None, "start", self.guest.start_seconds)
        if hello.get("hello") != VERSION:
            self._fail(
                f"{self.guest.name} speaks version {hello.get('hello')!r} of the messages, the "
                f"host version {VERSION}: use one release of ptp_core for both"
            )

    def call(self, name: str, seconds: float | None = None, **values: Any) -> Any:
        """The guest's answer to a call."""
        seconds = self.guest.call_seconds if seconds is None else seconds
        answer = self._exchange({"call": name, **values}, name, seconds)
        if "answer" in answer:
            return answer["answer"]
        text = f"{answer.get('error')}: {answer.get('text')}"
        if answer.get("error") in ("ModuleNotFoundError", "ImportError"):
            raise GuestError(f"{self.guest.name}: {text} ({self.guest.python}): {self.guest.cure}")
        if name != "step" and answer.get("refused"):
            raise InputError(f"{self.guest.name}: {answer.get('text')}")
        raise GuestError(f"{self.guest.name} failed in {name} ({answer.get('where')}): {text}")

    def end(self) -> None:
        """End the process: it ends when its pipe closes, and is killed where it does not."""
        self._ended = self._ended or f"{self.guest.name} is closed: make it again"
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        try:
            self._child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
        self._listener.join(END_SECONDS)
        self._child.stdout.close()

    def _exchange(
        self, message: dict[str, Any] | None, name: str, seconds: float
    ) -> dict[str, Any]:
        """Send a message and wait for the next one. GuestError where there is none in time."""
        if self._ended:
            raise GuestError(self._ended)
        guest, deadline = self.guest.name, time.monotonic() + seconds
        try:
            if message is not None:
                self._pipe.send(message, deadline)
            return self._pipe.receive(deadline)
        except TypeError as error:  # nothing was sent yet
            raise InputError(f"{guest}: {name}: {error}") from error
        except PipeTimeout:
            self._fail(
                f"{guest} did not answer to {name} within {seconds:g} s and was ended: look at "
                f"the load of the machine, or give it more time{self._last_words()}"
            )
        except PipeClosed:
            self._fail(f"{guest} ended in {name}, {self._how_it_ended()}")
        except PipeError as error:
            self._fail(f"{guest} sent what is no message ({error}): mend its worker")
        except BaseException:  # Ctrl-C: the answer to this call would be taken for the next one's
            self._ended = f"{guest} was interrupted: make it again"
            self._kill()
            raise

    def _fail(self, text: str) -> None:
        self._ended = text
        self._kill()
        raise GuestError(text) from None

    def _how_it_ended(self) -> str:
        try:
            status = self._child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "closing its pipe: mend its worker"
        self._listener.join(END_SECONDS)
        if status == -signal.SIGKILL:
            how = "killed, as a machine does that is out of memory: run fewer at once"
        elif status < 0:
            how = f"by signal {signal.Signals(-status).name}: see its last words"
        else:
            how = f"with status {status}: see its last words"
        return how + self._last_words()

    def _last_words(self) -> str:
        said = [line for line in self._said if line.strip()]
        return f" (it last said: {said[-1][:300]})" if said else ""

    def _listen(self) -> None:
        """Keep the last lines that the guest writes, so that it never waits for a reader."""
        with self._child.stderr as lines:
            for line in lines:
                self._said.append(line.decode(errors="replace").rstrip())

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            self._child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(END_SECONDS)  # a starved machine takes its time to end it


def _space(found: dict[str, Any]) -> gymnasium.Space:
    if "dict" in found:
        return gymnasium.spaces.Dict({name: _space(part) for name, part in found["dict"].items()})
    low, high = found["low"], found["high"]
    return gymnasium.spaces.Box(low, high, low.shape, low.dtype.type)
