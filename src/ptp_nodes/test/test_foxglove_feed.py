# SPDX-License-Identifier: Apache-2.0
"""What viewers are offered and sent of a real graph. Nothing here needs Foxglove's SDK."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from ptp_interfaces.msg import ArmState, Observation
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, Header, String
from std_srvs.srv import Trigger

from ptp_nodes.tools.foxglove.foxglove_feed import FoxgloveFeed
from ptp_ros import topics
from ptp_ros.agent_messages import observation_message

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)


class Viewer:
    """Channels that keep what they are given."""

    def __init__(self):
        self.offered, self.gone, self.sent = {}, [], {}

    def offer(self, topic, kind, definition):
        assert topic not in self.offered, f"{topic} twice"
        self.offered[topic] = kind, definition

    def withdraw(self, topic):
        del self.offered[topic]
        self.gone.append(topic)

    def send(self, topic, data, received):
        self.sent.setdefault(topic, []).append(bytes(data))


@pytest.fixture
def viewer():
    return Viewer()


@pytest.fixture
def feed(graph, viewer):
    return graph.add(FoxgloveFeed(viewer, "<robot name='ours'/>", context=graph.context))


def ask(graph, feed, viewer, topic):
    graph.wait(lambda: topic in viewer.offered, f"the offer of {topic}")
    feed.want(topic)


def test_a_topic_is_read_only_while_somebody_looks(graph, feed, viewer):
    numbers = graph.client.create_publisher(Float64, "some/number", topics.COMMANDS)
    graph.wait(lambda: "/some/number" in viewer.offered, "the offer")
    assert numbers.get_subscription_count() == 0
    feed.want("/some/number")
    graph.wait(numbers.get_subscription_count, "the feed")
    numbers.publish(Float64(data=0.25))
    graph.wait(lambda: viewer.sent.get("/some/number"), "the number")
    assert deserialize_message(viewer.sent["/some/number"][0], Float64).data == 0.25
    feed.want("/some/number")
    feed.leave("/some/number")
    feed.leave("/some/number")
    graph.wait(lambda: not numbers.get_subscription_count(), "the feed to leave")
    graph.client.destroy_publisher(numbers)
    graph.wait(lambda: "/some/number" in viewer.gone, "its end")


def test_the_newest_of_a_latched_topic_reaches_who_looks_late(graph, feed, viewer):
    said = graph.client.create_publisher(String, "said", topics.LATCHED)
    said.publish(String(data="before"))
    ask(graph, feed, viewer, "/said")
    graph.wait(lambda: viewer.sent.get("/said"), "what was said before")
    feed.want("/said")  # a second viewer
    graph.wait(lambda: len(viewer.sent["/said"]) == 2, "the same for the second")
    assert {deserialize_message(d, String).data for d in viewer.sent["/said"]} == {"before"}


def test_images_pose_and_command_are_topics_as_in_bags(graph, feed, viewer):
    seen = graph.client.create_publisher(Observation, topics.OBSERVATION, topics.LATCHED)
    seen.publish(observation_message(0, Header(), {"front": PIXELS}))
    ask(graph, feed, viewer, "/observation/front")
    graph.wait(lambda: viewer.sent.get("/observation/front"), "the image")
    image = deserialize_message(viewer.sent["/observation/front"][-1], Image)
    assert bytes(image.data) == PIXELS.tobytes()
    states = graph.client.create_publisher(ArmState, topics.ARM_STATE, topics.LATCHED)
    for topic in ("/arm/state/pose", "/arm/state/command"):
        ask(graph, feed, viewer, topic)
    graph.wait(states.get_subscription_count, "the feed")
    for seq in (1, 2):
        state = ArmState(observation_seq=seq, moved=True)
        state.header.stamp = Time(sec=seq)
        states.publish(state)
    graph.wait(lambda: viewer.sent.get("/arm/state/command"), "the command")
    graph.wait(lambda: len(viewer.sent["/arm/state/pose"]) == 2, "the poses")


def test_an_image_that_the_graph_has_as_well_is_one_topic(graph, feed, viewer):
    seen = graph.client.create_publisher(Observation, topics.OBSERVATION, topics.LATCHED)
    graph.client.create_publisher(Image, f"{topics.OBSERVATION}/front", topics.SENSOR)
    seen.publish(observation_message(0, Header(), {"front": PIXELS}))
    ask(graph, feed, viewer, "/observation/front")
    graph.wait(lambda: viewer.sent.get("/observation/front"), "the image of the observation")
    feed.look()  # a second offer would fail
    assert "/observation/front" not in viewer.gone


def test_a_schema_has_all_that_a_viewer_needs_to_decode(graph, feed, viewer):
    """Decoded with the text alone, by a store that knows no types of ours."""
    seen = graph.client.create_publisher(Observation, topics.OBSERVATION, topics.LATCHED)
    seen.publish(observation_message(7, Header(), {"front": PIXELS}))
    ask(graph, feed, viewer, "/observation")
    graph.wait(lambda: viewer.sent.get("/observation"), "the observation")
    kind, definition = viewer.offered["/observation"]
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(definition, kind))
    observation = store.deserialize_cdr(viewer.sent["/observation"][-1], kind)
    assert (observation.seq, observation.cameras) == (7, ["front"])


def test_our_robot_is_described_until_the_graph_describes_its_own(graph, feed, viewer):
    ask(graph, feed, viewer, "/robot_description")
    graph.wait(lambda: viewer.sent.get("/robot_description"), "our description")
    theirs = graph.client.create_publisher(String, topics.ROBOT_DESCRIPTION, topics.LATCHED)
    theirs.publish(String(data="<robot name='theirs'/>"))
    graph.wait(lambda: len(viewer.sent["/robot_description"]) > 1, "theirs")
    texts = [deserialize_message(d, String).data for d in viewer.sent["/robot_description"]]
    assert texts[0] == "<robot name='ours'/>" and texts[-1] == "<robot name='theirs'/>"
    assert "/robot_description" in viewer.offered


def test_it_only_looks(graph, feed, viewer):
    """The graph sees no topic, service or action of it, but what every node of rclpy has."""
    other = graph.add(Node("other", context=graph.context))
    other.create_service(Trigger, "other/do", lambda _, answer: answer)
    graph.wait(lambda: "foxglove" in other.get_node_names(), "discovery")
    feed.look()
    published = dict(other.get_publisher_names_and_types_by_node("foxglove", "/"))
    assert set(published) <= {"/parameter_events"}
    served = {name for name, _ in other.get_service_names_and_types_by_node("foxglove", "/")}
    assert {name.rpartition("/")[2] for name in served} <= {"get_type_description"}
    assert other.get_client_names_and_types_by_node("foxglove", "/") == []


def test_hidden_topics_are_left_out(graph, feed, viewer):
    graph.client.create_publisher(Float64, topics.history_of("x"), topics.LATCHED)
    graph.client.create_publisher(Float64, "y", topics.LATCHED)
    graph.wait(lambda: "/y" in viewer.offered, "the offer of y")
    assert "/x/_history" not in viewer.offered
