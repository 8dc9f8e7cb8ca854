# SPDX-License-Identifier: Apache-2.0
"""A learner over restarts: sessions, versions, what is kept on the disk."""

import numpy as np
import pytest

from ptp_core.errors import CheckpointError, InputError
from ptp_core.learning.online_learner import OnlineLearner, PracticeEpisode
from ptp_core.policies.live_weights import LiveWeights
from ptp_core.practice.learning_run import ABOUT, INPUTS, LearningRun
from ptp_core.tiny_networks import tiny_checkpoint, tiny_config
from ptp_core.training.checkpoint import load_checkpoint


@pytest.fixture
def source(tmp_path):
    """A checkpoint on the disk, in half precision as the released one."""
    tiny_checkpoint(tmp_path / "source", config=tiny_config(batch_size=8), precision="float16")
    return tmp_path / "source"


def episode(steps=12):
    rng = np.random.default_rng(steps)
    codes = rng.integers(0, 16, (steps + 1, 144)).astype(np.uint16)
    return PracticeEpisode(codes, rng.uniform(-1, 1, (steps, 5)).astype(np.float32), codes[1:])


def run_in(folder, source, publish_every=4, **settings):
    learner = OnlineLearner(load_checkpoint(source), **settings)
    return LearningRun(learner, folder, publish_every)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def learn(run, updates):
    for _ in range(updates):
        run.update()


def test_a_version_is_due_after_so_many_updates(tmp_path, source):
    run = run_in(tmp_path / "learner", source)
    assert run.begin("today") is False
    run.add([episode()])
    due = []
    for _ in range(9):
        run.update()
        due.append(run.publish_due)
        if run.publish_due:
            run.weights()
    assert due == [False, False, False, True] * 2 + [False]
    assert run.version == 2


def test_it_goes_on_after_a_restart_with_a_version_that_was_never_sent(tmp_path, source):
    run = run_in(tmp_path / "learner", source)
    run.begin("today")
    run.add([episode()])
    learn(run, 5)
    run.save()
    learn(run, 3)
    assert run.weights().version == 1  # sent, and then the process is killed
    again = run_in(tmp_path / "learner", source)
    assert again.begin("today") is True
    assert (again.learner.updates, again.episodes) == (5, 0)
    again.add([episode()])
    assert again.learner.due == 12 - 5
    assert again.publish_due  # nodes that restarted, too, get weights at once
    assert again.weights().version == 2


def test_recordings_of_another_session_are_refused(tmp_path, source):
    run_in(tmp_path / "learner", source).begin("today")
    with pytest.raises(CheckpointError, match="learned from the recordings today"):
        run_in(tmp_path / "learner", source).begin("tomorrow")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"utd_ratio": 2.0}, "utd_ratio"),
        ({"learning_rate": 1e-4}, "learning_rate"),
        ({"successes_only": True}, "learn_from"),
    ],
)
def test_other_settings_are_refused_by_name_and_the_folder_stays(tmp_path, source, changed, named):
    run = run_in(tmp_path / "learner", source)
    run.begin("today")
    run.add([episode()])
    learn(run, 3)
    run.save()
    before = contents(tmp_path / "learner")
    with pytest.raises(InputError, match=f"{named}.*the settings that it began with"):
        run_in(tmp_path / "learner", source, **changed).begin("today")
    assert contents(tmp_path / "learner") == before
    assert run_in(tmp_path / "learner", source).begin("today") is True


def test_a_folder_with_the_old_name_of_the_utd_ratio_is_continued(tmp_path, source):
    run_in(tmp_path / "learner", source).begin("today")
    path = tmp_path / "learner" / INPUTS
    path.write_text(path.read_text().replace('"utd_ratio"', '"updates_per_step"'))
    run_in(tmp_path / "learner", source).begin("today")
    with pytest.raises(InputError, match="utd_ratio"):
        run_in(tmp_path / "learner", source, utd_ratio=2.0).begin("today")


def test_a_damaged_folder_is_named(tmp_path, source):
    run_in(tmp_path / "learner", source).begin("today")
    (tmp_path / "learner" / ABOUT).write_text("{")
    with pytest.raises(CheckpointError, match=r"learner\.json: damaged"):
        run_in(tmp_path / "learner", source).begin("today")


def test_what_is_saved_is_a_checkpoint_of_the_same_encoder(tmp_path, source):
    run = run_in(tmp_path / "learner", source)
    run.begin("today")
    run.add([episode()])
    learn(run, 3)
    run.save()
    saved = load_checkpoint(tmp_path / "learner" / "checkpoint")
    original = load_checkpoint(source)
    assert saved.encoder_id == original.encoder_id
    assert saved.metrics["updates"] == 3
    learned = dict(saved.iql.named_parameters())
    changed = [
        name for name, value in original.iql.named_parameters() if (value != learned[name]).any()
    ]
    assert changed


def test_an_episode_without_usable_parts_counts_as_left_out(tmp_path, source):
    run = run_in(tmp_path / "learner", source)
    run.begin("today")
    run.add([])
    run.add([episode(steps=3), episode(steps=2)])
    assert (run.episodes, run.left_out, run.learner.due) == (2, 1, 5)


def test_its_weights_are_taken_by_networks_in_use(tmp_path, source):
    run = run_in(tmp_path / "learner", source)
    run.begin("today")
    run.add([episode()])
    learn(run, 2)
    used = load_checkpoint(source)
    live = LiveWeights(used.iql, used.encoder_id)
    assert live.stage(run.weights()) and live.swap()
    assert live.version == 1


def test_curves_are_means_since_the_last_look(tmp_path, source):
    run = run_in(tmp_path / "learner", source)
    run.begin("today")
    run.add([episode()])
    losses = [run.update()["q/loss"] for _ in range(3)]
    assert run.scalars.take()["q/loss"] == pytest.approx(sum(losses) / 3)
    assert run.scalars.take() == {}
