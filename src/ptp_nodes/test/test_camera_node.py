# SPDX-License-Identifier: Apache-2.0
"""The camera node on real video files: what is shown, and what is said when nothing is."""

import cv2
import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from ptp_interfaces.msg import Observation
from rcl_interfaces.msg import Log
from sensor_msgs.msg import Image

from ptp_nodes.nodes.camera_node import CameraNode
from ptp_ros.graph_testing import parameters
from ptp_ros.image_messages import crop_and_resize, image_to_array
from ptp_ros.topics import IMAGE_RAW, LATCHED, OBSERVATION, SENSOR

FRAMES = 6


@pytest.fixture(scope="module")
def images():
    """Frames that differ: a bright square wanders over a gradient. RGB."""
    ramp = np.linspace(0, 120, 160, dtype=np.uint8)
    frames = []
    for number in range(FRAMES):
        frame = np.repeat(np.tile(ramp, (120, 1))[:, :, None], 3, axis=2)
        frame[40:80, 20 * number + 10 : 20 * number + 40] = (250, 60, 20)
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def video(images, tmp_path_factory):
    """A video without losses, 30 frames a second."""
    path = tmp_path_factory.mktemp("video") / "table.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 30.0, (160, 120))
    assert writer.isOpened()
    for frame in images:
        writer.write(frame[:, :, ::-1])
    writer.release()
    return path


@pytest.fixture
def start(graph):
    def start(**values):
        options = parameters({"rate": 60.0, **values})
        return graph.add(CameraNode(context=graph.context, parameter_overrides=options))

    return start


def test_frames_are_cropped_and_area_reduced(graph, start, video, images):
    seen = graph.collect(Observation, OBSERVATION, LATCHED)
    raw = graph.collect(Image, IMAGE_RAW, SENSOR)
    start(device=str(video), crop=96, offset=[10, -5])
    graph.wait(lambda: len(seen) >= 4 and len(raw) >= 2, "images")
    expected = [crop_and_resize(p, 48, 96, (10, -5)).astype(int) for p in images]
    for message in seen:
        pixels = image_to_array(message.images[0], 48).astype(int)
        assert min(np.abs(pixels - e).mean() for e in expected) < 2.0
    numbers = [m.seq for m in seen]
    assert numbers == sorted(set(numbers))
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in seen]
    assert stamps == sorted(set(stamps))
    assert (raw[0].width, raw[0].height, raw[0].header.frame_id) == (160, 120, "camera_optical")


def test_an_image_that_freezes_is_no_news_and_one_that_moves_again_is(
    graph, start, images, tmp_path
):
    path = tmp_path / "frozen.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 30.0, (160, 120))
    for frame in [*images[:2], *images[2:3] * 24, *images[3:]]:
        writer.write(frame[:, :, ::-1])
    writer.release()
    seen, logs = graph.collect(Observation, OBSERVATION, LATCHED), graph.logs()
    start(device=str(path), frozen_after=0.3)
    logs.expect("every frame of the last 0.3 s is the same: nothing is published", Log.ERROR)
    count = len(seen)
    graph.wait(lambda: len(seen) > count, "images that move again")
    still = image_to_array(seen[count - 1].images[0], 48)
    assert (image_to_array(seen[count].images[0], 48) != still).any()


def test_a_video_that_ended_counts_as_stale_and_nothing_is_published(graph, start, video):
    seen = graph.collect(Observation, OBSERVATION, LATCHED)
    logs = graph.logs()
    start(device=str(video), loop=False, stale_after=0.2)
    logs.expect("end of the video", Log.ERROR)
    logs.expect("no new frame for 0.2 s: nothing is published", Log.ERROR)
    count = len(seen)
    assert 1 <= count <= FRAMES
    request = GetState.Request()
    assert graph.call(GetState, "camera/get_state", request).current_state.label == "active"
    assert len(seen) == count


def test_a_missing_camera_is_named_once_and_the_node_waits_for_it(graph, start):
    logs = graph.logs()
    start(device="/dev/video97", stale_after=0.1)
    logs.expect("/dev/video97 does not exist: plug the camera in", Log.ERROR)
    logs.expect("no new frame", Log.ERROR)
    answer = graph.call(GetState, "camera/get_state", GetState.Request())
    assert answer.current_state.label == "active"
    assert logs.count("does not exist") == 1


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"device": "table.avi"}, "neither a camera (number or /dev/video...) nor a video file"),
        ({"offset": [1, 2, 3]}, "offset has 3 numbers"),
    ],
)
def test_a_wrong_setting_fails_to_configure_with_its_reason(graph, start, values, text):
    logs = graph.logs()
    start(**values)
    logs.expect(text, Log.ERROR)
    answer = graph.call(GetState, "camera/get_state", GetState.Request())
    assert answer.current_state.label == "unconfigured"


def test_a_file_that_is_no_video_is_named(graph, start, tmp_path):
    path = tmp_path / "notes.avi"
    path.write_text("not a video")
    logs = graph.logs()
    start(device=str(path))
    logs.expect("not a video that can be read", Log.ERROR)


def test_a_crop_beyond_the_frame_is_named_and_the_node_lives_on(graph, start, video):
    logs = graph.logs()
    start(device=str(video), crop=200)
    logs.expect("crop of 200 pixels at offset (0, 0) does not lie within", Log.ERROR)
    answer = graph.call(GetState, "camera/get_state", GetState.Request())
    assert answer.current_state.label == "active"


def change(graph, what):
    request = ChangeState.Request(transition=Transition(id=what))
    return graph.call(ChangeState, "camera/change_state", request).success


def test_an_inactive_camera_publishes_nothing_and_can_be_activated_again(graph, start, video):
    seen = graph.collect(Observation, OBSERVATION, LATCHED)
    start(device=str(video))
    graph.wait(lambda: seen, "an image")
    assert change(graph, Transition.TRANSITION_DEACTIVATE)
    before = seen[-1].seq
    assert change(graph, Transition.TRANSITION_ACTIVATE)
    graph.wait(lambda: seen[-1].seq > before + 1, "images again")
    numbers = [m.seq for m in seen]
    assert numbers == sorted(set(numbers))


def test_a_restarted_camera_never_repeats_a_number(graph, start, video):
    seen = graph.collect(Observation, OBSERVATION, LATCHED)
    first = start(device=str(video))
    graph.wait(lambda: seen, "an image")
    graph.remove(first)
    last = seen[-1].seq
    count = len(seen)
    start(device=str(video))
    graph.wait(lambda: len(seen) > count, "an image of the second")
    assert seen[count].seq > last
