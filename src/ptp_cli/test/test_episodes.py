# SPDX-License-Identifier: Apache-2.0
"""ptp episodes and ptp import-bag as a user calls them, on real session folders."""

import json

import pytest

from ptp_bringup.share_folder import shared_root
from ptp_cli.main import main
from ptp_core.data.dataset import Dataset
from ptp_core.episodes.bag_mapping import BagMapping, ImageMapping, load_mapping
from ptp_core.episodes.bag_testing import (
    LATENT,
    OBSERVATION,
    STATE,
    STEP_RECORD,
    TOPICS,
    Senders,
)
from ptp_core.episodes.episode import TELEOP, EpisodeInfo
from ptp_core.episodes.episode_recorder import EpisodeRecorder, EpisodeVerdict, RecorderLimits
from ptp_core.episodes.message_definitions import Definitions
from ptp_core.episodes.session_store import Session
from ptp_core.errors import InputError


def ptp(*arguments):
    """Run a command line; return its exit status."""
    return main([str(argument) for argument in arguments])


STEPS = 20
TRAINING = """
threads: 1
data: {env: "ptp_core.toy_env:make_env", trajectories: 10, steps: 20, num_envs: 1}
vqvae:
  {codebook_size: 32, hidden_channels: 8, stem_channels: 4, residual_channels: 4,
   residual_blocks: 1, batch_size: 8, steps: 3}
generators:
  hidden_channels: 4
  hidden_units: 16
  steps: 2
  batch_size: 4
  dt15: {minimum: 2, maximum: 3, unroll: 2}
  dt30: {minimum: 4, maximum: 5, unroll: 2}
  dt60: {mode: final, minimum: 3, maximum: 3, unroll: 1}
iql: {policy_hidden: [16], q_hidden: [16], value_hidden: [16], batch_size: 8, steps: 3}
planner: {samples: 4, iterations: 1}
"""


class Recorder:
    """Records demonstrations into a session."""

    def __init__(self, folder):
        self.senders = Senders(Definitions())
        self.session = Session(folder, create={"ptp": "0.1"})
        self.recorder = EpisodeRecorder(
            self.session,
            self.senders.definitions,
            TOPICS,
            STEP_RECORD,
            limits=RecorderLimits(min_free=0),
        )
        self.seq = 0

    def send(self, steps):
        senders, first = self.senders, self.seq
        self.seq += steps
        for seq in range(first, self.seq + 1):
            state = senders.state(seq, moved=seq > first, source=TELEOP, dx=0.04)
            for topic, data in (
                (OBSERVATION, senders.observation(seq)),
                (STATE, state),
                (LATENT, senders.latent(seq)),
            ):
                self.recorder.put(topic, data)

    def episode(self, verdict=EpisodeVerdict.SAVE_SUCCESS):
        self.recorder.start(EpisodeInfo(episode_id=f"e{self.seq}", task="A"))
        self.send(STEPS)
        self.recorder.finish(verdict, "operator", last_observation_seq=self.seq)


@pytest.fixture
def recorded(tmp_path):
    recorder = Recorder(tmp_path / "session")
    for verdict in (
        EpisodeVerdict.SAVE_SUCCESS,
        EpisodeVerdict.SAVE_FAILURE,
        EpisodeVerdict.SAVE_SUCCESS,
    ):
        recorder.episode(verdict)
    yield recorder
    recorder.recorder.close()


@pytest.fixture
def folder(recorded):
    return recorded.session.folder


def test_the_list_has_a_line_for_each_episode(folder, capsys):
    assert ptp("episodes", "drop", folder, 2) == 0
    capsys.readouterr()
    assert ptp("episodes", "list", folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[1:4]] == [
        ["0", "success", "20", "operator"],
        ["1", "failure", "20", "operator"],
        ["2", "success", "20", "operator"],
    ]
    assert lines[3].endswith("(dropped)") and lines[4].startswith("3 episodes, 0 unfinished")
    assert ptp("episodes", "list", folder, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["dropped"] for row in rows] == [False, False, True]


def test_labels_and_drops_change_while_the_recorder_runs(recorded, folder, capsys):
    recorded.recorder.start(EpisodeInfo(episode_id="running"))
    recorded.send(5)
    assert ptp("episodes", "label", folder, "failure", 0, 2) == 0
    assert ptp("episodes", "drop", folder, 1) == 0
    assert ptp("episodes", "drop", folder, 1, "--undo") == 0
    assert "episode 1: taken in again" in capsys.readouterr().out
    recorded.recorder.finish(EpisodeVerdict.SAVE_SUCCESS, last_observation_seq=recorded.seq)
    entries = recorded.session.entries()
    assert [entry.label for entry in entries] == ["failure", "failure", "failure", "success"]
    assert recorded.recorder.episode(0)[0].label == 2


def test_words_are_given_afterwards_and_reach_learner_and_data_set(
    recorded, folder, tmp_path, capsys
):
    assert ptp("episodes", "label", folder, "--instruction", " open the drawer ", 0, 2) == 0
    assert 'episode 2: "open the drawer"' in capsys.readouterr().out
    assert ptp("episodes", "label", folder, "success", 1, "--instruction", "close it") == 0
    rows = [(entry.label, entry.instruction) for entry in recorded.session.entries()]
    words = ["open the drawer", "close it", "open the drawer"]
    assert rows == [("success", text) for text in words]
    for number, text in enumerate(words):
        assert recorded.recorder.episode(number)[0].info.instruction == text
    (folder / "index.json").unlink()  # it is made again from the folders
    assert ptp("import-bag", folder, "-o", tmp_path / "data.h5") == 0
    assert [found.metadata.instruction for found in Dataset(tmp_path / "data.h5")] == words
    assert (
        ptp("import-bag", folder / "episodes" / "episode_000001", "-o", tmp_path / "one.h5") == 0
    )
    assert [found.metadata.instruction for found in Dataset(tmp_path / "one.h5")] == ["close it"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("0", "--instruction", "  "), "what follows --instruction is empty"),
        (("0", "--instruction", "x" * 401), "401 characters; 400 are allowed"),
        (("0", "--instruction", "a\nb"), "several lines: say it in one"),
        (("0", "9", "--instruction", "open"), "has no episode 9"),
        (("good", "0"), 'label "good": it must be one of success, failure'),
        (("success",), "name the episodes by their numbers"),
        (("0",), 'label "0": it must be one of'),
    ],
)
def test_a_label_that_is_wrong_changes_nothing_and_is_named(folder, recorded, words, text, capsys):
    before = recorded.session.entries()
    assert ptp("episodes", "label", folder, *words) == 2
    error = capsys.readouterr().err
    assert text in error and len(error.splitlines()) == 1
    assert recorded.session.entries() == before


def test_repair_waits_for_the_recorder_and_gets_the_rest_back(recorded, folder, capsys):
    recorded.recorder.start(EpisodeInfo(episode_id="cut short"))
    recorded.send(STEPS)
    assert ptp("episodes", "repair", folder) == 2
    assert "another recorder" in capsys.readouterr().err
    recorded.recorder.finish(EpisodeVerdict.STOP, "operator", last_observation_seq=recorded.seq)
    recorded.recorder.close()
    assert ptp("episodes", "repair", folder) == 0
    assert "episode 3, 20 steps" in capsys.readouterr().out
    assert ptp("episodes", "repair", folder) == 0
    assert capsys.readouterr().out == "nothing to repair\n"


def test_stats_sum_up_and_find_a_bag_that_was_changed(recorded, folder, capsys):
    assert ptp("episodes", "stats", folder, "--json", "--check") == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["episodes"], figures["steps"]) == (3, 60)
    assert figures["labels"] == {"success": 2, "failure": 1}
    assert (figures["breaks"], figures["intervention_rate"], figures["damaged"]) == (0, 0.0, [])
    bag = recorded.session.episodes / "episode_000001" / "episode_0.mcap"
    bag.write_bytes(bag.read_bytes()[:-1] + b"x")
    assert ptp("episodes", "stats", folder, "--check") == 1
    assert "episode 1: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("label", "success", 9), "has no episode 9; it has 3"),
        (("list",), "no session of recorded episodes"),
    ],
)
def test_mistakes_are_one_line(folder, tmp_path, capsys, arguments, message):
    action, *rest = arguments
    target = folder if rest else tmp_path
    assert ptp("episodes", action, target, *rest) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_from_recordings_to_a_checkpoint(recorded, folder, tmp_path, capsys):
    for _ in range(8):
        recorded.episode()
    data, report = tmp_path / "data.h5", tmp_path / "report.json"
    assert ptp("import-bag", folder, "-o", data, "--report", report) == 0
    out = capsys.readouterr().out
    assert "episode_000001: refused: it is labelled failure" in out
    assert f"{data}: 10 trajectories, 200 steps, of 10 of 11 bags" in out
    assert json.loads(report.read_text())["steps"] == 200
    assert len(Dataset(data)) == 10
    (tmp_path / "tiny.yaml").write_text(TRAINING)
    run = tmp_path / "run"
    assert ptp("pretrain", "--config", tmp_path / "tiny.yaml", "--data", data, "--out", run) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["trajectories"], metrics["data"]["source"]) == (10, "bags")
    assert (run / "checkpoint" / "manifest.json").exists()


def test_nothing_usable_is_an_error_with_its_reason(folder, tmp_path, capsys):
    bag = folder / "episodes" / "episode_000001"
    assert ptp("import-bag", bag, "-o", tmp_path / "data.h5") == 2
    assert "nothing usable: episode_000001 is refused" in capsys.readouterr().err
    assert ptp("import-bag", bag, "-o", tmp_path / "data.h5", "--labels", "failure") == 0
    assert ptp("import-bag", bag, "-o", tmp_path / "data.h5", "--labels", "failure") == 2
    assert "data.h5 exists" in capsys.readouterr().err


def test_the_mapping_that_ships_is_read_and_says_the_defaults():
    mapping = load_mapping(shared_root() / "config" / "import" / "example.yaml")
    assert mapping.image.topic == "/camera/image_raw"
    default = BagMapping()
    assert (mapping.rate, mapping.clock, mapping.translation) == (10.0, "header", 0.05)
    assert mapping.rotation == pytest.approx(default.rotation, abs=1e-6)
    for part in ("image", "twist"):
        ours, theirs = vars(getattr(mapping, part)), vars(getattr(default, part))
        assert {**ours, "topic": ""} == {**theirs, "topic": ""}


def test_images_of_any_kind_become_48_by_48():
    import cv2
    import numpy as np

    from ptp_cli.commands.episodes import image_converter

    store = Senders().definitions.store
    pixels = np.zeros((96, 128, 3), np.uint8)
    pixels[:, 64:] = (200, 100, 50)
    stamp = store.types["builtin_interfaces/msg/Time"](sec=0, nanosec=0)
    header = store.types["std_msgs/msg/Header"](stamp=stamp, frame_id="")
    plain = store.types["sensor_msgs/msg/Image"](
        header=header,
        height=96,
        width=128,
        encoding="rgb8",
        is_bigendian=0,
        step=384,
        data=pixels.reshape(-1),
    )
    coded = cv2.imencode(".png", pixels[:, :, ::-1])[1].reshape(-1)
    packed = store.types["sensor_msgs/msg/CompressedImage"](
        header=header, format="png", data=coded
    )
    converted = image_converter(ImageMapping())
    assert converted(plain).shape == (48, 48, 3)
    assert np.array_equal(converted(plain), converted(packed))
    assert converted(plain)[10, 40].tolist() == [200, 100, 50]
    packed.data = coded[:10]
    with pytest.raises(InputError, match="cannot be read"):
        converted(packed)
