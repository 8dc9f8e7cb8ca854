# SPDX-License-Identifier: Apache-2.0
"""Conversion between sensor_msgs/Image and arrays, and crop and area resize of images."""

from __future__ import annotations

import array
from pathlib import Path

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image

from ptp_core.data.file_limits import MIB, OverBudget, check_picture_size, read_bytes
from ptp_core.errors import InputError, quoted

try:  # needed only for encodings that are not listed below (Bayer, YUV); not a Python wheel
    from cv_bridge import CvBridge
except ImportError:
    CvBridge = None

# encoding -> (channels, bytes per channel, index of R, G, B)
_ENCODINGS = {
    "rgb8": (3, 1, (0, 1, 2)),
    "bgr8": (3, 1, (2, 1, 0)),
    "rgba8": (4, 1, (0, 1, 2)),
    "bgra8": (4, 1, (2, 1, 0)),
    "8UC3": (3, 1, (2, 1, 0)),  # OpenCV's order
    "mono8": (1, 1, (0, 0, 0)),
    "8UC1": (1, 1, (0, 0, 0)),
    "mono16": (1, 2, (0, 0, 0)),
    "16UC1": (1, 2, (0, 0, 0)),
}
LARGEST_FILE = 256 * MIB  # of an image file
_LARGEST = 8192  # pixels a side; a larger number means a broken header


def image_to_array(msg: Image, size: int | None = None) -> np.ndarray:
    """Copy of the image as RGB uint8 (H, W, 3). Respects encoding, row step and byte order.

    With ``size`` the image must be ``size`` x ``size`` pixels. Raises InputError that names
    what is wrong and what is expected.
    """
    height, width = msg.height, msg.width
    if size is not None and (height, width) != (size, size):
        raise InputError(
            f"image is {width} x {height}; {size} x {size} pixels are expected: "
            "crop and resize it first"
        )
    if not (0 < height <= _LARGEST and 0 < width <= _LARGEST):
        raise InputError(f"image is {width} x {height} pixels: that is no image")
    if msg.encoding not in _ENCODINGS:
        return _by_cv_bridge(msg)
    channels, depth, order = _ENCODINGS[msg.encoding]
    row = width * channels * depth
    if msg.step < row:
        raise InputError(
            f"image step is {msg.step} bytes; {width} pixels of {msg.encoding} need {row}"
        )
    # The last row may lack its padding.
    needed = msg.step * (height - 1) + row
    if len(msg.data) < needed:
        raise InputError(f"image has {len(msg.data)} bytes; its header says {needed}: truncated")
    flat = np.frombuffer(msg.data, dtype=np.uint8)
    rows = np.lib.stride_tricks.as_strided(flat, (height, row), (msg.step, 1), writeable=False)
    if depth == 2:
        kind = ">u2" if msg.is_bigendian else "<u2"
        rows = (np.ascontiguousarray(rows).view(kind) >> 8).astype(np.uint8)
    pixels = rows.reshape(height, width, channels)
    return np.ascontiguousarray(pixels[:, :, order])


def colour_to_array(msg: Image) -> np.ndarray:
    """Like `image_to_array`, for what an agent sees or is told: a colour image.

    Depth and grey images can be shown, but an agent of colours would take them for another
    scene. Raises InputError for those too.
    """
    if _ENCODINGS.get(msg.encoding, _ENCODINGS["rgb8"])[0] == 1:
        raise InputError(
            f"image encoding {quoted(msg.encoding)} is grey or depth; a colour image is expected: "
            "rgb8 or bgr8"
        )
    return image_to_array(msg)


def _by_cv_bridge(msg: Image) -> np.ndarray:
    if CvBridge is not None:
        try:
            return np.array(CvBridge().imgmsg_to_cv2(msg, desired_encoding="rgb8"))
        except Exception as error:
            raise InputError(
                f"image encoding {quoted(msg.encoding)}: cv_bridge cannot read it ({error})"
            ) from error
    raise InputError(
        f"image encoding {quoted(msg.encoding)} is not known; use one of {', '.join(_ENCODINGS)}"
    )


def array_to_image(pixels: np.ndarray, stamp: Time, frame_id: str) -> Image:
    """sensor_msgs/Image (rgb8) of an RGB image, uint8 (H, W, 3)."""
    pixels = check_image(pixels)
    msg = Image(height=pixels.shape[0], width=pixels.shape[1], encoding="rgb8", is_bigendian=0)
    msg.header.stamp = stamp
    msg.header.frame_id = frame_id
    msg.step = 3 * pixels.shape[1]
    # rclpy takes an array.array as it is, and would check bytes one by one.
    msg.data = array.array("B", pixels.tobytes())
    return msg


def check_image(pixels: np.ndarray) -> np.ndarray:
    """``pixels`` if it is uint8 (H, W, 3), else InputError."""
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InputError(
            f"an image is uint8 (H, W, 3) RGB, not {pixels.dtype} {tuple(pixels.shape)}"
        )
    return pixels


def crop_and_resize(
    pixels: np.ndarray, size: int, crop: int = 0, offset: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Crop a square and resize it to ``size`` x ``size`` by area averaging; RGB uint8 (H, W, 3).

    The square has ``crop`` pixels a side (0: the largest). Its centre is the image's centre plus
    ``offset`` (x right, y down, pixels). Raises InputError when it does not lie within the
    image.
    """
    height, width = check_image(pixels).shape[:2]
    side = crop or min(height, width)
    left = (width - side) // 2 + offset[0]
    top = (height - side) // 2 + offset[1]
    if left < 0 or top < 0 or left + side > width or top + side > height:
        raise InputError(
            f"crop of {side} pixels at offset {tuple(offset)} does not lie within the image "
            f"of {width} x {height}: make it smaller or move it"
        )
    square = pixels[top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)


def read_image(path: str) -> np.ndarray:
    """RGB image, uint8 (H, W, 3), from a PNG or JPEG file.

    Raises InputError when it is none, and for grey images and those of 16 bits a channel:
    depth, masks.
    """
    try:
        data = read_bytes(Path(path), LARGEST_FILE)
    except OverBudget as error:
        raise InputError(f"{path}: refused as an image ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        check_picture_size(data)
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except OverBudget as error:
        raise InputError(f"{path}: refused as an image ({error})") from error
    except (ValueError, cv2.error):
        pixels = None
    if pixels is None:
        raise InputError(f"{path}: not an image that can be read; give a PNG or JPEG file")
    if stored is None or stored.ndim != 3 or stored.dtype != np.uint8:
        kind = "grey" if stored is None or stored.ndim != 3 else f"of {stored.itemsize * 8} bits"
        raise InputError(f"{path}: its pixels are {kind}; give a colour image of 8 bits")
    return np.ascontiguousarray(pixels[:, :, ::-1])
