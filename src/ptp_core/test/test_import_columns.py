# SPDX-License-Identifier: Apache-2.0
"""Data sets of others through a mapping: motion, gripper, rate, and what is refused."""

import numpy as np
import pytest

from ptp_core.config.loading import from_dict
from ptp_core.data.dataset import Dataset
from ptp_core.episodes.bag_mapping import BagMapping
from ptp_core.episodes.import_filter import Selection
from ptp_core.errors import ConfigError, DatasetError, InputError
from ptp_core.exchange.column_candidate import read_columns
from ptp_core.exchange.column_episode import ColumnEpisode
from ptp_core.exchange.import_columns import import_episodes

ROWS = 40
SMALL = Selection(min_steps=3, idle=0.0, idle_margin=0)
NAMES = ("x", "y", "z", "yaw", "gripper")


def mapping(rate=10.0, **columns):
    values = {
        "image": {"topic": "front", "size": 8},
        "columns": {"motion": ["x", "y", "z", "yaw"], **columns},
        "gripper": {"topic": "action", "value": "gripper", "open": 1.0, "closed": 0.0},
        "rate": rate,
        "translation": 0.05,
        "rotation": 0.1,
    }
    return from_dict(BagMapping, values)


def episode(action, state=None, fps=10.0, **changes):
    """An episode whose image k has the grey level k."""
    columns = {"action": action} | ({} if state is None else {"state": state})
    images = [np.full((10, 12, 3), k, np.uint8) for k in range(len(action))]
    values = {
        "name": "episode_000000",
        "length": len(action),
        "columns": columns,
        "frames": {"front": lambda: iter(images)},
        "names": {"action": NAMES, "state": NAMES},
        "task": "lift it",
        "fps": fps,
    }
    return ColumnEpisode(**{**values, **changes})


def deltas(**values):
    found = np.zeros((ROWS, 5))
    for name, value in values.items():
        found[:, NAMES.index(name)] = value
    return found


def small(pixels):
    return np.ascontiguousarray(pixels[:8, :8])


def actions(one, settings):
    return read_columns(one, settings, small).actions


def test_deltas_are_scaled_to_actions_and_the_gripper_to_its_ends():
    closing = np.where(np.arange(ROWS) < 20, 1.0, 0.0)
    found = actions(episode(deltas(x=0.5, yaw=0.2, gripper=closing)), mapping(scale=0.05))
    # 0.5 of 0.05 m are half of an action; 0.2 rad are two of 0.1 rad, before the check of range.
    assert found[:, 0] == pytest.approx(0.5) and found[:, 3] == pytest.approx(2.0)
    assert found[:20, 4] == pytest.approx(-1) and found[20:, 4] == pytest.approx(1)


def test_a_velocity_lasts_until_the_next_row():
    found = actions(episode(deltas(y=0.3), fps=30.0), mapping(rate=30.0, means="velocity"))
    assert found[:, 1] == pytest.approx(0.3 / 30 / 0.05)


def test_a_slower_rate_adds_the_motion_of_its_rows_up():
    one = episode(deltas(x=np.arange(ROWS) * 1e-4), fps=30.0)
    candidate = read_columns(one, mapping(rate=10.0), small)
    assert len(candidate.actions) == ROWS // 3
    assert candidate.actions[2, 0] == pytest.approx((6 + 7 + 8) * 1e-4 / 0.05)
    assert candidate.images["camera"][:, 0, 0, 0].tolist() == list(range(0, 39, 3))


@pytest.mark.parametrize("stride", [1, 2])
def test_poses_become_the_way_from_the_measured_one(stride):
    told, measured = deltas(x=np.arange(ROWS) * 0.01, yaw=3.1), deltas(yaw=-3.1)
    measured[:, 0] = told[:, 0] - 0.02
    settings = mapping(rate=10.0 / stride, means="pose", measured="state")
    found = actions(episode(told, measured), settings)
    assert found[:, 0] == pytest.approx((0.02 + 0.01 * (stride - 1)) / 0.05)
    # From -3.1 to 3.1 rad is a short turn backwards over half a turn.
    assert found[:, 3] == pytest.approx((6.2 - 2 * np.pi) / 0.1)


def test_poses_without_a_measured_one_are_taken_from_row_to_row():
    found = actions(episode(deltas(z=np.arange(ROWS) ** 2 * 1e-4)), mapping(means="pose"))
    assert found[0, 2] == 0
    assert found[5, 2] == pytest.approx((25 - 16) * 1e-4 / 0.05)


def test_the_columns_become_a_data_set_of_ours(tmp_path):
    one = episode(deltas(x=0.01, gripper=1.0), deltas(z=0.4), success=True)
    settings = mapping(proprioception="state")
    summary = import_episodes(
        [one], tmp_path / "d.h5", source="theirs", mapping=settings, picture=small, selection=SMALL
    )
    assert (summary.trajectories, summary.steps, summary.episodes) == (1, ROWS, 1)
    data = Dataset(tmp_path / "d.h5")
    assert data.description["source"] == "theirs"
    (trajectory,) = data
    assert trajectory.images["camera"][:, 0, 0, 0].tolist() == list(range(ROWS))
    assert trajectory.metadata.instruction == "lift it"
    assert trajectory.metadata.success is True and trajectory.rewards[-1] == 1
    assert [channel.name for channel in trajectory.proprioception_channels] == list(NAMES)
    assert trajectory.proprioception[:, 2] == pytest.approx(0.4)
    assert trajectory.action_channels[0].scale == 0.05


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"motion": ["x", "y", "z", "roll"]}, 'no dimension "roll".*x, y, z, yaw, gripper'),
        ({"motion": [0, 1, 2, 5]}, 'no dimension "5"; it has 5'),
        ({"action": "motor"}, 'no column "motor"; the data set has action'),
        ({"rate": 7.0}, "rate is 7, the data set has 10 rows a second"),
        ({"rate": 20.0}, "rate is 20"),
        ({"proprioception": "state"}, 'no column "state"'),
    ],
    ids=str,
)
def test_a_mapping_that_does_not_fit_says_what_there_is(settings, said):
    with pytest.raises(ConfigError, match=said):
        read_columns(episode(deltas()), mapping(**settings), small)


def test_a_data_set_without_a_rate_needs_a_decision_at_each_row():
    with pytest.raises(ConfigError, match="rate: 0"):
        read_columns(episode(deltas(), fps=None), mapping(), small)
    assert len(read_columns(episode(deltas(), fps=None), mapping(rate=0.0), small).actions) == ROWS


def test_a_camera_that_is_missing_is_named():
    with pytest.raises(ConfigError, match='no camera "front"; the data set has side'):
        read_columns(episode(deltas(), frames={"side": iter}), mapping(), small)


def test_mappings_of_bags_and_of_data_sets_are_told_apart():
    with pytest.raises(ConfigError, match=r"columns is missing.*there are action"):
        read_columns(episode(deltas()), BagMapping(), small)
    with pytest.raises(ConfigError, match="columns is for data sets"):
        mapping().check_for_bags()
    both = from_dict(BagMapping, {"columns": {}, "twist": {"topic": "/twist"}})
    with pytest.raises(ConfigError, match="twist is for bags"):
        both.check_for_columns("action")


def test_a_key_that_is_misspelt_is_named():
    with pytest.raises(ConfigError, match=r'"columns\.motoin"; did you mean "columns\.motion"'):
        from_dict(BagMapping, {"columns": {"motoin": [0, 1, 2, 3]}})
    with pytest.raises(ConfigError, match="four dimensions"):
        mapping(motion=[0, 1])


def test_nothing_is_written_where_nothing_is_usable(tmp_path):
    out = tmp_path / "d.h5"
    far = episode(deltas(x=1.0))  # 20 times the longest motion of a step
    with pytest.raises(DatasetError, match=r"nothing usable.*outside \[-1, 1\]"):
        import_episodes([far], out, source="s", mapping=mapping(), picture=small)
    assert list(tmp_path.iterdir()) == []
    out.write_bytes(b"mine")
    with pytest.raises(InputError, match="exists"):
        import_episodes([far], out, source="s", mapping=mapping(), picture=small)
    assert out.read_bytes() == b"mine"
