# SPDX-License-Identifier: Apache-2.0
"""Views of an encoded data set: frames, goals by role, chunks of actions."""

import numpy as np
import pytest

from ptp_core.config import GoalRolesConfig, RelabellingConfig
from ptp_core.data.dataset_views import DatasetView
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.errors import DatasetError, InputError

LENGTHS = np.array([8, 1, 20, 3])


@pytest.fixture
def data():
    frames = int(LENGTHS.sum())
    actions = np.repeat(np.arange(frames, dtype=np.float32)[:, None], 5, axis=1)
    return EncodedDataset(np.zeros((frames, 144), np.uint16), actions, LENGTHS, "id")


def only(**kind):
    none = {"future": 0.0, "next": 0.0, "original": 0.0}
    return RelabellingConfig(**{**none, **kind})


def rng():
    return np.random.default_rng(0)


def test_frames_have_the_room_that_was_asked_for(data):
    for room, expected in (
        (0, range(32)),
        (1, [*range(7), *range(9, 28), 29, 30]),
        (5, [*range(3), *range(9, 24)]),
    ):
        view = DatasetView(data, room=room)
        assert len(view) == len(expected)
        assert set(view.draw(3000, rng())) == set(expected)
    with pytest.raises(DatasetError, match="no frame has 20 frames after it"):
        DatasetView(data, room=20)


def test_weights_say_how_often_a_frame_is_drawn(data):
    weights = np.ones(32)
    weights[:8], weights[29:] = 3.0, 0.0
    drawn = DatasetView(data, weights=weights).draw(20_000, rng())
    assert not (drawn >= 29).any()
    # 7 frames of weight 3 and 19 of weight 1 can be drawn.
    assert (drawn < 8).mean() == pytest.approx(21 / 40, abs=0.02)
    with pytest.raises(DatasetError, match="a weight above 0"):
        DatasetView(data, weights=np.zeros(32))


def test_each_kind_of_goal_lies_where_it_says(data):
    view = DatasetView(data, room=0)
    frames = view.draw(5000, rng())
    last = view.last(frames)

    def goals(**kind):
        return view.goals(frames, only(**kind), rng())

    assert np.array_equal(goals(current=1.0), frames)
    assert np.array_equal(goals(next=1.0), np.minimum(frames + 1, last))
    assert np.array_equal(goals(final=1.0), last)
    assert np.array_equal(goals(original=1.0), last)
    future = goals(future=1.0)
    inside = frames < last
    assert (future[inside] > frames[inside]).all() and (future <= last).all()
    assert np.array_equal(future[~inside], frames[~inside])
    other = goals(random=1.0)
    assert (view.trajectory(other) != view.trajectory(frames)).all()
    assert set(other) == set(range(32))


def test_geometric_futures_are_near_and_end_with_the_trajectory(data):
    view = DatasetView(data)
    config = only(future=1.0, future_distribution="geometric", discount=0.5)
    frames = np.full(20_000, 9)
    ahead = view.goals(frames, config, rng()) - frames
    assert ahead.min() == 1 and ahead.max() <= 19
    for steps in (1, 2, 3):
        assert (ahead == steps).mean() == pytest.approx(0.5**steps, abs=0.015)
    assert (view.goals(np.full(100, 27), config, rng()) == 28).all()


def test_roles_have_probabilities_of_their_own(data):
    view = DatasetView(data)
    frames = view.draw(20_000, rng())
    roles = GoalRolesConfig.hiql()
    value = view.goals(frames, roles.value, rng())
    own = view.trajectory(value) == view.trajectory(frames)
    assert (~own).mean() == pytest.approx(0.3, abs=0.015)
    assert (value == frames).mean() == pytest.approx(0.2, abs=0.015)
    actor = view.goals(frames, roles.actor, rng())
    assert (actor > frames).all() and (actor <= view.last(frames)).all()


def test_a_single_trajectory_has_no_other_one_for_random_goals():
    alone = EncodedDataset(
        np.zeros((6, 144), np.uint16), np.zeros((6, 5), np.float32), np.array([6]), "id"
    )
    view = DatasetView(alone)
    assert set(view.goals(np.zeros(500, int), only(random=1.0), rng())) == set(range(6))


def test_chunks_repeat_the_last_action_and_say_which_are_real(data):
    view = DatasetView(data)
    actions, real = view.chunks(np.array([0, 5, 8, 29]), 6)
    assert actions.shape == (4, 6, 5) and actions.dtype == np.float32
    assert actions[..., 0].tolist() == [
        [0, 1, 2, 3, 4, 5],
        [5, 6, 7, 7, 7, 7],
        [8] * 6,
        [29, 30, 31, 31, 31, 31],
    ]
    assert real.sum(1).tolist() == [6, 3, 1, 3]
    with pytest.raises(InputError, match="a chunk of 0 actions"):
        view.chunks(np.array([0]), 0)


def test_steps_ahead_end_with_the_trajectory(data):
    view = DatasetView(data)
    assert view.ahead(np.array([0, 5, 9]), 4).tolist() == [4, 7, 13]
    assert view.ahead(np.array([0, 5]), np.array([1, 9])).tolist() == [1, 7]
