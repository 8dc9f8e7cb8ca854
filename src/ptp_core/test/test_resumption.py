# SPDX-License-Identifier: Apache-2.0
"""What a folder was made from is known: another input is refused by name, a failed start leaves
nothing, and what would end a training late is said before it begins."""

import dataclasses
import fcntl

import numpy as np
import pytest

from ptp_core.config import TrainConfig
from ptp_core.data.demo_file import write_file
from ptp_core.data.files import differences, keep_inputs
from ptp_core.data.trajectory import CAMERA, Trajectory, speed_of
from ptp_core.errors import CheckpointError, ConfigError, DatasetError, InputError, StorageError
from ptp_core.tiny_networks import tiny_config
from ptp_core.training.pretraining import check_trainable, pretrain
from ptp_core.training.stage import StageState

BAGS = {"source": "bags", "action_scale": {"translation": 0.05, "rotation": 0.1}}


def tiny(**changes):
    """A configuration whose stages take a moment."""
    base = tiny_config(batch_size=4)
    vqvae = dataclasses.replace(base.vqvae, steps=2)
    generators = dataclasses.replace(base.generators, steps=1)
    iql = dataclasses.replace(base.iql, steps=1)
    config = dataclasses.replace(base, vqvae=vqvae, generators=generators, iql=iql, device="cpu")
    return dataclasses.replace(config, **changes)


def demonstrations(path, speed=0.9, sign=1.0, lengths=(70, 70, 70), value=0):
    """A data set of moving squares; ``sign`` of the gripper, ``value`` of a pixel."""
    rng = np.random.default_rng(0)
    demos = []
    for index, length in enumerate(lengths):
        images = rng.integers(0, 256, (length, 48, 48, 3), dtype=np.uint8)
        images[:, 0, 0] = value
        actions = np.tile(np.float32([speed, 0, 0, 0, sign]), (length, 1))
        rewards = np.zeros(length, np.float32)
        demos.append(Trajectory(index, {CAMERA: images}, actions, rewards))
    write_file(path, BAGS, demos)
    return path


def train(config, data, out):
    return pretrain(config, data, out, progress=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    data = demonstrations(folder / "d.h5")
    train(tiny(), data, folder / "out")
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sign": -1.0}, r"data is [0-9a-f]{12}…, asked for is [0-9a-f]{12}…"),
        ({"value": 9}, r"data is "),
        ({"lengths": (70, 70, 71)}, r"data is "),
    ],
    ids=["actions", "images", "lengths"],
)
def test_other_data_are_refused_before_anything_is_trained(run, tmp_path, change, message):
    other = demonstrations(tmp_path / "other.h5", **change)
    before = (run / "out" / "vqvae" / "state.safetensors").read_bytes()
    with pytest.raises(InputError, match=message):
        train(tiny(), other, run / "out")
    assert (run / "out" / "vqvae" / "state.safetensors").read_bytes() == before


def test_another_setting_is_refused_by_its_name_and_a_longer_budget_goes_on(run):
    config = tiny()
    other = dataclasses.replace(
        config, vqvae=dataclasses.replace(config.vqvae, learning_rate=0.0123)
    )
    with pytest.raises(InputError, match=r"vqvae.learning_rate is [\d.e-]+, asked for is 0.0123"):
        train(other, run / "d.h5", run / "out")
    with pytest.raises(InputError, match="seed is 0, asked for is 7"):
        train(dataclasses.replace(config, seed=7), run / "d.h5", run / "out")
    longer = dataclasses.replace(config, vqvae=dataclasses.replace(config.vqvae, steps=3))
    train(longer, run / "d.h5", run / "out")


def test_two_processes_in_one_folder_are_refused(run):
    with open(run / "out" / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is writing here"):
            train(tiny(), run / "d.h5", run / "out")


@pytest.mark.parametrize("fault", ["no data", "no device", "slow"])
def test_a_start_that_fails_leaves_nothing(tmp_path, fault):
    data, config = tmp_path / "typo.h5", tiny()
    if fault == "no device":
        demonstrations(data)
        config = dataclasses.replace(config, device="cuda")
    if fault == "slow":
        demonstrations(data, speed=0.1)
    if fault == "no device":
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is such a device")
    with pytest.raises((DatasetError, ConfigError)):
        train(config, data, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


def check(actions, lengths, description=BAGS, config=None):
    config = config or TrainConfig()
    check_trainable(
        config, np.array(lengths), speed_of(np.float32(actions)), (1, 15), "d.h5", description
    )


def test_demonstrations_that_are_too_slow_are_told_the_scale_to_import_with():
    actions = np.tile([0.4, 0, 0, 0, -1.0], (300, 1))
    with pytest.raises(
        DatasetError, match=r"norm of 0.40 at most.*with translation: 0.025 in the"
    ):
        check(actions, [100, 100, 100])
    with pytest.raises(DatasetError, match="let the expert move faster"):
        check(actions, [100, 100, 100], {"env": "x"})


def test_one_fast_motion_is_enough_but_it_must_last_as_long_as_distances_are_measured():
    actions = np.zeros((300, 5))
    actions[10:30, 1] = 1.0
    check(actions, [100, 100, 100])
    actions[14:30, 1] = 0.0
    with pytest.raises(DatasetError, match=r"over 15 steps its actions have a mean norm of 0\.27"):
        check(actions, [100, 100, 100])


def test_motion_must_be_in_the_part_that_is_trained_on():
    actions = np.zeros((300, 5))
    actions[200:, 0] = 1.0
    with pytest.raises(DatasetError, match="moves too slowly"):
        check(actions, [100, 100, 100])


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((1, 100, 100), r"trajectory 0 has 1 step.*--min-steps 2"),
        ((100, 100, 0), r"trajectory 2 has 0 step"),
        ((15, 15, 15), r"the longest trajectory has 15 frames; distances.* 15 steps apart"),
        ((100, 100, 20), r"1 trajectories that are validated with has 20 frames, the subgoal gen"),
        ((20, 20, 100), r"2 trajectories that are trained on has 20 frames, the subgoal generat"),
        ((100,), r"1 trajectory is too few"),
    ],
)
def test_trajectories_that_are_too_short_are_named(lengths, message):
    with pytest.raises(DatasetError, match=message):
        check(np.ones((sum(lengths), 5)), lengths)


def state(**fingerprint):
    return StageState({}, {}, 0, fingerprint)


def test_a_stage_names_another_setting_and_begins_anew_after_another_stage(tmp_path):
    path = tmp_path / "stage" / "state.safetensors"
    path.parent.mkdir()
    state(config={"a": 1, "b": 2}, seed=0, encoder_id="x").save(path)
    with pytest.raises(CheckpointError, match=r"other settings: config.b is 2, asked for is 3"):
        state(config={"a": 1, "b": 3}, seed=0, encoder_id="x").resume(path)
    assert not state(config={"a": 1, "b": 2}, seed=0, encoder_id="y").resume(path)
    # What was measured on the codes of the other encoder stands in the settings.
    assert not state(config={"a": 1, "b": 3}, seed=0, encoder_id="y").resume(path)
    assert state(config={"a": 1, "b": 2}, seed=0, encoder_id="x").resume(path)


def test_a_state_that_cannot_be_read_is_not_called_damaged(tmp_path):
    path = tmp_path / "state.safetensors"
    path.mkdir()
    with pytest.raises(CheckpointError, match=r"cannot be read \(Is a directory\)") as caught:
        state().resume(path)
    assert "delete" not in str(caught.value)


def test_differences_are_named_with_both_values_and_long_lists_are_cut(tmp_path):
    assert differences({"a": {"b": 1}, "c": [1]}, {"a": {"b": 2}, "d": "x"}) == [
        "a.b is 1, asked for is 2",
        "c is [1], asked for is absent",
        "d is absent, asked for is x",
    ]
    keep_inputs(tmp_path / "inputs.json", {str(n): 0 for n in range(9)}, "cure")
    with pytest.raises(InputError, match=r"3 is 0, asked for is 1; 5 more differ: cure"):
        keep_inputs(tmp_path / "inputs.json", {str(n): 1 for n in range(9)}, "cure")
    (tmp_path / "inputs.json").write_text("[")
    with pytest.raises(InputError, match=r"inputs.json: cannot be read .*: cure"):
        keep_inputs(tmp_path / "inputs.json", {}, "cure")


def test_only_a_full_disk_is_told_to_make_room():
    assert "make room" in str(StorageError(28, "No space left on device", "f"))
    assert "make room" not in str(StorageError(30, "Read-only file system", "f"))
