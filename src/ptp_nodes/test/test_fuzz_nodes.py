# SPDX-License-Identifier: Apache-2.0
"""Mutations of what nodes are given: each is read, or refused with one of our errors."""

import array
import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sensor_msgs.msg import Image

from ptp_core.fuzzing import SECONDS, fuzz
from ptp_core.policies.live_weights import LiveWeights, WeightsUpdate
from ptp_nodes.operator.goal_files import GoalFile, load_goal, save_goal
from ptp_nodes.tools.security.sros2_policies import read_policy
from ptp_ros.image_messages import array_to_image, image_to_array, read_image

FINDS = Path(__file__).parent / "fuzz_finds"
ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.timeout(60 + 4 * float(os.environ.get(SECONDS, 0)))


def put(path, then):
    """A reader of contents from a file."""

    def read(content):
        path.write_bytes(content)
        return then(path)

    return read


def test_goals(tmp_path):
    image = np.zeros((48, 48, 3), np.uint8)
    goals = [
        GoalFile(image, None, {"note": "a"}),
        GoalFile(image, np.zeros((60, 80, 3), np.uint8), {}),
    ]
    paths = [save_goal(tmp_path, f"g{i}", goal) for i, goal in enumerate(goals)]
    contents = [path.read_bytes() for path in paths]
    fuzz(put(tmp_path / "fuzzed.npz", load_goal), contents, FINDS, "goal")


def test_images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    contents = [cv2.imencode(kind, pixels)[1].tobytes() for kind in (".png", ".jpg")]
    fuzz(put(tmp_path / "a.png", read_image), contents, FINDS, "picture")


def test_image_messages():
    stamp = Image().header.stamp
    message = array_to_image(np.zeros((4, 5, 3), np.uint8), stamp, "camera")

    def read(content):
        rng = np.random.default_rng(list(content[:8]))
        made = Image(height=message.height, width=message.width, step=message.step)
        made.encoding, made.data = message.encoding, array.array("B", content)
        for name in ("height", "width", "step"):
            if not rng.integers(3):
                setattr(made, name, int(rng.choice([0, 1, 5, 8192, 8193, 2**31, 2**32 - 1])))
        made.is_bigendian = int(rng.integers(256))
        made.encoding = str(rng.choice(["rgb8", "bgra8", "mono16", "8UC1", "16UC1", "", "bayer"]))
        pixels = image_to_array(made)
        assert pixels.shape == (made.height, made.width, 3)

    fuzz(read, [message.data.tobytes()], FINDS, "image")


def test_weights():
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2)
    update = WeightsUpdate.of(module, 1, "e" * 64)

    def read(content):
        live = LiveWeights(torch.nn.Linear(3, 2), "e" * 64)
        digest = hashlib.sha256(content).hexdigest()
        live.stage(WeightsUpdate(1, "e" * 64, digest, content))
        live.swap()
        assert all(torch.isfinite(value).all() for value in live._module.state_dict().values())

    fuzz(read, [update.content], FINDS, "weights")


def test_policies(tmp_path):
    folder = ROOT / "config" / "sros2" / "policies"
    read = put(tmp_path / "policy.xml", read_policy)
    fuzz(read, [(folder / "policy.xml").read_bytes()], FINDS, "policy")
