# SPDX-License-Identifier: Apache-2.0
"""Messages of every step: subscriptions beside the executor, and topics with a history."""

import threading

import pytest
from builtin_interfaces.msg import Time
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String

from ptp_ros.graph_testing import PATIENCE, Graph
from ptp_ros.streams import HistoryPublisher, Streams
from ptp_ros.topics import COMMANDS, KEPT, RECORDS, history_of


class Listener(Node):
    """Hears a topic as a stream and as usual."""

    def __init__(self, **options):
        super().__init__("listener", **options)
        self.heard, self.usual, self.raw = [], [], []
        self.streams = Streams(self)
        self.streams.subscribe(String, "words", self.listen, RECORDS)
        self.streams.subscribe(String, "words", self.raw.append, RECORDS, raw=True)
        self.create_subscription(
            String, "words", lambda m: self.usual.append(threading.current_thread()), RECORDS
        )

    def start(self):
        self.streams.start()

    def stop(self):
        self.streams.stop()

    def listen(self, message):
        if message.data == "bad":
            raise ValueError("a bad word")
        self.heard.append((message.data, threading.current_thread()))


@pytest.fixture
def graph():
    with Graph() as graph:
        yield graph


@pytest.fixture
def listener(graph):
    return graph.add(Listener(context=graph.context))


def say(graph, *words):
    publisher = graph.publisher(String, "words", RECORDS, readers=3)
    for word in words:
        publisher.publish(String(data=word))


def test_each_message_arrives_once_in_order_beside_the_executor(graph, listener):
    words = [str(number) for number in range(50)]
    say(graph, *words)
    graph.wait(lambda: len(listener.usual) == len(listener.heard) == 50, "the words")
    assert [word for word, _ in listener.heard] == words
    (apart,) = {thread for _, thread in listener.heard}
    (own,) = set(listener.usual)
    assert apart is not own
    assert len(listener.raw) == 50 and isinstance(listener.raw[0], bytes)


def test_a_subscription_made_later_is_called_too(graph, listener):
    late = []
    listener.streams.subscribe(String, "more", late.append, RECORDS)
    graph.publisher(String, "more", RECORDS).publish(String(data="x"))
    graph.wait(lambda: late, "the word")


def test_nothing_is_called_after_the_end(graph, listener):
    say(graph, "1")
    graph.wait(lambda: listener.heard, "the word")
    listener.streams.stop()
    say(graph, "2")
    graph.wait(lambda: len(listener.usual) == 2, "the word elsewhere")
    assert len(listener.heard) == 1


def test_what_a_callback_raises_ends_the_node_as_any_other_would(graph, listener, monkeypatch):
    raised = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.set())
    say(graph, "bad")
    assert raised.wait(PATIENCE)  # in the thread that spins the node


def test_simulated_time_is_a_stream(graph):
    parameters = [Parameter("use_sim_time", value=True)]
    node = graph.add(Listener(context=graph.context, parameter_overrides=parameters))
    threads = []
    handle = node.get_clock().create_jump_callback(
        JumpThreshold(
            min_forward=Duration(nanoseconds=1), min_backward=None, on_clock_change=False
        ),
        post_callback=lambda jump: threads.append(threading.current_thread().name),
    )
    graph.publisher(Clock, "/clock", COMMANDS).publish(Clock(clock=Time(sec=5)))
    graph.wait(lambda: node.get_clock().now().nanoseconds == 5 * 10**9, "the time")
    handle.unregister()
    assert threads == ["streams"]


WORDS = [str(number) for number in range(20)]


def heard(messages):
    return [message.data for message in messages]


def test_a_late_reader_gets_the_newest_and_a_late_recorder_everything(graph):
    writer = HistoryPublisher(graph.client, String, "words", KEPT)
    for word in WORDS:
        writer.publish(String(data=word))
    # A reader that takes as much as it can get, as `ros2 topic echo` is.
    newest = graph.collect(String, "words", KEPT)
    everything = graph.collect(String, history_of("words"), KEPT)
    graph.wait(lambda: len(everything) == len(WORDS) and newest, "what was said before")
    assert heard(everything) == WORDS
    writer.publish(String(data="end"))
    graph.wait(lambda: heard(newest)[-1] == heard(everything)[-1] == "end", "the end")
    assert heard(newest) == [WORDS[-1], "end"]


def test_a_reader_from_the_beginning_misses_nothing(graph):
    writer = HistoryPublisher(graph.client, String, "words", KEPT)
    messages = graph.collect(String, "words", KEPT)
    graph.wait(writer.newest.get_subscription_count, "the reader")
    for word in WORDS:
        writer.publish(String(data=word))
    graph.wait(lambda: len(messages) == len(WORDS), "every word")
    assert heard(messages) == WORDS


def test_an_inactive_node_says_nothing_on_either(graph):
    node = graph.add(LifecycleNode("speaker", context=graph.context))
    writer = HistoryPublisher(node, String, "words", KEPT, managed=True)
    writer.publish(String(data="too early"))
    node.trigger_configure()
    node.trigger_activate()
    writer.publish(String(data="now"))
    newest = graph.collect(String, "words", KEPT)
    everything = graph.collect(String, history_of("words"), KEPT)
    graph.wait(lambda: newest and everything, "what was said")
    assert heard(newest) == heard(everything) == ["now"]
