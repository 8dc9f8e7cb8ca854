# SPDX-License-Identifier: Apache-2.0
"""The camera node and a camera that unplugs, forgets, disobeys, or sees nothing."""

import shutil
import threading

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from ptp_interfaces.msg import Observation
from rcl_interfaces.msg import Log
from sensor_msgs.msg import CompressedImage, Image

from ptp_core.errors import InputError
from ptp_nodes.camera.camera_device import Format, Frame
from ptp_nodes.camera.frame_source import FIRST, SETTLE, FrameSource, fault_of, make_device
from ptp_nodes.camera.v4l2 import content
from ptp_nodes.camera.video_file import FakeControls, FakeDevice
from ptp_nodes.nodes.camera_node import CameraNode
from ptp_ros.graph_testing import parameters
from ptp_ros.image_messages import crop_and_resize, image_to_array
from ptp_ros.topics import IMAGE_COMPRESSED, IMAGE_RAW, LATCHED, OBSERVATION, SENSOR

GIVEN = {"width": 160, "height": 120, "frame_rate": 120.0}
VALUES = {"exposure": 120, "gain": 20, "white_balance": 5000, "focus": 30}


def write(path, frames, rate=120.0):
    """A video without losses of RGB frames."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), rate, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame[:, :, ::-1])
    writer.release()
    return path


def scene(number):
    """A smooth image in which something wanders, so that JPEG loses little."""
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    spot = 90 * np.exp(-((x - 20 * number - 30) ** 2 + (y - 60) ** 2) / 400)
    return np.stack([60 + spot, 80 + 0.3 * x, 70 + 0.4 * y], axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    folder = tmp_path_factory.mktemp("camera")
    return write(folder / "table.avi", [scene(number) for number in range(6)])


@pytest.fixture
def start(graph):
    def start(camera=None, **values):
        options = parameters({"rate": 60.0, **GIVEN, **VALUES, **values})
        node = CameraNode(camera, context=graph.context, parameter_overrides=options)
        return graph.add(node)

    return start


def label(graph):
    return graph.call(GetState, "camera/get_state", GetState.Request()).current_state.label


def test_controls_forgotten_with_the_first_frames_and_at_each_replug_are_set_again(
    graph, start, video
):
    seen, logs = graph.collect(Observation, OBSERVATION, LATCHED), graph.logs()
    device = FakeDevice(video)
    start(device)
    graph.wait(lambda: len(seen) >= 3, "images")

    def fixed():
        controls = device.controls.read()
        return [controls[name].value for name in ("auto_exposure", "exposure_time_absolute")]

    assert fixed() == [1, 120]
    device.unplug()
    logs.expect("gives no more frames (trying again every 1 s)", Log.ERROR)
    logs.expect("no new frame for 1 s: nothing is published", Log.ERROR)
    count = len(seen)
    device.controls.power_up()
    device.plug()
    logs.expect("is there again", Log.INFO)
    graph.wait(lambda: len(seen) >= count + 3, "images after the replug")
    assert fixed() == [1, 120]
    assert device.opened == 2
    # Numbers go on: an old command stays known as old.
    numbers = [message.seq for message in seen]
    assert numbers == sorted(set(numbers)) and numbers[count] > numbers[count - 1]
    logs.expect("images are published again", Log.INFO)
    assert logs.count("does not obey") == 0
    assert label(graph) == "active"


def test_a_camera_whose_file_is_moved_away_and_back_is_found_again(graph, start, video, tmp_path):
    path = tmp_path / "plugged.avi"
    logs, seen = graph.logs(), graph.collect(Observation, OBSERVATION, LATCHED)
    start(device=f"fake:{path}")
    logs.expect(f"fake:{path} does not exist: plug the camera in", Log.ERROR)
    shutil.copy(video, tmp_path / "partial.avi")
    (tmp_path / "partial.avi").rename(path)
    graph.wait(lambda: seen, "an image")
    assert logs.count("does not exist") == 1


def test_what_the_device_does_not_obey_is_one_warning_and_stays_in_the_diagnostics(
    graph, start, video
):
    logs, seen = graph.logs(), graph.collect(Observation, OBSERVATION, LATCHED)
    health = graph.collect(DiagnosticArray, "/diagnostics", 10)
    device = FakeDevice(
        video, FakeControls(stubborn=("focus_absolute",)), gives=Format(160, 120, "YUYV", 15.0)
    )
    start(device)
    logs.expect(
        "does not obey: pixel format is YUYV, not MJPG; rate is 15 Hz, not 120 Hz; focus_absolute "
        "is 0, not 30. Images will not look as those that the networks know",
        Log.WARN,
    )
    graph.wait(lambda: seen, "images all the same")
    graph.wait(lambda: any("focus_absolute is 0" in m.status[0].message for m in health), "it")
    assert logs.count("does not obey", Log.WARN) == 1


def test_the_cameras_own_jpeg_the_image_and_the_observation_have_one_stamp(graph, start, video):
    jpegs = graph.collect(CompressedImage, IMAGE_COMPRESSED, SENSOR)
    raw = graph.collect(Image, IMAGE_RAW, SENSOR)
    seen = graph.collect(Observation, OBSERVATION, LATCHED)
    start(FakeDevice(video))

    def stamps(messages):
        return {(m.header.stamp.sec, m.header.stamp.nanosec) for m in list(messages)}

    graph.wait(lambda: stamps(jpegs) & stamps(raw) & stamps(seen), "one frame on all topics")
    stamp = (stamps(jpegs) & stamps(raw) & stamps(seen)).pop()
    jpeg, image, observation = (
        next(m for m in found if (m.header.stamp.sec, m.header.stamp.nanosec) == stamp)
        for found in (jpegs, raw, seen)
    )
    decoded = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    pixels = image_to_array(image)
    assert np.array_equal(decoded, pixels)
    assert np.array_equal(image_to_array(observation.images[0], 48), crop_and_resize(pixels, 48))
    assert jpeg.format == "rgb8; jpeg compressed bgr8"
    assert jpeg.header.frame_id == observation.header.frame_id == "camera_optical"


@pytest.mark.parametrize(
    ("level", "text"),
    [(2, "the image is black"), (255, "the image is over-exposed")],
)
def test_an_image_that_shows_nothing_is_named_and_not_published(
    graph, start, tmp_path, level, text
):
    noise = np.random.default_rng(0).integers(-2, 3, (4, 120, 160, 3))
    bad = [np.clip(level + n, 0, 255).astype(np.uint8) for n in noise]
    path = write(tmp_path / "bad.avi", [*[scene(n) for n in range(3)] * 8, *bad * 12])
    logs, seen = graph.logs(), graph.collect(Observation, OBSERVATION, LATCHED)
    start(device=str(path), loop=False, rate=30.0)
    logs.expect(text, Log.ERROR)
    assert seen
    for message in seen:
        assert fault_of(image_to_array(message.images[0], 48)) is None
    logs.expect("no new frame", Log.ERROR)
    assert logs.count(text) == 1


def test_faults_have_the_limits_that_they_were_given():
    dark = np.full((48, 48, 3), 4, np.uint8)
    assert "below 5 of 255" in fault_of(dark)
    assert fault_of(np.full((48, 48, 3), 5, np.uint8)) is None
    half = np.full((48, 48, 3), 100, np.uint8)
    half[:24] = 250
    assert fault_of(half) is None
    half[24, 0] = 250
    assert "over 50 % of it is white" in fault_of(half)
    half[:, :, 2] = 100  # yellow is a colour, not a loss
    assert fault_of(half) is None


class Damaged:
    """A camera with a bad cable: every frame lacks its end."""

    def __init__(self, video):
        self._device = FakeDevice(video)
        self.name, self.lasting = "damaged", True

    def open(self, wanted):
        capture = self._device.open(wanted)
        whole = capture.read
        capture.read = lambda: Frame(whole().data[:900], 0.0)
        return capture


def test_damaged_frames_are_named_and_counted_and_the_node_lives_on(graph, start, video):
    logs = graph.logs()
    start(Damaged(video))
    logs.expect("is damaged (900 bytes that are no whole JPEG): look at the camera's cable")
    logs.expect("no new frame", Log.ERROR)
    assert label(graph) == "active"


def test_raw_bytes_of_a_camera_become_pixels():
    yuyv = np.full((2, 4, 2), 128, np.uint8)
    yuyv[:, :, 0] = 200  # brightness; no colour
    pixels = content(yuyv, Format(4, 2, "YUYV", 30.0))
    assert (
        pixels.shape == (2, 4, 3) and np.ptp(pixels) == 0 and abs(int(pixels[0, 0, 0]) - 214) < 2
    )
    image = scene(1)
    jpeg = np.frombuffer(Frame(image, 0.0).jpeg, np.uint8)[None]
    padded = np.concatenate([jpeg, np.zeros((1, 7), np.uint8)], axis=1)
    frame = Frame(content(padded, Format(160, 120, "MJPG", 30.0)), 0.0)
    assert np.abs(frame.pixels.astype(int) - image).mean() < 2.0


def test_the_first_frames_of_a_camera_are_never_shown(video):
    """They have the exposure of before."""
    device, news = FakeDevice(video), threading.Event()
    read = []
    opened = device.open

    def counting(wanted):
        capture = opened(wanted)
        whole = capture.read

        def count():
            frame = whole()
            read.append(frame)
            if len(read) > FIRST + SETTLE + 3:
                news.set()
            return frame

        capture.read = count
        return capture

    device.open = counting
    source = FrameSource(
        device, Format(160, 120, "MJPG", 120.0), control_settings=(), report=lambda *words: None
    )
    source.start()
    assert news.wait(20.0)
    source.stop()
    assert source.newest.number == len([f for f in read[FIRST + SETTLE :] if f is not None])


def test_devices_are_told_by_their_names(video, tmp_path):
    assert make_device("2").name == "/dev/video2"
    assert make_device("/dev/v4l/by-id/usb-x-video-index0").name.endswith("index0")
    assert make_device(f"fake:{video}").lasting
    assert not make_device(str(video)).lasting
    with pytest.raises(InputError, match="name a camera by /dev/v4l/by-id"):
        make_device("C920")
