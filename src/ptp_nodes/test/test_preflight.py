# SPDX-License-Identifier: Apache-2.0
"""The preflight: every number out of bounds and every wrong file keeps the arm disabled."""

import dataclasses
import json
import math
import shutil

import cv2
import numpy as np
import pytest
from ptp_interfaces.msg import ArmState, DriverState, Latent, LatentArray, Observation
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String

from ptp_nodes.tools.doctor.doctor_facts import Driver, Expected, GraphFacts, Stream
from ptp_nodes.tools.doctor.preflight import (
    Facts,
    Robot,
    View,
    Weights,
    check_weights,
    findings,
    measures,
    preflight,
    read_robot,
    report,
    see,
    tell,
)
from ptp_robot.robot_file import Limits
from ptp_ros import topics
from ptp_ros.image_messages import array_to_image

LIMITS = Limits()
GOOD = Driver(
    *("DISABLED", "enable to go on", "fake", "velocity", "setpoint", "0123456789ab"),
    robot_enabled=False,
    joint_margin=0.6,
    condition=9.0,
    reading_age=0.01,
    loop_rate=99.8,
    loop_worst=0.012,
)
IMAGES = Stream("/observation", "Observation", 5.0, 50, 0.1, 0.001, 0.05)
LATENTS = Stream("/latent", "Latent", 5.0, 50, 0.1, 0.001, 0.06)
FACTS = Facts(
    GraphFacts(
        *(7, "LOCALHOST", 5.0),
        streams=(IMAGES, LATENTS),
        parameters={"/camera": {"rate": 10.0}},
        driver=GOOD,
    ),
    Robot("fake.yaml", "fake", LIMITS, "0123456789ab"),
    "",
    Weights("model", "e1"),
    View("camera.png", 0.4),
    "/data",
    10 * 2**30,
)


def changed(**changes):
    """FACTS with another driver, streams, or other fields."""
    graph = FACTS.graph
    if "driver" in changes:
        driver = changes.pop("driver")
        new = None if driver is None else dataclasses.replace(GOOD, **driver)
        graph = dataclasses.replace(graph, driver=new)
    if "streams" in changes:
        graph = dataclasses.replace(graph, streams=changes.pop("streams"))
    return dataclasses.replace(FACTS, graph=graph, **changes)


def test_with_everything_in_order_it_passes_and_says_for_which_limits():
    assert findings(FACTS) == ()
    assert all(measure.ok for measure in measures(FACTS))
    said = json.loads(report(FACTS, (), 1000.0))
    assert (said["ok"], said["stamp"], said["limits"]) == (True, 1000.0, GOOD.limits)
    assert (said["backend"], said["encoder"], said["findings"]) == ("fake", "e1", [])
    assert said["measures"]["driver's loop"] == 99.8


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"driver": None}, "The arm driver says nothing of itself"),
        ({"driver": {"state": "FAULT", "reason": "e-stop"}}, "is in FAULT: e-stop"),
        ({"driver": {"limits": "abc"}}, "The driver keeps limits abc of fake"),
        ({"driver": {"backend": "sawyer"}}, "of sawyer, fake.yaml has"),
        ({"driver": {"reading_age": 0.2}}, "age of joint positions: 0.2 s (at most 0.1)"),
        ({"driver": {"reading_age": -1.0}}, "age of joint positions: not known"),
        ({"driver": {"loop_rate": 60.0}}, "driver's loop: 60 Hz (at least 90)"),
        ({"driver": {"loop_worst": 0.3}}, "driver's longest cycle: 0.3 s"),
        ({"driver": {"joint_margin": 0.02}}, "joints from their ends: 0.02 rad"),
        ({"driver": {"condition": 60.0}}, "condition of the Jacobian: 60"),
        ({"robot": None, "robot_problem": "gone"}, "cannot be read: gone"),
        ({"weights": Weights("model", "e1", "iql differs")}, "not whole: iql differs"),
        ({"view": View("camera.png", 7.5, "tilt it down")}, "tilt it down"),
        ({"view": View("camera.png", problem="no image for 5 s")}, "no image for 5 s"),
        ({"free": 2**30}, "free disk of /data: 1 GiB (at least 2)"),
        ({"streams": (LATENTS,)}, "images: 0 Hz (at least 8)"),
        ({"streams": (IMAGES,)}, "latents: 0 Hz"),
        (
            {"streams": (dataclasses.replace(IMAGES, stamp_age=0.5), LATENTS)},
            "age of images on arrival: 0.5 s",
        ),
        (
            {"streams": (dataclasses.replace(IMAGES, transfer=-0.4), LATENTS)},
            "offset of the clocks: 0.4 s (at most 0.1)",
        ),
    ],
)
def test_each_thing_that_is_wrong_forbids_to_enable_and_is_named(changes, text):
    facts = changed(**changes)
    said = json.loads(report(facts, (), 1000.0))
    assert not said["ok"]
    assert any(text in line for line in said["findings"]), said["findings"]
    assert not any(math.isnan(value) for value in said["measures"].values())


def test_a_camera_without_reference_is_not_measured():
    assert not any("camera" in m.name for m in measures(changed(view=View())))


def test_a_robot_file_is_read_with_the_digest_of_its_limits(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: fake\nlimits: {speed: 0.1}\n")
    robot, problem = read_robot(str(path))
    assert (robot.backend, robot.limits.speed, problem) == ("fake", 0.1, "")
    assert len(robot.digest) == 12
    path.write_text("name: fake\nlimits: {speed: 0.11}\n")
    assert read_robot(str(path))[0].digest != robot.digest
    path.write_text("limits: {speed: 9.0}\n")
    assert read_robot(str(path))[0] is None
    assert "speed is 9.0" in read_robot(str(path))[1]
    assert read_robot("")[1]


def test_a_checkpoint_of_which_a_byte_changed_is_found(folder, tmp_path):
    assert check_weights(str(folder)).problem == ""
    copy = shutil.copytree(folder, tmp_path / "copy")
    content = bytearray((copy / "iql.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "iql.safetensors").write_bytes(bytes(content))
    assert "iql.safetensors is not the file" in check_weights(str(copy)).problem
    (copy / "manifest.json").unlink()
    assert "no checkpoint (manifest.json is missing)" in check_weights(str(copy)).problem


class Robotics(Node):
    """Camera, encoder and driver as a preflight hears them, at 20 Hz."""

    def __init__(self, context, robot, folder):
        super().__init__("arm_driver", context=context)
        self.declare_parameter("robot_file", str(robot))
        self.limits = read_robot(str(robot))[0].digest if robot else ""
        latched = topics.LATCHED
        self.states = self.create_publisher(DriverState, topics.DRIVER_STATE, latched)
        self.observations = self.create_publisher(Observation, topics.OBSERVATION, latched)
        self.create_publisher(ArmState, topics.ARM_STATE, topics.KEPT)
        self.latents = self.create_publisher(Latent, topics.LATENT, latched)
        self.images = self.create_publisher(Image, topics.IMAGE_RAW, topics.SENSOR)
        self.taken = []
        self.create_subscription(String, topics.ARM_PREFLIGHT, self.taken.append, latched)
        self.rng = np.random.default_rng(0)
        coarse = self.rng.integers(0, 255, (30, 40, 3), np.uint8)
        self.pixels = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
        self.create_timer(0.05, self.say, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def say(self):
        now = self.get_clock().now().to_msg()
        state = DriverState(state=DriverState.DISABLED, backend="fake", interface="velocity")
        state.limits, state.reference = self.limits, "setpoint"
        state.joint_margin, state.condition, state.reading_age = 0.6, 9.0, 0.01
        state.loop_rate, state.loop_worst = 99.0, 0.012
        self.states.publish(state)
        noisy = self.pixels[:48, :48] ^ self.rng.integers(0, 2, (48, 48, 3), np.uint8)
        observation = Observation(images=[array_to_image(noisy, now, "camera")])
        observation.header.stamp = now
        self.observations.publish(observation)
        latent = Latent(latent=LatentArray(encoder_id="e1"))
        latent.header.stamp = now
        self.latents.publish(latent)
        self.images.publish(array_to_image(self.pixels, now, "camera"))


def test_a_preflight_of_a_running_graph_reaches_the_driver(graph, folder, tmp_path):
    path = tmp_path / "fake.yaml"
    path.write_text("name: fake\n")
    node = graph.add(Robotics(graph.context, path, folder))
    reference = tmp_path / "camera.png"
    cv2.imwrite(str(reference), node.pixels[:, :, ::-1])
    done = preflight(
        Expected("real", ("arm_driver",)),
        2.0,
        checkpoint=str(folder),
        reference=str(reference),
        disk=str(tmp_path / "not" / "yet"),
    )
    facts = done.facts
    assert facts.graph.driver.state == "DISABLED"
    assert (facts.robot.path, facts.robot.digest) == (str(path), facts.graph.driver.limits)
    assert facts.view.pixels < 0.5
    assert all(m.ok for m in measures(facts) if "disk" not in m.name), measures(facts)
    # What this graph lacks: nobody reads the images, and the other nodes are not there.
    assert {line.partition(":")[0] for line in done.wrong} == {"no-reader"}, done.wrong
    assert tell(done.text)
    graph.wait(lambda: node.taken, "the report")
    said = json.loads(node.taken[-1].data)
    assert (said["limits"], said["ok"]) == (facts.robot.digest, False)


def test_a_camera_that_moved_and_one_that_is_not_there_are_told_apart(graph, folder, tmp_path):
    node = graph.add(Robotics(graph.context, "", folder))
    reference = tmp_path / "camera.png"
    moved = np.roll(node.pixels, 8, axis=1)
    cv2.imwrite(str(reference), moved[:, :, ::-1])
    assert see(str(reference)).pixels > 3.0
    assert "no reference image" in see(str(tmp_path / "none.png")).problem
    assert see("") == View()
    graph.remove(node)
    gone = see(str(reference))
    assert "no image" in gone.problem
    assert math.isnan(gone.pixels)


def test_without_a_driver_nobody_takes_the_report(graph):
    assert not tell("{}", patience=0.2)
