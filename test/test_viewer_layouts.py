# SPDX-License-Identifier: Apache-2.0
"""The layouts of Foxglove, PlotJuggler and Rerun name topics that the recorder writes."""

import ast
import json
import re
import xml.etree.ElementTree as ET

import pytest
from rosbags.interfaces import Nodetype

from ptp_bringup.share_folder import shared_root
from ptp_core.data.trajectory import CAMERA
from ptp_core.episodes import message_definitions as kinds
from ptp_core.episodes.message_definitions import Definitions
from ptp_core.episodes.standard_messages import ARM_PARTS
from ptp_nodes.nodes.recorder_node import RECORDED
from ptp_robot.kinematics import ARM_JOINTS
from ptp_ros import topics

FOXGLOVE = shared_root() / "config" / "foxglove" / "ptp.json"
PLOTJUGGLER = shared_root() / "config" / "plotjuggler" / "ptp.xml"
RERUN = shared_root() / "config" / "rerun" / "episode_layout.py"
JOINT_STATE = "sensor_msgs/msg/JointState"
PANELS = {"3D", "Image", "Plot"}  # of those that Foxglove and Lichtblick have


def recorded():
    """Type of each topic of a bag of one camera."""
    found = {
        f"/{name}": f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"
        for kind, name, _ in RECORDED
    }
    return {
        **found,
        f"/{topics.JOINT_STATES}": JOINT_STATE,
        f"/{topics.IMAGE_RAW}": kinds.IMAGE,
        f"/{topics.STEP_RECORD}": kinds.STEP_RECORD,
        f"/{topics.OBSERVATION}/{CAMERA}": kinds.IMAGE,
        **{f"/{topics.ARM_STATE}/{name}": kind for name, kind in ARM_PARTS.items()},
    }


TOPICS = recorded()


@pytest.fixture(scope="module")
def layout():
    return json.loads(FOXGLOVE.read_text())


@pytest.fixture(scope="module")
def fields():
    """The type of a field, given its message's type and the field's name."""
    definitions = Definitions().store.fielddefs

    def field(kind, name):
        node, value = dict(definitions[kind][1])[name]
        if node in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            node, value = value[0]
        return value if node == Nodetype.NAME else value[0]

    return field


def number_at(kind, words, fields):
    for word in words:
        kind = fields(kind, word)
    return kind


def topic_of(path, separator):
    """The topic with the longest name that the path begins with, and the words after it."""
    name = max((n for n in TOPICS if path.startswith(n + separator)), key=len, default=None)
    assert name is not None, f"{path}: the recorder writes no such topic"
    return name, re.sub(r"\[\d+\]", "", path[len(name) + 1 :]).split(separator)


def number_of(path, fields):
    topic, words = topic_of(path, ".")
    return number_at(TOPICS[topic], words, fields)


def panels(tree):
    return [tree] if isinstance(tree, str) else panels(tree["first"]) + panels(tree["second"])


def test_every_panel_is_placed_once_and_is_of_a_known_kind(layout):
    placed = panels(layout["layout"])
    assert sorted(placed) == sorted(layout["configById"])
    assert {name.partition("!")[0] for name in placed} == PANELS


def test_foxglove_shows_images_of_topics_of_images(layout):
    shown = [
        config["imageMode"]["imageTopic"]
        for name, config in layout["configById"].items()
        if name.startswith("Image!")
    ]
    assert {TOPICS[topic] for topic in shown} == {kinds.IMAGE} and len(shown) == 3


def test_foxglove_draws_the_arm_from_its_description_and_joints(layout):
    (name,) = (name for name in layout["configById"] if name.startswith("3D!"))
    drawn = {topic: TOPICS[topic] for topic in layout["configById"][name]["topics"]}
    assert set(drawn.values()) == {"std_msgs/msg/String", JOINT_STATE, ARM_PARTS["pose"]}
    assert layout["configById"][name]["followTf"] == topics.BASE_FRAME


def test_foxglove_plots_numbers_that_exist(layout, fields):
    paths = [
        line["value"]
        for name, config in layout["configById"].items()
        if name.startswith("Plot!")
        for line in config["paths"]
        if line["enabled"]
    ]
    for path in paths:
        assert number_of(path, fields) in ("float64", "uint32"), path
    assert len(paths) > 12


def test_plotjuggler_plots_numbers_that_exist(fields):
    curves = [curve.get("name") for curve in ET.parse(PLOTJUGGLER).getroot().iter("curve")]
    for curve in curves:
        topic, words = topic_of(curve, "/")
        if TOPICS[topic] == JOINT_STATE:  # PlotJuggler files its arrays by the names of joints
            joint, *words = words
            assert joint in ARM_JOINTS
        assert number_at(TOPICS[topic], words, fields) in ("float64", "uint32"), curve
    assert len(curves) > 12


def test_rerun_shows_topics_that_exist():
    """Read from the program that writes the layout, as Rerun is not installed everywhere."""
    words = [
        n.value for n in ast.walk(ast.parse(RERUN.read_text())) if isinstance(n, ast.Constant)
    ]
    named = [word for word in words if isinstance(word, str) and re.fullmatch(r"(/\w+)+", word)]
    assert [topic for topic in named if topic not in TOPICS] == [] and len(named) > 5


@pytest.mark.parametrize("path", ["/no/such.data", "/arm/state/gripper.value"])
def test_a_path_that_leads_nowhere_is_seen(fields, path):
    with pytest.raises((AssertionError, KeyError)):
        number_of(path, fields)
