# SPDX-License-Identifier: Apache-2.0
"""Who comes late gets the newest on the topic itself, and everything on its history."""

import pytest
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import String

from ptp_ros.graph_testing import Graph
from ptp_ros.history_publisher import HistoryPublisher
from ptp_ros.topics import KEPT, history_of

WORDS = [str(number) for number in range(20)]


@pytest.fixture
def graph():
    with Graph() as graph:
        yield graph


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
