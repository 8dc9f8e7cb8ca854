# SPDX-License-Identifier: Apache-2.0
"""Our episodes to a data set: the same steps as live, nothing that must not be learned from."""

import json

import numpy as np
import pytest

from ptp_core.data.dataset import Dataset
from ptp_core.data.trajectory import CAMERA
from ptp_core.episodes.bag_testing import LATENT, OBSERVATION, STATE, Senders
from ptp_core.episodes.episode import TELEOP, EpisodeInfo
from ptp_core.episodes.episode_recorder import EpisodeVerdict
from ptp_core.episodes.import_bags import find_sources, import_bags, report_lines
from ptp_core.episodes.import_filter import Candidate, Selection, busy_range, duplicates, select
from ptp_core.episodes.import_plain import (
    decision_times,
    displacements,
    newest_before,
)
from ptp_core.errors import DatasetError, EpisodeError

INFO = EpisodeInfo(episode_id="e", task="A")
SHORT = Selection(min_steps=1, idle_margin=0)


@pytest.fixture
def record(make, senders):
    recorder = make()

    def record(messages, last, verdict=EpisodeVerdict.SAVE_SUCCESS, info=INFO):
        recorder.start(info)
        for topic, data in messages:
            recorder.put(topic, data)
        return recorder.finish(verdict, "operator", last_observation_seq=last)

    record.recorder = recorder
    return record


def demonstration(senders, steps, first=0, **delta):
    delta = delta or {"dx": 0.02}
    for seq in range(first, first + steps + 1):
        yield OBSERVATION, senders.observation(seq)
        yield STATE, senders.state(seq, moved=seq > first, source=TELEOP, **delta)
        yield LATENT, senders.latent(seq)


def test_an_imported_episode_equals_the_live_one_step_for_step(
    record, senders, recording_session, tmp_path
):
    messages = list(senders.episode(30))
    messages[41] = (STATE, senders.state(10, dx=-0.05, gripper=1.0))
    record(messages, 30)
    live = record.recorder.episode(0)[0]
    out = tmp_path / "data.h5"
    summary = import_bags(find_sources([recording_session.folder]), out, selection=SHORT)
    (trajectory,) = Dataset(out)
    first = trajectory.metadata.extra["first_step"]
    stop = first + len(trajectory.actions)
    assert len(trajectory.actions) > 25 and summary.steps == len(trajectory.actions)
    assert trajectory.actions.tobytes() == live.actions[first:stop].tobytes()
    for image, seq in zip(
        trajectory.images[CAMERA], live.observation_seqs[first:stop], strict=True
    ):
        assert np.array_equal(image, senders.picture(int(seq)))
    assert trajectory.rewards.tolist() == [0.0] * (len(trajectory.actions) - 1) + [
        float(stop == live.count)
    ]
    assert (trajectory.metadata.primitive, trajectory.metadata.success) == ("A", True)


def test_every_camera_what_the_robot_felt_and_the_words_are_imported(
    record, senders, recording_session, tmp_path
):
    names = tuple(f"joint_{number}" for number in range(1, 8))
    other = Senders(
        senders.definitions, cameras=("front", "wrist"), proprioception=("x",), actions=names
    )
    info = EpisodeInfo(episode_id="e", task="A", instruction="open the drawer")
    record(other.episode(20, encoded=False), 20, info=info)
    out = tmp_path / "data.h5"
    import_bags(find_sources([recording_session.folder]), out, selection=SHORT)
    (trajectory,) = Dataset(out)
    first = trajectory.metadata.extra["first_step"]
    steps = range(first, first + len(trajectory.actions))
    for number, camera in enumerate(("front", "wrist")):
        shown = [other.picture(k, number) for k in steps]
        assert np.array_equal(trajectory.images[camera], shown)
    assert np.array_equal(trajectory.proprioception, [other.numbers(k) for k in steps])
    assert np.array_equal(trajectory.actions, [other.action(k) for k in steps])
    assert [channel.name for channel in trajectory.action_channels] == list(names)
    assert [channel.name for channel in trajectory.proprioception_channels] == ["x"]
    assert trajectory.metadata.instruction == "open the drawer"
    # Another camera, or what an arm did, cannot stand beside it.
    alone = Senders(senders.definitions, cameras=("front",), proprioception=("x",), actions=names)
    record(alone.episode(20, first=200, encoded=False), 220)
    record(senders.episode(20, first=100), 120)
    summary = import_bags(find_sources([recording_session.folder]), tmp_path / "b.h5")
    reasons = [report["reason"] for report in summary.reports]
    assert "its cameras are front (48 x 48), those of episode_000000 front (" in reasons[1]
    assert "its action names are dx, dy" in reasons[2]


def test_only_what_is_labelled_as_asked_for_and_not_dropped_is_taken(
    record, senders, recording_session, tmp_path
):
    verdicts = (
        EpisodeVerdict.SAVE_SUCCESS,
        EpisodeVerdict.SAVE_FAILURE,
        EpisodeVerdict.SAVE_SUCCESS,
    )
    for number, verdict in enumerate(verdicts):
        first = 100 * number
        record(demonstration(senders, 12, first), first + 12, verdict)
    recording_session.drop(2)
    sources = find_sources([recording_session.folder])
    summary = import_bags(sources, tmp_path / "a.h5")
    assert [entry["reason"] for entry in summary.reports] == [
        "",
        "it is labelled failure: not asked for",
        "it was dropped: not asked for",
    ]
    assert len(Dataset(tmp_path / "a.h5")) == 1
    both = import_bags(sources, tmp_path / "b.h5", labels=("success", "failure"))
    assert (both.trajectories, both.episodes) == (2, 2)
    single = find_sources([recording_session.episodes / "episode_000001"])
    with pytest.raises(EpisodeError, match=r"episode_000001 .*labelled failure"):
        import_bags(single, tmp_path / "c.h5")
    assert not (tmp_path / "c.h5").exists()


def test_a_missing_observation_cuts_the_episode_in_two(
    record, senders, recording_session, tmp_path
):
    kept = [
        (topic, data)
        for number, (topic, data) in enumerate(demonstration(senders, 30))
        if number not in (3 * 15 + 2, 3 * 22)  # latent 15, picture 22
    ]
    record(kept, 30)
    summary = import_bags(
        find_sources([recording_session.folder]), tmp_path / "d.h5", selection=SHORT
    )
    (report,) = summary.reports
    assert report["refused"] == {
        "an observation, state or step is missing": 1,
        "its picture is missing": 1,
    }
    # Observation 15 is not in the chain, so there are 29 steps, two of them refused.
    assert [len(piece.actions) for piece in Dataset(tmp_path / "d.h5")] == [14, 6, 7]
    lines = report_lines(summary)
    assert lines[0].startswith("episode_000000: 27 of 29 steps, in 3 pieces")
    with pytest.raises(EpisodeError, match="of 29 steps are refused"):
        import_bags(
            find_sources([recording_session.folder]),
            tmp_path / "e.h5",
            selection=Selection(min_steps=20),
        )


def test_idle_ends_are_trimmed(record, senders, recording_session, tmp_path):
    messages = list(demonstration(senders, 5, dx=0.0))
    messages += list(demonstration(senders, 12, 5))[3:]
    messages += list(demonstration(senders, 6, 17, dx=0.0))[3:]
    record(messages, 23)
    summary = import_bags(find_sources([recording_session.folder]), tmp_path / "d.h5")
    (report,) = summary.reports
    assert (report["steps"], report["trimmed_idle"], report["kept"]) == (23, 7, 16)


def test_episodes_of_two_scales_are_not_mixed(record, senders, recording_session, tmp_path):
    record(demonstration(senders, 12), 12)
    other = EpisodeInfo(episode_id="other", translation=0.01)
    record(demonstration(senders, 12, 100), 112, info=other)
    summary = import_bags(find_sources([recording_session.folder]), tmp_path / "d.h5")
    assert summary.episodes == 1
    assert "scaled by 0.01 m" in summary.reports[1]["reason"]
    assert Dataset(tmp_path / "d.h5").description["action_scale"]["translation"] == 0.05


def test_a_damaged_bag_is_reported_and_the_others_are_imported(
    record, senders, recording_session, tmp_path
):
    for first in (0, 12):
        record(demonstration(senders, 12, first), first + 12)
    bag = recording_session.episodes / "episode_000000" / "episode_0.mcap"
    bag.write_bytes(bag.read_bytes()[:2000])
    report = tmp_path / "report.json"
    sources = find_sources([recording_session.folder])
    summary = import_bags(sources, tmp_path / "d.h5", report=report)
    assert summary.episodes == 1
    content = json.loads(report.read_text())
    assert "cannot be read as a bag" in content["reports"][0]["reason"]
    assert content["reports"][1]["accepted"] and content["steps"] == 12


def test_what_is_no_bag_and_a_file_that_exists_are_named(tmp_path):
    with pytest.raises(EpisodeError, match="no bag and no session"):
        import_bags(find_sources([tmp_path]), tmp_path / "new.h5")
    (tmp_path / "there.h5").write_text("")
    with pytest.raises(EpisodeError, match=r"there.h5 exists: choose another"):
        import_bags([], tmp_path / "there.h5")
    with pytest.raises(EpisodeError, match="nothing to import"):
        import_bags([], tmp_path / "new.h5")


def test_a_file_is_read_like_a_folder_and_damage_is_named(
    record, senders, recording_session, tmp_path
):
    record(demonstration(senders, 12), 12)
    path = tmp_path / "d.h5"
    import_bags(find_sources([recording_session.folder]), path)
    arrays = Dataset(path).load()
    assert arrays.lengths.tolist() == [12] and arrays.camera().shape == (12, 48, 48, 3)
    assert Dataset(path).indices == [0]
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DatasetError, match="truncated or not HDF5"):
        Dataset(path)
    with pytest.raises(DatasetError, match="no such folder or file"):
        Dataset(tmp_path / "nothing")


def candidate(actions, **options):
    actions = np.asarray(actions, float)
    images = np.arange(len(actions), dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(images, (len(actions), 48, 48, 3)).copy()
    return Candidate("c", {CAMERA: images}, actions, [None] * len(actions), **options)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "the action is not finite"), (1.5, "the action is outside [-1, 1]")],
)
def test_actions_that_are_nan_or_out_of_range_are_refused(value, reason):
    actions = np.full((10, 5), 0.5)
    actions[4, 2] = value
    pieces, report = select(candidate(actions), SHORT, first_index=3)
    assert [(p.index, len(p.actions)) for p in pieces] == [(3, 4), (4, 5)]
    assert report["refused"] == {reason: 1}


def test_rounding_beyond_one_is_clipped_and_nan_states_are_refused():
    actions = np.full((6, 5), 1.005)
    states = np.zeros((6, 2))
    states[0, 1] = np.nan
    pieces, report = select(candidate(actions, observations={"q": states}), SHORT, 0)
    assert pieces[0].actions.max() == 1.0 and report["refused"] == {"q is not finite": 1}
    assert pieces[0].observations["q"].shape == (5, 2)


def test_nothing_that_moves_is_no_demonstration():
    pieces, report = select(candidate(np.zeros((20, 5))), SHORT, 0)
    assert (pieces, report["reason"]) == ([], "nothing moves in it")
    closing = np.zeros((20, 5))
    closing[12:, 4] = 1.0  # only the gripper
    padded = Selection(min_steps=1, idle_margin=1)
    assert len(select(candidate(closing), padded, 0)[0][0].actions) == 3
    assert busy_range(closing, 0.02, margin=3) == (9, 16)


def test_a_single_step_is_no_piece_because_it_has_no_next_picture():
    actions = np.full((4, 5), 0.5)
    actions[1] = np.nan
    pieces, report = select(candidate(actions), SHORT, 0)
    assert [len(piece.actions) for piece in pieces] == [2] and report["too_short"] == 1


def test_frozen_pictures_are_counted():
    images = candidate(np.zeros((5, 5))).images[CAMERA]
    images[3] = images[2]
    assert duplicates(images) == 1 and duplicates(images[:1]) == 0


def test_a_picture_of_the_future_is_never_taken():
    stamps = np.array([0.0, 0.1, 0.2])
    times = np.array([-0.01, 0.0, 0.099, 0.1, 5.0])
    assert newest_before(stamps, times).tolist() == [-1, 0, 0, 1, 2]


def test_velocities_become_the_motion_of_each_period():
    stamps = np.array([0.0, 0.1, 0.2, 0.9])
    velocities = np.array([[1.0], [2.0], [3.0], [4.0]])
    times = decision_times(stamps, rate=10.0)
    assert times == pytest.approx(np.arange(10) / 10)
    moved = displacements(stamps, velocities, times, timeout=0.25)[:, 0]
    # The third holds for 0.25 s, then the arm is told nothing.
    assert moved == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.15, 0, 0, 0, 0])
    own = decision_times(stamps[:3], rate=0.0)
    assert displacements(stamps[:3], velocities[:3], own, 1.0)[:, 0] == pytest.approx(
        [0.1, 0.2, 0.3]
    )
    assert len(decision_times(stamps[:1], 10.0)) == 0
