# SPDX-License-Identifier: Apache-2.0
"""Whoever moves an arm must know that the arm is there, and that somebody still wants it to.

The middleware notices a killed process seconds later; an arm should stand still long before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ptp_interfaces.msg import ErrorCode
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import String

from ptp_ros.node_main import RCLError
from ptp_ros.request_errors import RequestError
from ptp_ros.streams import Streams
from ptp_ros.topics import ALIVE, SENSOR

PERIOD = 0.03  # s between signs
POLL = 0.05  # s between looks at whether the goal was canceled


def wait_for_reader(commands: Publisher, give_up_after: float, check: Callable[[], None]) -> None:
    """Return when somebody takes commands: just after a start nodes may not know each other.

    ``check`` is called every few hundredths of a second and may raise. Raises RequestError when
    nobody is there for ``give_up_after`` s.
    """
    began, pause = time.monotonic(), threading.Event()
    while not commands.get_subscription_count():
        check()
        if time.monotonic() - began > give_up_after:
            raise RequestError(
                ErrorCode.UNAVAILABLE,
                f"nobody takes commands from {commands.topic_name}: is the arm's node running?",
            )
        pause.wait(POLL)


class HeartbeatPublisher:
    """Publishes ``episode()``, the name of the episode that is wanted, for as long as it lives.

    From a thread: the node's executor would look at everything else at each sign. Call `stop`
    before the node is destroyed.
    """

    def __init__(self, node: Node, episode: Callable[[], str]) -> None:
        self._episode = episode
        self._publisher = node.create_publisher(String, ALIVE, SENSOR)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="signs_of_life", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()
        self._thread.join()

    def _publish(self) -> None:
        while not self._ending.wait(PERIOD):
            try:
                self._publisher.publish(String(data=self._episode()))
            except RCLError:  # the context has just been shut down
                return


class Heartbeat:
    """Listens for signs of life. ``patience`` is how long they may stay away, s; 0: for ever."""

    def __init__(self, streams: Streams, patience: float) -> None:
        self._patience = patience
        self._news = threading.Condition()
        self._episode = ""
        self._heard = -float("inf")
        if patience > 0.0:
            streams.subscribe(String, ALIVE, self._arrived, SENSOR)

    def _arrived(self, message: String) -> None:
        with self._news:
            self._episode, self._heard = message.data, time.monotonic()
            self._news.notify_all()

    def wait(
        self,
        episode: str,
        give_up_after: float,
        on_silence: Callable[[RequestError], None],
        check: Callable[[], None],
    ) -> None:
        """Return as soon as a sign of life of ``episode`` is recent.

        ``on_silence`` is told once when there is none; ``check`` is called every few hundredths
        of a second and may raise. Raises RequestError when the client wants something else by
        now, or stays silent for ``give_up_after`` s.
        """
        if self._patience <= 0.0:
            return
        began: float | None = None
        with self._news:
            while not self._recent(episode):
                now = time.monotonic()
                silence = RequestError(
                    ErrorCode.UNAVAILABLE,
                    f"no sign of life from the client for {self._patience:g} s: did it die?",
                )
                if began is None:
                    began = now
                    on_silence(silence)
                elif now - began > give_up_after:
                    raise silence
                check()
                self._news.wait(POLL)

    def _recent(self, episode: str) -> bool:
        if time.monotonic() - self._heard > self._patience:
            return False
        if self._episode != episode:
            raise RequestError(
                ErrorCode.CANCELED,
                f"the client wants {self._episode or 'nothing'} now, no more {episode}",
            )
        return True
