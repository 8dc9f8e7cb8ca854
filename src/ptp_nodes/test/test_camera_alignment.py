# SPDX-License-Identifier: Apache-2.0
"""Where a camera stands, seen from its reference image; on images moved by known amounts."""

import threading

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image

from ptp_core.errors import InputError
from ptp_nodes.camera.camera_alignment import (
    align,
    live_images,
    look_once,
    overlay,
    read_reference,
    save_reference,
    shift_between,
    write_image,
)
from ptp_ros.image_messages import array_to_image, image_to_array, read_image
from ptp_ros.topics import IMAGE_RAW, LATCHED, SENSOR, VIEW_ALIGN

SIZE = (240, 320)  # rows, columns


@pytest.fixture(scope="module")
def world():
    """A table larger than the image: a smooth ground with boxes on it."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(0, 256, (400, 500, 3), dtype=np.uint8), (0, 0), 4)
    ground = cv2.normalize(ground, None, 20, 200, cv2.NORM_MINMAX)
    for _ in range(25):
        corner = rng.integers(0, 450, 2)
        opposite = corner + rng.integers(10, 60, 2)
        colour = [int(c) for c in rng.integers(0, 255, 3)]
        cv2.rectangle(ground, corner.tolist(), opposite.tolist(), colour, -1)
    return ground


def seen(world, right=0.0, down=0.0, turn=0.0, zoom=1.0, grain=1):
    """What a camera sees whose image lies so far off."""
    centre = (90 + SIZE[1] / 2, 80 + SIZE[0] / 2)
    matrix = cv2.getRotationMatrix2D(centre, -turn, zoom)
    matrix[:, 2] += (right, down)
    moved = cv2.warpAffine(world, matrix, world.shape[1::-1], flags=cv2.INTER_CUBIC)
    cut = moved[80 : 80 + SIZE[0], 90 : 90 + SIZE[1]].astype(float)
    noise = np.random.default_rng(grain).normal(0, 3.0, cut.shape)
    noisy = np.clip(cut + noise, 0, 255).astype(np.uint8)
    # The blocks of a JPEG stay where they are when the camera moves.
    return cv2.imdecode(cv2.imencode(".jpg", noisy)[1], cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    ("move", "advice"),
    [
        ({}, ""),
        ({"right": 6.4, "down": -3.3}, "turn it right, tilt it up"),
        ({"right": -20.0, "down": 9.0}, "turn it left, tilt it down"),
        ({"turn": 1.0}, "roll it clockwise"),
        ({"right": 2.0, "turn": -0.7, "zoom": 1.01}, "turn it right, roll it counter-clockwise"),
    ],
)
def test_the_shift_is_measured_and_the_way_back_is_told(world, move, advice):
    shift = shift_between(seen(world), seen(world, grain=2, **move))
    assert shift.right == pytest.approx(move.get("right", 0.0), abs=0.5)
    assert shift.down == pytest.approx(move.get("down", 0.0), abs=0.5)
    assert shift.turn == pytest.approx(move.get("turn", 0.0), abs=0.2)
    assert shift.zoom == pytest.approx(move.get("zoom", 1.0) - 1.0, abs=0.005)
    assert shift.is_sure
    assert shift.advice() == advice
    assert shift.within(2.0) == (not move)


def test_the_sensors_own_pattern_does_not_hold_the_image_in_place(world):
    shift = shift_between(seen(world), seen(world, right=-20.0, down=9.0))
    assert (shift.right, shift.down) == pytest.approx((-20.0, 9.0), abs=0.5)


def test_objects_that_were_moved_do_not_move_the_camera(world):
    live = seen(world, right=4.0, grain=2)
    cv2.rectangle(live, (100, 80), (190, 190), (10, 200, 10), -1)
    assert shift_between(seen(world), live).right == pytest.approx(4.0, abs=0.5)
    # The only thing with sharp edges was moved: phase correlation alone goes by that.
    smooth = cv2.GaussianBlur(world, (0, 0), 8)
    before, after = seen(smooth), seen(smooth, right=6.0, grain=2)
    cv2.circle(before, (240, 120), 14, (230, 20, 20), -1)
    cv2.circle(after, (90, 120), 14, (230, 20, 20), -1)
    shift = shift_between(before, after)
    assert (shift.right, shift.down) == pytest.approx((6.0, 0.0), abs=1.0)


def test_images_of_different_things_and_sizes_are_told(world):
    other = cv2.GaussianBlur(
        np.random.default_rng(3).integers(0, 256, (*SIZE, 3), dtype=np.uint8), (0, 0), 3
    )
    for live in (other, np.full((*SIZE, 3), 60, np.uint8)):
        shift = shift_between(seen(world), live)
        assert not shift.is_sure and not shift.within(1000.0)
        assert "too little in common" in shift.line() and shift.advice() == ""
    with pytest.raises(InputError, match="live image is 300 x 240, the reference 320 x 240"):
        shift_between(seen(world), seen(world)[:, :300])


def test_the_overlay_shows_where_the_two_differ(world):
    same = overlay(seen(world), seen(world), 120)
    moved = overlay(seen(world), seen(world, right=5.0), 120)
    assert same.dtype == np.uint8 and same.shape == moved.shape
    third = slice(2 * 124 + 4, 3 * 124)  # the difference
    middle = slice(30, 90)
    assert same[middle, third].max() == 0
    assert moved[middle, third].mean() > 10.0


class Images:
    """Live images that were given."""

    def __init__(self, *images):
        self._images = list(images)
        self.shown = []

    def next_raw_image(self, seconds):
        return self._images.pop(0) if len(self._images) > 1 else self._images[0]

    def show(self, pixels):
        self.shown.append(pixels)


def test_a_reference_is_kept_and_compared_with_until_told_to_stop(world, tmp_path):
    path, out = tmp_path / "goals" / "camera.png", tmp_path / "now.png"
    with pytest.raises(InputError, match="there is no reference image"):
        read_reference(path)
    save_reference(Images(seen(world)), path)
    assert np.array_equal(read_reference(path), seen(world))
    with pytest.raises(InputError, match="exists: replace it with --replace"):
        save_reference(Images(seen(world)), path)
    with pytest.raises(InputError, match="not taken: the image is black"):
        save_reference(Images(np.zeros((*SIZE, 3), np.uint8)), path, replace=True)
    stop, told = threading.Event(), []

    def tell(shift):
        told.append(shift)
        if shift.within(2.0):
            stop.set()

    live = Images(seen(world, right=12.0, grain=2), seen(world, right=5.0, grain=3), seen(world))
    last = align(live, path, tell, out=out, period=0.001, stop=stop)
    assert [round(s.right) for s in told] == [12, 5, 0] and last is told[-1]
    assert np.array_equal(read_image(str(out)), live.shown[-1])


def test_the_running_graph_is_looked_at_and_shown_the_overlay(graph, world, tmp_path):
    path = tmp_path / "camera.png"
    write_image(path, seen(world))
    shown = graph.collect(Image, VIEW_ALIGN, LATCHED)
    with live_images(domain=graph.context.get_domain_id()) as camera:
        publisher = graph.publisher(Image, IMAGE_RAW, SENSOR)
        live = seen(world, right=8.0, grain=2)

        def publish():
            stamp = graph.client.get_clock().now().to_msg()
            publisher.publish(array_to_image(live, stamp, "camera_optical"))

        timer = graph.client.create_timer(0.05, publish)
        shift = look_once(camera, read_reference(path))
        graph.wait(lambda: shown, "the overlay")
        timer.cancel()
    assert shift.right == pytest.approx(8.0, abs=0.5)
    assert np.array_equal(image_to_array(shown[0]), overlay(seen(world), live))
