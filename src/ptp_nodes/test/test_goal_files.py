# SPDX-License-Identifier: Apache-2.0
"""Goals as files, and how they are taken from a running graph."""

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from ptp_interfaces.msg import ArmState, Observation
from sensor_msgs.msg import Image

from ptp_core.errors import InputError
from ptp_nodes.camera.camera_client import CameraClient, capture_goal
from ptp_nodes.operator.goal_files import (
    GoalFile,
    find_goal,
    goal_path,
    list_goals,
    load_goal,
    read_goal_image,
    save_goal,
)
from ptp_ros.image_messages import array_to_image, crop_and_resize
from ptp_ros.topics import ARM_STATE, IMAGE_RAW, KEPT, OBSERVATION, SENSOR, STREAM


@pytest.fixture
def image():
    return np.random.default_rng(5).integers(0, 256, (48, 48, 3), dtype=np.uint8)


def test_a_goal_survives_the_file_and_its_preview_is_the_same_goal(tmp_path, image):
    whole = np.random.default_rng(6).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    path = save_goal(tmp_path / "new", "cup_in", GoalFile(image, whole, {"note": "cup left"}))
    assert path == tmp_path / "new" / "cup_in.npz"
    goal = load_goal(path)
    assert np.array_equal(goal.image, image) and np.array_equal(goal.camera_image, whole)
    assert goal.note == "cup left"
    # Either file as goal_image:=
    assert np.array_equal(read_goal_image(str(path)), image)
    preview = read_goal_image(str(path.with_suffix(".png")))
    assert preview.shape == (384, 384, 3)
    assert np.array_equal(crop_and_resize(preview, 48), image)
    assert np.array_equal(find_goal(tmp_path / "new", "cup_in").image, image)
    assert np.array_equal(find_goal("elsewhere", str(path)).image, image)


def test_a_goal_is_not_replaced_by_accident(tmp_path, image):
    save_goal(tmp_path, "cup", GoalFile(image))
    with pytest.raises(InputError, match="exists: choose another name, or replace it"):
        save_goal(tmp_path, "cup", GoalFile(255 - image))
    assert np.array_equal(load_goal(tmp_path / "cup.npz").image, image)
    save_goal(tmp_path, "cup", GoalFile(255 - image), replace=True)
    assert np.array_equal(load_goal(tmp_path / "cup.npz").image, 255 - image)


@pytest.mark.parametrize("name", ["", "../cup", "a/b", "-x", "cup.npz", "kopje é"])
def test_a_name_that_is_no_files_is_refused(name):
    with pytest.raises(InputError, match="cannot name a goal"):
        goal_path("goals", name)


def test_broken_goal_files_say_what_is_wrong(tmp_path, image):
    whole = save_goal(tmp_path, "whole", GoalFile(image))
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:300])
    (tmp_path / "text.npz").write_text("no goal")
    (tmp_path / "empty.npz").touch()
    np.savez(tmp_path / "other.npz", image=image)
    np.savez(tmp_path / "future.npz", version=9, image=image, facts="{}")
    np.savez(tmp_path / "large.npz", version=1, image=image.repeat(2, 0), facts="{}")
    found = list_goals(tmp_path)
    assert set(found) == {"whole", "cut", "text", "empty", "other", "future", "large"}
    assert isinstance(found.pop("whole"), GoalFile)
    for name, error in found.items():
        assert isinstance(error, InputError)
        assert f"{name}.npz" in str(error)
    assert "version 9, this program reads version 1" in str(found["future"])
    assert "(96, 48, 3)" in str(found["large"])
    with pytest.raises(InputError, match="take it with ptp goal capture none"):
        find_goal(tmp_path, "none")


class Table:
    """Stands where camera and arm are."""

    def __init__(self, graph):
        self.graph = graph
        self.observations = graph.publisher(Observation, OBSERVATION, STREAM)
        self.images = graph.publisher(Image, IMAGE_RAW, SENSOR)
        self.arms = graph.publisher(ArmState, ARM_STATE, KEPT)
        self.seq = 0

    def show(self, pixels, age=0.0):
        """One frame, RGB uint8 (96, 96, 3), taken ``age`` s ago."""
        nanoseconds = self.graph.client.get_clock().now().nanoseconds - int(age * 1e9)
        stamp = Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
        self.seq += 1
        small = array_to_image(crop_and_resize(pixels, 48), stamp, "camera_optical")
        self.images.publish(array_to_image(pixels, stamp, "camera_optical"))
        message = Observation(header=small.header, seq=self.seq, images=[small])
        self.observations.publish(message)


@pytest.fixture
def setting(graph):
    camera = graph.add(CameraClient(context=graph.context))
    return camera, Table(graph)


def plain_image(level=120):
    noise = np.random.default_rng(level).integers(-3, 4, (96, 96, 3))
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def test_the_image_after_the_person_is_ready_becomes_the_goal(setting):
    camera, table = setting
    table.arms.publish(ArmState(joint_names=["j0"], joint_positions=[0.5], gripper=-1.0))
    before, wished = plain_image(90), plain_image(140)
    table.show(before)

    def ready():
        table.show(wished)
        table.graph.wait(lambda: camera.observation.seq == 2, "it")
        table.graph.client.executor.create_task(lambda: table.show(wished))

    goal = capture_goal(camera, "note", ready)
    assert np.array_equal(goal.image, crop_and_resize(wished, 48))
    assert np.array_equal(goal.camera_image, wished)
    assert goal.facts["observation"] == 3 and goal.note == "note"
    assert goal.facts["joints"] == {"j0": 0.5}
    assert cv2.PSNR(goal.camera_image, wished) > 100


@pytest.mark.parametrize(
    ("level", "age", "text"),
    [
        (0, 0.0, "not taken: the image is black"),
        (255, 0.0, "not taken: the image is over-exposed"),
        (120, 4.0, "4.0 s old: is the camera behind"),
        (120, -4.0, "-4.0 s old: is the camera behind"),
    ],
)
def test_a_bad_image_is_no_goal(setting, level, age, text):
    camera, table = setting
    table.show(plain_image())

    def ready():
        table.graph.client.executor.create_task(lambda: table.show(plain_image(level), age))

    with pytest.raises(InputError, match=text):
        capture_goal(camera, ready=ready)


def test_an_image_that_stays_the_last_one_is_no_goal(setting):
    camera, table = setting
    table.show(plain_image())
    with pytest.raises(InputError, match=r"no new observation came for 0\.2 s: is the stack"):
        capture_goal(camera, patience=0.2)
