# SPDX-License-Identifier: Apache-2.0
"""V4L2 camera: frames through OpenCV, and controls through ``v4l2-ctl`` of v4l-utils."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ptp_core.errors import InputError
from ptp_nodes.camera.camera_device import CameraControls, Control, Format, Frame

# Kernel's name, then that of kernels before 5.15 or so.
AUTOMATIC: tuple[tuple[tuple[str, ...], int], ...] = (
    (("auto_exposure", "exposure_auto"), 1),  # 1 is manual, 3 aperture priority
    (("exposure_dynamic_framerate", "exposure_auto_priority"), 0),  # else 15 Hz in dim light
    (("white_balance_automatic", "white_balance_temperature_auto"), 0),
    (("focus_automatic_continuous", "focus_auto"), 0),
)
KEEP = -1  # a value that is left as the device has it


@dataclass(frozen=True)
class ControlSetting:
    """One control that shall have a value; ``names``: as kernels call it, the newest first."""

    names: tuple[str, ...]
    value: int
    required: bool = True  # whether a device without it is worth a word


def control_settings(
    *,
    exposure: int = KEEP,
    gain: int = KEEP,
    white_balance: int = KEEP,
    focus: int = KEEP,
    zoom: int = KEEP,
    power_line: int = KEEP,
    others: Iterable[str] = (),
) -> tuple[ControlSetting, ...]:
    """What to set, in order: automatic things off first, a value is refused while they are on.

    ``exposure`` in 0.1 ms, ``white_balance`` in K, ``power_line`` in Hz (50, 60; 0: off),
    the others in the device's units; `KEEP` leaves one alone. ``others``: "name=value".
    Raises InputError for one that reads otherwise.
    """
    values = (
        (("power_line_frequency",), {0: 0, 50: 1, 60: 2}.get(power_line, KEEP)),
        (("exposure_time_absolute", "exposure_absolute"), exposure),
        (("gain",), gain),
        (("white_balance_temperature",), white_balance),
        (("focus_absolute",), focus),
        (("zoom_absolute",), zoom),
    )
    return (
        *(ControlSetting(names, value, required=False) for names, value in AUTOMATIC),
        *(ControlSetting(names, value) for names, value in values if value != KEEP),
        *(_other(text) for text in others if text),
    )


def _other(text: str) -> ControlSetting:
    name, _, value = text.partition("=")
    try:
        return ControlSetting((name.strip(),), int(value))
    except ValueError:
        raise InputError(f'control "{text}" does not read name=number, as sharpness=128') from None


def fix(controls: CameraControls, wanted: Sequence[ControlSetting]) -> list[str]:
    """Set what differs and read it back; what the device did not do, each in a few words."""
    try:
        before = controls.read()
    except InputError as error:
        return [str(error)]
    if not before:
        return ["it has no controls: exposure, focus and white balance are its own choice"]
    problems, chosen = [], {}
    for setting in wanted:
        name = next((name for name in setting.names if name in before), None)
        if name is None:
            if setting.required:
                problems.append(f"it has no {setting.names[0]}")
        elif (why := _beyond(name, setting.value, before[name])) is not None:
            problems.append(why)
        else:
            chosen[name] = setting.value
    refusals = {}
    for name, value in chosen.items():
        try:
            controls.write(name, value)
        except InputError as error:
            refusals[name] = str(error)
    try:
        after = controls.read()
    except InputError as error:
        return [*problems, str(error)]
    for name, value in chosen.items():
        now = after[name].value if name in after else None
        if now != value:
            why = f" ({refusals[name]})" if name in refusals else ""
            problems.append(f"{name} is {now}, not {value}{why}")
    return problems


def _beyond(name: str, value: int, control: Control) -> str | None:
    low, high = control.minimum, control.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        return f"{name} {value} is beyond {low} to {high}"
    return None


PROGRAM = "v4l2-ctl"
PATIENCE = 5.0  # s for an answer of v4l2-ctl
OLDEST = 1.0  # s; a buffer that claims to be older was stamped by another clock
_CONTROL = re.compile(r"^\s*(\w+) 0x[0-9a-f]+ \(\w+\)\s*: (.*)$")
_NUMBER = re.compile(r"(\w+)=(-?\d+)")


class V4l2Device:
    """A camera by number or path, best /dev/v4l/by-id/...-video-index0."""

    lasting = True

    def __init__(self, text: str) -> None:
        self.name = f"/dev/video{text}" if text.isdigit() else text

    def open(self, wanted: Format) -> V4l2Capture:
        """Ask for the format; what the device made of it is in the capture."""
        path = self.name
        if not os.path.exists(path):
            raise InputError(f"{path} does not exist: plug the camera in, or name another device")
        # By its number: OpenCV of some distributions takes no links.
        number = re.fullmatch(r"/dev/video(\d+)", os.path.realpath(path))
        target = int(number.group(1)) if number else path
        capture = cv2.VideoCapture(target, cv2.CAP_V4L2)
        if not capture.isOpened():
            raise InputError(
                f"{path} cannot be opened: is it in use, or are you not in the group video?"
            )
        # The format first: a new one resets the rest.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*wanted.pixels))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, wanted.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, wanted.height)
        capture.set(cv2.CAP_PROP_FPS, wanted.rate)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)  # the device's own bytes
        return V4l2Capture(capture, path)


class V4l2Capture:
    """An open camera."""

    def __init__(self, capture: cv2.VideoCapture, path: str) -> None:
        self._capture = capture
        self.controls = V4l2Controls(path)
        code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        self.format = Format(
            int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            code.to_bytes(4, "little").decode("ascii", "replace").strip("\0 "),
            capture.get(cv2.CAP_PROP_FPS),
        )

    def read(self) -> Frame | None:
        """Wait for the next frame."""
        good, data = self._capture.read()
        now = time.monotonic()
        if not good:
            return None
        taken = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
        return Frame(content(data, self.format), taken if 0.0 <= now - taken < OLDEST else now)

    def release(self) -> None:
        """Give the device back."""
        self._capture.release()


def content(data: np.ndarray, given: Format) -> bytes | np.ndarray:
    """JPEG bytes or RGB pixels of what OpenCV read unconverted; uint8 of any shape."""
    if data.ndim == 3 and data.shape[2] == 3:  # it converted after all
        return cv2.cvtColor(data, cv2.COLOR_BGR2RGB)
    if given.pixels == "YUYV" and data.size == 2 * given.width * given.height:
        packed = data.reshape(given.height, given.width, 2)
        return cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_YUYV)
    return data.tobytes()


class V4l2Controls:
    """Controls through v4l2-ctl."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self) -> dict[str, Control]:
        """All controls as they are now."""
        found = {}
        for line in self._run("--list-ctrls").splitlines():
            match = _CONTROL.match(line)
            if match is None:
                continue
            numbers = {key: int(value) for key, value in _NUMBER.findall(match.group(2))}
            if "value" in numbers:
                found[match.group(1)] = Control(
                    numbers["value"], numbers.get("min"), numbers.get("max")
                )
        return found

    def write(self, name: str, value: int) -> None:
        """Set one."""
        self._run("--set-ctrl", f"{name}={value}")

    def _run(self, *words: str) -> str:
        try:
            done = subprocess.run(
                [PROGRAM, "--device", self._path, *words],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                env={**os.environ, "LC_ALL": "C"},
                check=False,
            )
        except FileNotFoundError:
            raise InputError(
                f"{PROGRAM} is not installed, so exposure, focus and white balance stay as they "
                "are: install v4l-utils"
            ) from None
        except subprocess.TimeoutExpired:
            raise InputError(f"{PROGRAM} did not answer within {PATIENCE:g} s") from None
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise InputError(said[0] if said else f"{PROGRAM} failed ({done.returncode})")
        return done.stdout
