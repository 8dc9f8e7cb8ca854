# SPDX-License-Identifier: Apache-2.0
"""An arm that nobody wants to move any more stands still."""

import threading

from rclpy.node import Node
from std_msgs.msg import String

from ptp_nodes.policy.readiness import Heartbeat, HeartbeatPublisher
from ptp_ros.graph_testing import PATIENCE
from ptp_ros.request_errors import RequestError
from ptp_ros.streams import Streams
from ptp_ros.topics import ALIVE, SENSOR


class Listener(Node):
    """The node behind the policy."""

    def __init__(self, **options):
        super().__init__("policy", **options)
        self.streams = Streams(self)

    def start(self):
        self.streams.start()

    def stop(self):
        self.streams.stop()


class Client(Node):
    """Wants an episode for as long as it lives."""

    def __init__(self, **options):
        super().__init__("client", **options)
        self._signs = HeartbeatPublisher(self, lambda: "run/1")

    def stop(self):
        self._signs.stop()


class Policy:
    """A thread that waits for signs of life, as the policy does before each step."""

    def __init__(self, graph, patience=0.2, give_up_after=PATIENCE):
        self.keep_alive = Heartbeat(graph.add(Listener(context=graph.context)).streams, patience)
        self.silences, self.error, self.looks = [], None, 0
        self._give_up_after = give_up_after
        self._graph = graph

    def wait(self, episode):
        """Begin to wait; what the wait raised is in ``error`` when ``done`` is set."""
        self.done = threading.Event()

        def work():
            try:
                self.keep_alive.wait(
                    episode, self._give_up_after, self.silences.append, self._look
                )
            except RequestError as error:
                self.error = error
            self.done.set()

        threading.Thread(target=work, daemon=True).start()

    def _look(self):
        self.looks += 1


def test_it_waits_while_there_is_no_sign_and_goes_on_when_there_is(graph):
    policy = Policy(graph)
    policy.wait("run/1")
    graph.wait(lambda: policy.looks > 2, "several looks")
    assert not policy.done.is_set() and len(policy.silences) == 1
    assert "no sign of life" in str(policy.silences[0])
    client = graph.add(Client(context=graph.context))
    assert policy.done.wait(PATIENCE) and policy.error is None
    policy.wait("run/1")
    assert policy.done.wait(PATIENCE) and len(policy.silences) == 1
    graph.remove(client)
    graph.wait(lambda: policy.wait("run/1") or not policy.done.wait(0.02), "the silence")
    graph.wait(lambda: len(policy.silences) == 2, "its report")


def test_a_client_that_wants_something_else_ends_the_wait(graph):
    policy = Policy(graph)
    graph.publisher(String, ALIVE, SENSOR).publish(String(data="run/2"))
    graph.wait(lambda: policy.wait("run/1") or policy.done.wait(0.5), "the end")
    assert "the client wants run/2 now, no more run/1" in str(policy.error)


def test_it_gives_up_in_the_end(graph):
    policy = Policy(graph, patience=0.05, give_up_after=0.1)
    policy.wait("run/1")
    assert policy.done.wait(PATIENCE)
    assert "no sign of life" in str(policy.error)


def test_nobody_is_waited_for_where_none_is_asked_for(graph):
    policy = Policy(graph, patience=0.0)
    policy.wait("run/1")
    assert policy.done.wait(PATIENCE) and not policy.silences
