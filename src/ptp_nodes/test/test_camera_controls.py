# SPDX-License-Identifier: Apache-2.0
"""Controls are set in the order that devices want, and what does not obey is named."""

import json
import stat
import sys

import pytest

from ptp_core.errors import InputError
from ptp_nodes.camera.camera_device import Control
from ptp_nodes.camera.v4l2 import KEEP, V4l2Controls, control_settings, fix
from ptp_nodes.camera.video_file import C920, OLD_NAMES, FakeControls

ALL = {"exposure": 120, "gain": 20, "white_balance": 5000, "focus": 30}
ALL |= {"zoom": 100, "power_line": 50}
FIXED = {
    "auto_exposure": 1,
    "exposure_dynamic_framerate": 0,
    "white_balance_automatic": 0,
    "focus_automatic_continuous": 0,
    "power_line_frequency": 1,
    "exposure_time_absolute": 120,
    "gain": 20,
    "white_balance_temperature": 5000,
    "focus_absolute": 30,
    "zoom_absolute": 100,
}


@pytest.mark.parametrize("old", [False, True])
def test_everything_automatic_goes_off_before_values_are_set(old):
    controls = FakeControls(old=old)
    assert fix(controls, control_settings(**ALL)) == []
    names = OLD_NAMES if old else {}
    now = controls.read()
    assert {name: now[names.get(name, name)].value for name in FIXED} == FIXED
    # The fake refuses a value behind an automatic control, as drivers do.
    fresh = FakeControls(old=old)
    with pytest.raises(InputError, match="Input/output error"):
        fresh.write(names.get("exposure_time_absolute", "exposure_time_absolute"), 120)


def test_values_that_are_kept_are_not_written():
    controls = FakeControls()
    assert fix(controls, control_settings(exposure=100, others=["sharpness=90", ""])) == []
    written = [name for name, _ in controls.written]
    assert written[-2:] == ["exposure_time_absolute", "sharpness"]
    assert "focus_absolute" not in written and "gain" not in written
    assert controls.read()["sharpness"].value == 90


def test_what_a_device_lacks_refuses_or_ignores_is_said_and_the_rest_is_done():
    controls = FakeControls(stubborn=("focus_absolute", "auto_exposure"))
    problems = fix(controls, control_settings(**{**ALL, "gain": 400}, others=["iris_absolute=3"]))
    assert problems == [
        "gain 400 is beyond 0 to 255",
        "it has no iris_absolute",
        "auto_exposure is 3, not 1",
        "exposure_time_absolute is 250, not 120 (VIDIOC_S_EXT_CTRLS: failed: Input/output error)",
        "focus_absolute is 0, not 30",
    ]
    assert controls.read()["white_balance_temperature"].value == 5000
    assert controls.read()["gain"].value == C920["gain"].value


def test_a_control_that_reads_otherwise_is_named():
    with pytest.raises(InputError, match='"sharpness:3" does not read name=number'):
        control_settings(others=["sharpness:3"])
    assert [setting.names[0] for setting in control_settings(power_line=KEEP)] == [
        "auto_exposure",
        "exposure_dynamic_framerate",
        "white_balance_automatic",
        "focus_automatic_continuous",
    ]


# Stands in for the program v4l2-ctl, with its formats (v4l-utils 1.22); keeps state in a file.
PROGRAM = """#!{python}
import json, sys
path, device, words = {state!r}, sys.argv[2], sys.argv[3:]
if device != "/dev/video4":
    sys.exit(print("Cannot open device %s, exiting." % device, file=sys.stderr) or 255)
state = json.load(open(path))
if words == ["--list-ctrls"]:
    print("\\nUser Controls\\n")
    print("%31s %#8.8x (int)    : min=0 max=255 step=1 default=0 value=%d"
          % ("gain", 0x00980913, state["gain"]))
    print("%31s %#8.8x (bool)   : default=1 value=%d"
          % ("white_balance_automatic", 0x0098090c, state["white_balance_automatic"]))
    print("\\nCamera Controls\\n")
    print("%31s %#8.8x (menu)   : min=0 max=3 default=3 value=%d (Manual Mode)"
          % ("auto_exposure", 0x009a0901, state["auto_exposure"]))
    print("%31s %#8.8x (int)    : min=3 max=2047 step=1 default=250 value=%d flags=inactive"
          % ("exposure_time_absolute", 0x009a0902, state["exposure_time_absolute"]))
else:
    name, value = words[1].split("=")
    if name not in state:
        sys.exit(print("unknown control '%s'" % name, file=sys.stderr) or 255)
    if name == "exposure_time_absolute" and state["auto_exposure"] != 1:
        print("VIDIOC_S_EXT_CTRLS: failed: Input/output error", file=sys.stderr)
        sys.exit(print("Error setting controls: Input/output error", file=sys.stderr) or 255)
    state[name] = int(value)
    json.dump(state, open(path, "w"))
"""


@pytest.fixture
def v4l2_ctl(tmp_path, monkeypatch):
    """A program of that name; the file of its state."""
    state = tmp_path / "state.json"
    values = {"gain": 0, "white_balance_automatic": 1}
    state.write_text(json.dumps({**values, "auto_exposure": 3, "exposure_time_absolute": 250}))
    program = tmp_path / "bin" / "v4l2-ctl"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable, state=str(state)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    return state


def test_v4l2_ctl_is_understood_and_obeyed(v4l2_ctl):
    controls = V4l2Controls("/dev/video4")
    assert controls.read() == {
        "gain": Control(0, 0, 255),
        "white_balance_automatic": Control(1),
        "auto_exposure": Control(3, 0, 3),
        "exposure_time_absolute": Control(250, 3, 2047),
    }
    assert fix(controls, control_settings(exposure=100, gain=32)) == []
    assert json.loads(v4l2_ctl.read_text()) == {
        "gain": 32,
        "white_balance_automatic": 0,
        "auto_exposure": 1,
        "exposure_time_absolute": 100,
    }


def test_what_v4l2_ctl_says_of_a_failure_is_passed_on(v4l2_ctl, monkeypatch):
    controls = V4l2Controls("/dev/video4")
    with pytest.raises(InputError, match=r"^VIDIOC_S_EXT_CTRLS: failed: Input/output error$"):
        controls.write("exposure_time_absolute", 100)
    with pytest.raises(InputError, match="unknown control 'iris'"):
        controls.write("iris", 1)
    assert fix(V4l2Controls("/dev/video5"), control_settings()) == [
        "Cannot open device /dev/video5, exiting."
    ]
    monkeypatch.setenv("PATH", str(v4l2_ctl.parent))
    (problem,) = fix(controls, control_settings(exposure=100))
    assert problem.endswith("install v4l-utils")
