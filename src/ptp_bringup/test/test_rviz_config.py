# SPDX-License-Identifier: Apache-2.0
"""The RViz configuration names classes that exist and topics that our nodes publish."""

import pytest
import yaml

from ptp_bringup.share_folder import shared_root
from ptp_bringup.stacks import stack_named
from ptp_ros import topics

# rviz_default_plugins and rviz_common of ROS 2 Jazzy, as far as they concern this file.
PLUGINS = {
    *(f"rviz_common/{name}" for name in ("Displays", "Selection", "Views", "Time", "Group")),
    *(
        f"rviz_default_plugins/{name}"
        for name in (
            *("Grid", "TF", "RobotModel", "Image", "Camera", "MarkerArray", "Marker", "Path"),
            *("Interact", "MoveCamera", "Select", "FocusCamera", "Measure", "Orbit"),
        )
    ),
}
# Display class -> topics of that type, with the durability that their publisher offers.
PUBLISHED = {
    "rviz_default_plugins/Image": {
        topics.IMAGE_RAW: topics.SENSOR,
        topics.VIEW_IMAGE: topics.LATCHED,
        topics.VIEW_SUBGOALS: topics.LATCHED,
    },
    "rviz_default_plugins/MarkerArray": {topics.VIEW_MARKERS: topics.LATCHED},
    "rviz_default_plugins/Path": {topics.ARM_PATH: topics.LATCHED},
}


@pytest.fixture(scope="module")
def config():
    path = shared_root() / "config" / "rviz" / "ptp.rviz"
    return yaml.safe_load(path.read_text())


def walk(node):
    """Every mapping below ``node``."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def test_every_class_exists(config):
    named = {node["Class"] for node in walk(config) if node.get("Class")}
    assert named <= PLUGINS
    assert len(named) > 8


def test_every_display_listens_to_a_topic_that_is_published_with_a_quality_that_matches(config):
    seen = set()
    for display in config["Visualization Manager"]["Displays"]:
        if "Topic" not in display:
            continue
        offered = PUBLISHED[display["Class"]]
        topic = display["Topic"]
        assert topic["Value"] in offered, display["Name"]
        quality = offered[topic["Value"]]
        asked = topic["Reliability Policy"].upper().replace(" ", "_")
        assert asked in ("BEST_EFFORT", quality.reliability.name)
        durability = topic["Durability Policy"].upper().replace(" ", "_")
        assert durability in ("VOLATILE", quality.durability.name)
        seen.add(topic["Value"])
    assert seen == {topic for offered in PUBLISHED.values() for topic in offered}


def test_the_robot_model_comes_from_the_publisher_that_the_stack_starts(config):
    displays = config["Visualization Manager"]["Displays"]
    (robot,) = (d for d in displays if d["Class"] == "rviz_default_plugins/RobotModel")
    assert robot["Description Topic"]["Value"] == "robot_description"
    assert robot["Description Topic"]["Durability Policy"] == "Transient Local"
    (publisher,) = (
        node for node in stack_named("sim").nodes if node.executable == "robot_state_publisher"
    )
    assert "<robot" in publisher.parameters["robot_description"]()


def test_the_fixed_frame_is_that_of_markers_and_path(config):
    options = config["Visualization Manager"]["Global Options"]
    assert options["Fixed Frame"] == topics.BASE_FRAME
