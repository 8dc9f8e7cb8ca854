# SPDX-License-Identifier: Apache-2.0
"""`ptp camera` and `ptp goal` beside a camera node that looks at a recorded video."""

import cv2
import numpy as np
import pytest

from ptp_cli import main
from ptp_nodes.camera.video_file import FakeDevice
from ptp_nodes.nodes.camera_node import CameraNode
from ptp_nodes.operator.goal_files import load_goal
from ptp_ros.graph_testing import Graph, parameters

SIZE = (240, 320)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(2)
    ground = cv2.GaussianBlur(rng.integers(0, 256, (300, 400, 3), dtype=np.uint8), (0, 0), 5)
    return cv2.normalize(ground, None, 30, 220, cv2.NORM_MINMAX)


@pytest.fixture
def video(table, tmp_path):
    """Makes a video of the table from a camera that stands ``right`` pixels off."""

    def video(name, right=0):
        path = tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 60.0, SIZE[::-1])
        for number in range(4):
            frame = table[20 : 20 + SIZE[0], 40 - right : 40 - right + SIZE[1]].astype(int)
            grain = np.random.default_rng([right, number]).integers(-2, 3, frame.shape)
            writer.write(np.clip(frame + grain, 0, 255).astype(np.uint8))
        writer.release()
        return path

    return video


@pytest.fixture
def watch(ros_domain):
    """Starts a camera node on a video."""
    with Graph() as graph:

        def watch(path):
            values = {"width": 320, "height": 240, "frame_rate": 60.0, "rate": 30.0}
            options = parameters(values)
            graph.add(
                CameraNode(FakeDevice(path), context=graph.context, parameter_overrides=options)
            )

        yield watch


def test_a_goal_is_captured_listed_and_shown(watch, video, tmp_path, capfd):
    watch(video("table.avi"))
    folder = ["--folder", str(tmp_path / "goals")]
    words = ["goal", "capture", "cup_in", "--note", "cup left of the drawer", "--now", *folder]
    assert main.main(words) == 0
    path = tmp_path / "goals" / "cup_in.npz"
    assert f"reach it with goal_image:={path}" in capfd.readouterr().out
    goal = load_goal(path)
    assert goal.camera_image.shape == (240, 320, 3) and goal.facts["observation"] > 1
    assert main.main(words) == 2
    assert "replace it with --replace" in capfd.readouterr().err
    assert main.main(["goal", "list", *folder]) == 0
    listed = capfd.readouterr().out
    assert "cup left of the drawer" in listed and "1 goals" in listed
    out = tmp_path / "large.png"
    assert main.main(["goal", "show", "cup_in", "--out", str(out), *folder]) == 0
    shown = capfd.readouterr().out
    assert "320 x 240" in shown and "cup_in.png" in shown
    assert cv2.imread(str(out)).shape == (240, 320, 3)


def test_the_camera_of_the_running_stack_is_aligned(watch, video, tmp_path, capfd):
    reference, out = tmp_path / "camera.png", tmp_path / "now.png"
    words = ["camera", "align", "--reference", str(reference)]
    # The reference is taken with the camera itself, before a stack has it.
    device = ["--device", f"fake:{video('before.avi')}"]
    assert main.main([*words, *device, "--once"]) == 2
    assert "take it while the camera stands where it should" in capfd.readouterr().err
    assert main.main([*words, *device, "--save"]) == 0
    assert main.main([*words, *device, "--once"]) == 0
    assert capfd.readouterr().out.rstrip().endswith("in place")
    watch(video("after.avi", right=12))
    assert main.main([*words, "--once", "--out", str(out)]) == 1
    line = capfd.readouterr().out
    assert "right +1" in line and "turn it right" in line
    assert cv2.imread(str(out)) is not None
    assert main.main([*words, "--once", "--tolerance", "40"]) == 0


def test_without_a_stack_it_is_said_what_is_missing(ros_domain, tmp_path, capfd):
    folder = ["--folder", str(tmp_path)]
    assert main.main(["goal", "capture", "cup", "--now", "--patience", "0.3", *folder]) == 2
    error = capfd.readouterr().err
    assert f"is the stack running, with this ROS_DOMAIN_ID ({ros_domain})?" in error
    assert main.main(["goal", "show", "cup", *folder]) == 2
    assert "ptp goal capture cup" in capfd.readouterr().err
    (tmp_path / "broken.npz").write_text("x")
    assert main.main(["goal", "list", *folder]) == 1
    assert "cannot be read as a goal" in capfd.readouterr().out
    assert not (tmp_path / "cup.npz").exists()


def test_controls_are_listed(video, capfd):
    assert main.main(["camera", "controls", f"fake:{video('table.avi')}"]) == 0
    assert "exposure_time_absolute              250  3 to 2047" in capfd.readouterr().out
    assert main.main(["camera", "controls", str(video("table.avi"))]) == 2
    assert main.main(["camera", "align", "--tolerance", "nan"]) == 2
