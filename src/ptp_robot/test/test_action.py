# SPDX-License-Identifier: Apache-2.0
"""Scaling of actions and the workspace box."""

import math

import numpy as np
import pytest

from ptp_robot.action import ActionScale, CartesianDelta, Workspace


def test_unit_action_is_five_centimetres_and_five_degrees():
    delta = ActionScale().to_delta(np.array([1, -1, 0.5, 1, -1], dtype=np.float32))
    assert delta == CartesianDelta(0.05, -0.05, 0.025, math.radians(5.0), -1.0)


def test_actions_outside_the_unit_box_are_clipped():
    delta = ActionScale(translation=0.1, rotation=0.2).to_delta(np.array([3, -2, 0, 9, 5.0]))
    assert delta == CartesianDelta(0.1, -0.1, 0.0, 0.2, 1.0)


def test_scaling_is_undone_by_its_inverse():
    scale = ActionScale(translation=0.03, rotation=0.1)
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 5)).astype(np.float32)
    for action in actions:
        np.testing.assert_allclose(scale.to_action(scale.to_delta(action)), action, atol=1e-7)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="not finite"):
        ActionScale().to_delta(np.array([0, 0, value, 0, 0]))
    with pytest.raises(ValueError, match="not finite"):
        CartesianDelta(0.0, 0.0, 0.0, value, 0.0)


@pytest.mark.parametrize("shape", [(4,), (6,), (1, 5), ()])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        ActionScale().to_delta(np.zeros(shape))


@pytest.mark.parametrize("value", [0.0, -0.05, math.nan])
def test_scale_must_be_positive(value):
    with pytest.raises(ValueError, match="translation"):
        ActionScale(translation=value)


def test_clipped_points_lie_in_the_box_and_inner_points_stay():
    box = Workspace()
    points = np.random.default_rng(1).uniform(-1, 1, (200, 3))
    clipped = np.array([box.clip(point) for point in points])
    assert all(box.contains(point) for point in clipped)
    inner = [point for point in clipped if box.contains(point, tolerance=-1e-6)]
    assert all((box.clip(point) == point).all() for point in inner)
    assert not box.contains([0.49, 0.0, -0.2])
    assert box.contains([0.49, 0.0, -0.2], tolerance=0.02)


def test_corners_are_the_eight_extremes():
    box = Workspace((0, 0, 0), (1, 2, 3))
    expected = {(x, y, z) for x in (0, 1) for y in (0, 2) for z in (0, 3)}
    assert {tuple(corner) for corner in box.corners().tolist()} == expected


def test_an_inverted_box_is_refused():
    with pytest.raises(ValueError, match="lower < upper"):
        Workspace((0, 0, 1), (1, 1, 0))
