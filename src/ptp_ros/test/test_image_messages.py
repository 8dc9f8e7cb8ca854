# SPDX-License-Identifier: Apache-2.0
"""Images cross the graph unchanged, and what is no image is refused with its reason."""

import array

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image

from ptp_core.errors import InputError
from ptp_ros.image_messages import (
    array_to_image,
    colour_to_array,
    crop_and_resize,
    image_to_array,
    read_image,
)


@pytest.fixture
def image():
    return np.random.default_rng(3).integers(0, 256, (6, 4, 3), dtype=np.uint8)


def message(pixels, encoding, step=None, big_endian=0):
    raw = pixels.reshape(pixels.shape[0], -1).view(np.uint8)
    step = step or raw.shape[1]
    padded = np.full((raw.shape[0], step), 7, np.uint8)
    padded[:, : raw.shape[1]] = raw
    return Image(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        step=step,
        is_bigendian=big_endian,
        data=array.array("B", padded.tobytes()),
    )


def test_an_image_survives_the_round_trip(image):
    msg = array_to_image(image, Time(sec=3, nanosec=4), "camera_optical")
    assert (msg.encoding, msg.step, msg.header.frame_id) == ("rgb8", 12, "camera_optical")
    assert np.array_equal(image_to_array(msg), image)


@pytest.mark.parametrize("step", [None, 19])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "8UC3"])
def test_colour_encodings_and_row_padding_are_respected(image, encoding, step):
    stored = image[:, :, ::-1] if encoding in ("bgr8", "bgra8", "8UC3") else image
    if encoding in ("rgba8", "bgra8"):
        stored = np.dstack([stored, np.full(stored.shape[:2], 9, np.uint8)])
    msg = message(np.ascontiguousarray(stored), encoding, step)
    assert np.array_equal(image_to_array(msg), image)


@pytest.mark.parametrize(("kind", "big_endian"), [("<u2", 0), (">u2", 1)])
def test_sixteen_bit_grey_follows_the_byte_order(kind, big_endian):
    grey = np.array([[0x1234, 0xFF00]], dtype=kind)
    pixels = image_to_array(message(grey, "mono16", big_endian=big_endian))
    assert pixels[0, :, 0].tolist() == [0x12, 0xFF]
    assert (pixels == pixels[:, :, :1]).all()


def test_grey_fills_all_three_channels(image):
    pixels = image_to_array(message(image[:, :, :1].copy(), "mono8"))
    assert (pixels == image[:, :, :1]).all()


def test_what_comes_back_is_a_copy(image):
    msg = array_to_image(image, Time(), "c")
    image_to_array(msg)[:] = 0
    assert np.array_equal(image_to_array(msg), image)


def break_size(msg):
    msg.width = 5


def break_encoding(msg):
    msg.encoding = "jpeg"


def break_step(msg):
    msg.step = 3


def break_data(msg):
    msg.data = msg.data[:-1]


def empty(msg):
    msg.width, msg.step = 0, 0


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (break_size, "5 x 6"),
        (break_encoding, '"jpeg" is not known; use one of rgb8'),
        (break_step, "step is 3 bytes"),
        (break_data, "truncated"),
        (empty, "no image"),
    ],
)
def test_a_broken_image_is_refused_with_its_reason(image, damage, text):
    msg = array_to_image(image, Time(), "c")
    damage(msg)
    size = 6 if damage is break_size else None
    with pytest.raises(InputError, match=text):
        image_to_array(msg, size)


def test_a_float_image_is_not_sent():
    with pytest.raises(InputError, match=r"uint8 \(H, W, 3\)"):
        array_to_image(np.zeros((4, 4, 3)), Time(), "c")


def test_crop_takes_the_square_around_the_centre_and_averages_areas():
    pixels = np.zeros((120, 200, 3), np.uint8)
    pixels[12:108, 52:148] = np.kron(
        np.random.default_rng(0).integers(0, 256, (48, 48, 3)), np.ones((2, 2, 1))
    )
    small = crop_and_resize(pixels, 48, crop=96)
    assert np.array_equal(small, pixels[12:108:2, 52:148:2])
    moved = crop_and_resize(pixels, 48, crop=96, offset=(2, -4))
    assert np.array_equal(moved[2:, :-1], small[:-2, 1:])


@pytest.mark.parametrize(
    ("side", "rounded"),
    [(480, np.rint), (240, np.rint), (192, np.rint), (96, lambda mean: np.floor(mean + 0.5))],
)
def test_area_reduction_is_the_mean_of_each_block_to_the_bit(side, rounded):
    pixels = np.random.default_rng(8).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    left, top, block = (640 - side) // 2 - 30, (480 - side) // 2, side // 48
    square = pixels[top : top + side, left : left + side].astype(np.int64)
    means = square.reshape(48, block, 48, block, 3).sum(axis=(1, 3)) / block**2
    # Blocks of odd size have no halves. They go to even; in blocks of 2 up, OpenCV's own case.
    assert (means % 1 == 0.5).any() == (block % 2 == 0)
    assert np.array_equal(
        crop_and_resize(pixels, 48, side, (-30, 0)), rounded(means).astype(np.uint8)
    )


@pytest.mark.parametrize(("crop", "offset"), [(121, (0, 0)), (96, (53, 0)), (96, (0, -13))])
def test_a_crop_beyond_the_image_is_refused(crop, offset):
    with pytest.raises(InputError, match="does not lie within the image of 200 x 120"):
        crop_and_resize(np.zeros((120, 200, 3), np.uint8), 48, crop, offset)


def test_images_come_from_files(tmp_path, image):
    cv2.imwrite(str(tmp_path / "goal.png"), image[:, :, ::-1])
    assert np.array_equal(read_image(str(tmp_path / "goal.png")), image)
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").touch()
    for name, text in [
        ("text.png", "not an image"),
        ("empty.png", "not an image"),
        ("none.png", "cannot be read"),
    ]:
        with pytest.raises(InputError, match=text):
            read_image(str(tmp_path / name))


@pytest.mark.parametrize(
    ("kind", "dtype", "text"),
    [
        ("grey", np.uint8, "its pixels are grey"),
        ("depth", np.uint16, "its pixels are grey"),
        ("colour", np.uint16, "its pixels are of 16 bits"),
    ],
)
def test_files_without_colours_of_8_bits_are_refused(tmp_path, kind, dtype, text):
    pixels = np.full((48, 48, 3) if kind == "colour" else (48, 48), 7, dtype)
    path = tmp_path / "goal.png"
    cv2.imwrite(str(path), pixels)
    with pytest.raises(InputError, match=f"{path}: {text}; give a colour image of 8 bits"):
        read_image(str(path))


def test_grey_and_depth_are_refused_where_colours_are_expected(image):
    grey = message(image[:, :, :1].copy(), "mono8")
    depth = message(image[:, :, :1].astype("<u2"), "16UC1")
    for wrong, encoding in ((grey, "mono8"), (depth, "16UC1")):
        with pytest.raises(InputError, match=f'"{encoding}" is grey or depth; a colour image'):
            colour_to_array(wrong)
    assert np.array_equal(colour_to_array(message(image, "rgb8")), image)
