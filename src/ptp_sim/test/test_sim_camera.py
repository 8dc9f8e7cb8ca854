# SPDX-License-Identifier: Apache-2.0
"""The composed picture is what a full rendering shows, and the observation is its block mean."""

from importlib import resources

import numpy as np
import pybullet
import pytest

from ptp_sim.scene import DRAWER_Z
from ptp_sim.tasks import TASKS
from ptp_sim.world import TableWorld


@pytest.fixture(scope="module")
def world():
    world = TableWorld()
    world.reset(TASKS["A"].scene)
    yield world
    world.close()


def test_observation_is_the_block_mean_of_a_picture_twice_as_large(world):
    large = world.camera.render(96).astype(float)
    mean = large.reshape(48, 2, 48, 2, 3).mean((1, 3))
    assert np.abs(world.observe() - mean).max() <= 0.5


def test_composed_picture_equals_one_rendering_of_everything(world):
    client = pybullet.connect(pybullet.DIRECT)
    assets = resources.files("ptp_sim") / "assets"
    scene = TASKS["A"].scene
    for name in ("table", "drawer", "can", "block"):
        body = pybullet.loadURDF(
            str(assets / f"{name}.urdf"), useFixedBase=True, physicsClientId=client
        )
        if name == "drawer":
            place, yaw = (*scene.drawer_xy, DRAWER_Z), scene.drawer_yaw
        elif name == "can":
            place, yaw = (*scene.can_xy, -0.3392), 0.0
        elif name == "block":
            place, yaw = scene.block_xyz, scene.block_yaw
        else:
            continue
        turn = pybullet.getQuaternionFromEuler((0, 0, yaw))
        pybullet.resetBasePositionAndOrientation(body, place, turn, physicsClientId=client)
    whole, _ = world.camera._shoot(client, 96)
    pybullet.disconnect(client)
    composed = world.camera.render(96)
    # Below the walls' upper edge the arm is the only body that this client lacks.
    table = np.abs(composed[60:].astype(int) - whole[60:]).max(2)
    assert np.mean(table > 20) < 0.01


def test_pixels_that_move_show_the_can(world):
    before = world.observe().astype(int)
    world.reset(TASKS["A"].scene.with_(can_xy=(0.73, -0.0889)))
    after = world.observe().astype(int)
    world.reset(TASKS["A"].scene)
    changed = np.abs(after - before).max(2) > 60
    assert 20 < changed.sum() < 400


def test_picture_for_people_is_larger(world):
    assert world.camera.render(480).shape == (480, 480, 3)
