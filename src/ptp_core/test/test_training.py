# SPDX-License-Identifier: Apache-2.0
"""The three stages end to end on the toy environment: budgets, resuming, interruption."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ptp_core.agents.registry import build_agent
from ptp_core.config import (
    ChunkedPolicyConfig,
    DataConfig,
    DiffusionConfig,
    GapConfig,
    GeneratedGoalsConfig,
    GoalClassifierConfig,
    IQLConfig,
    SingleLegsConfig,
    SubgoalGeneratorConfig,
    ToleranceConfig,
    TrainConfig,
    VQVAEConfig,
)
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.coverage import SceneCoverage, write_report
from ptp_core.data.dataset import Dataset
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.trajectory import Metadata, Segment
from ptp_core.errors import CheckpointError, ConfigError, DatasetError, InputError
from ptp_core.training.checkpoint import load_checkpoint
from ptp_core.training.pretraining import pretrain, settle
from ptp_core.training.scalar_log import read_scalars
from ptp_core.training.stage import (
    Budget,
    StageState,
    encoded_fingerprint,
    run_stage,
)
from ptp_core.training.subgoal_stage import sample_windows
from ptp_core.training.vqvae_stage import train_vqvae

CONFIG = TrainConfig(
    device="cpu",
    log_every=5,
    data=DataConfig(env="ptp_core.toy_env:make_env", trajectories=10, steps=75, num_envs=1),
    vqvae=VQVAEConfig(
        hidden_channels=16,
        residual_channels=8,
        residual_blocks=1,
        resampling="pixel_shuffle",
        codebook_update="ema",
        revive_after=10,
        reconstruction_weighting="foreground",
        distance_scale=2.0,
        learning_rate=2e-3,
        batch_size=16,
        steps=40,
    ),
    generators=SubgoalGeneratorConfig(hidden_channels=4, hidden_units=16, batch_size=8, steps=10),
    iql=IQLConfig(
        policy_hidden=(16,),
        q_hidden=(16,),
        value_hidden=(16,),
        batch_size=16,
        steps=10,
        reward_epsilon="auto",
    ),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Training side by side uses one thread for each; two would sum in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    collect(CONFIG.data, folder, progress=False)
    scenes = [{"x": 0.3}, {"x": 1.0}]
    cells = SceneCoverage.of_scenes({"place": {"x": 0.1}}, scenes).as_dict()
    write_report(folder, {"groups": cells})
    return folder


def weights(folder):
    loaded = load_checkpoint(folder)
    return {
        f"{name}.{key}": value
        for name in ("vqvae", "generators", "iql")
        for key, value in getattr(loaded, name).state_dict().items()
    }


WITH_CLONING = dataclasses.replace(
    CONFIG,
    chunked=ChunkedPolicyConfig(
        channels=4,
        condition_units=16,
        head=DiffusionConfig(hidden_units=16, blocks=1, sampling_steps=2),
        batch_size=16,
        steps=6,
    ),
    classifier=GoalClassifierConfig(channels=4, hidden_units=16, batch_size=16, steps=6),
)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A finished, uninterrupted training."""
    out = tmp_path_factory.mktemp("whole")
    pretrain(CONFIG, data, out, progress=False)
    return out


def test_pretraining_ends_with_a_checkpoint_whose_distances_are_settled(whole):
    checkpoint = load_checkpoint(whole / "checkpoint")
    metrics = checkpoint.metrics
    assert checkpoint.config.iql.reward_epsilon == metrics["reward_epsilon"]
    # distance_scale puts the median of frames 3 steps apart at 2.0; epsilon "auto" is that median.
    assert metrics["reward_epsilon"] == pytest.approx(2.0, abs=0.1)
    assert set(metrics["latent_distance"]) >= {"1", "2", "4", "8", "15"}
    assert metrics["generators"]["dt15/steps"] == 10
    assert metrics["coverage"]["place"]["cells"] == {"": "3:10000001"}  # of the data
    with (whole / "iql" / "scalars.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["5", "10", "10"]
    assert 0.0 < float(rows[-1]["validation/value/loss"]) < float("inf")
    assert list((whole / "iql").glob("events.out.tfevents.*"))


def test_pretraining_draws_its_curves(whole):
    picture = imread(whole / "curves.png")
    assert picture.shape == (650, 1100, 4)
    assert len(np.unique(picture.reshape(-1, 4), axis=0)) > 20


def test_a_resumed_training_equals_an_uninterrupted_one(whole, data, tmp_path):
    part = dataclasses.replace(
        CONFIG,
        generators=dataclasses.replace(CONFIG.generators, steps=4),
        iql=dataclasses.replace(CONFIG.iql, steps=4),
    )
    shutil.copytree(whole / "vqvae", tmp_path / "vqvae")
    pretrain(part, data, tmp_path, progress=False)
    expected = weights(whole / "checkpoint")
    assert not torch.equal(
        weights(tmp_path / "checkpoint")["iql.v.body.0.weight"], expected["iql.v.body.0.weight"]
    )
    pretrain(CONFIG, data, tmp_path, progress=False)
    resumed = weights(tmp_path / "checkpoint")
    assert all(torch.equal(value, expected[key]) for key, value in resumed.items())


def test_generators_and_policy_trained_side_by_side_are_those_trained_in_turn(
    whole, data, tmp_path
):
    shutil.copytree(whole / "vqvae", tmp_path / "vqvae")
    pretrain(dataclasses.replace(CONFIG, side_by_side=True), data, tmp_path, progress=False)
    expected = weights(whole / "checkpoint")
    parallel = weights(tmp_path / "checkpoint")
    assert all(torch.equal(value, expected[key]) for key, value in parallel.items())


def test_a_cloned_policy_trained_beside_the_other_stages_is_the_one_trained_in_turn(
    whole, data, tmp_path
):
    cloning = dataclasses.replace(
        WITH_CLONING,
        generators=dataclasses.replace(CONFIG.generators, levels=1),
        iql=dataclasses.replace(CONFIG.iql, steps=0),
        tolerance=ToleranceConfig(batch_size=8, steps=2),
    )
    found = []
    for beside in (False, True):
        out = tmp_path / str(beside)
        shutil.copytree(whole / "vqvae", out / "vqvae")
        config = dataclasses.replace(cloning, side_by_side=beside)
        checkpoint = load_checkpoint(pretrain(config, data, out, progress=False))
        found.append({name: checkpoint.part(name).state_dict() for name in checkpoint.parts})
    assert {"chunked", "classifier", "strict_classifier", "generators"} <= found[0].keys()
    for name, in_turn in found[0].items():
        assert all(torch.equal(value, found[1][name][key]) for key, value in in_turn.items())


def test_a_policy_may_learn_goals_as_its_generators_imagine_them(whole, data, tmp_path):
    for stage in ("vqvae", "generators", "iql"):
        shutil.copytree(whole / stage, tmp_path / stage)
    config = dataclasses.replace(
        CONFIG, imagined=GeneratedGoalsConfig(steps=4, learning_rate_decay="none")
    )
    pretrain(config, data, tmp_path, progress=False)
    before, after = weights(whole / "checkpoint"), weights(tmp_path / "checkpoint")
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"iql"}
    longer = dataclasses.replace(
        CONFIG, imagined=GeneratedGoalsConfig(steps=8, learning_rate_decay="none")
    )
    pretrain(longer, data, tmp_path, progress=False)
    resumed = weights(tmp_path / "checkpoint")
    shutil.rmtree(tmp_path / "imagined")
    pretrain(longer, data, tmp_path, progress=False)
    again = weights(tmp_path / "checkpoint")
    assert all(torch.equal(value, again[key]) for key, value in resumed.items())
    assert not all(torch.equal(value, after[key]) for key, value in resumed.items())


def test_a_diffusion_policy_and_a_classifier_of_work_are_trained_where_they_have_steps(
    whole, data, tmp_path
):
    """They join the checkpoint, resume as the other stages do, and change no other stage."""
    for stage in ("vqvae", "generators", "iql"):
        shutil.copytree(whole / stage, tmp_path / stage)
    config = WITH_CLONING
    pretrain(config, data, tmp_path, progress=False)
    once = load_checkpoint(tmp_path / "checkpoint")
    expected, found = weights(whole / "checkpoint"), weights(tmp_path / "checkpoint")
    assert all(torch.equal(value, expected[key]) for key, value in found.items())
    assert once.spec.proprioception == ("hand_x", "hand_y")
    assert 0 < once.metrics["chunked"]["validation/action_mse"] < 4
    assert 0 <= once.metrics["classifier"]["validation/accuracy"] <= 1

    for stage in ("chunked", "classifier"):
        shutil.rmtree(tmp_path / stage)
    half = dataclasses.replace(
        config,
        chunked=dataclasses.replace(config.chunked, steps=3, learning_rate_decay="none"),
        classifier=dataclasses.replace(config.classifier, steps=3, learning_rate_decay="none"),
    )
    parts = []
    for asked in (half, longer(half, 6)):
        pretrain(asked, data, tmp_path, progress=False)
    parts.append(load_checkpoint(tmp_path / "checkpoint"))
    for stage in ("chunked", "classifier"):
        shutil.rmtree(tmp_path / stage)
    pretrain(longer(half, 6), data, tmp_path, progress=False)
    parts.append(load_checkpoint(tmp_path / "checkpoint"))
    for name in ("chunked", "classifier"):
        resumed, whole_run = (made.part(name).state_dict() for made in parts)
        assert all(torch.equal(value, whole_run[key]) for key, value in resumed.items())


def test_stages_that_the_planner_of_legs_does_not_need_may_follow_later(whole, data, tmp_path):
    legs = dataclasses.replace(
        WITH_CLONING,
        generators=dataclasses.replace(CONFIG.generators, levels=1),
        iql=dataclasses.replace(CONFIG.iql, steps=0),
    )
    pretrain(legs, data, tmp_path, progress=False)
    checkpoint = load_checkpoint(tmp_path / "checkpoint")
    assert checkpoint.agent == "ptp_legs"
    assert list(checkpoint.generators) == ["dt60"] and "iql" not in checkpoint.parts
    assert "iql" not in checkpoint.metrics and not (tmp_path / "iql").exists()
    build_agent("ptp_legs", checkpoint)
    with pytest.raises(CheckpointError, match="no iql, which ptp needs"):
        build_agent("ptp", checkpoint)

    pretrain(
        dataclasses.replace(WITH_CLONING, generators=legs.generators),
        data,
        tmp_path,
        progress=False,
    )
    checkpoint = load_checkpoint(tmp_path / "checkpoint")
    build_agent("ptp_single_subgoal", checkpoint)
    with pytest.raises(InputError, match=r"needs 3 generators, .* dt60 alone: .*levels 3"):
        build_agent("ptp", checkpoint)

    pretrain(WITH_CLONING, data, tmp_path, progress=False)
    expected, found = weights(whole / "checkpoint"), weights(tmp_path / "checkpoint")
    assert all(torch.equal(value, expected[key]) for key, value in found.items())


def test_the_classifier_goes_on_with_ends_that_the_generator_shows(whole, data, tmp_path):
    """Another classifier joins the checkpoint, and what was trained before stays as it is."""
    for stage in ("vqvae", "generators", "iql"):
        shutil.copytree(whole / stage, tmp_path / stage)
    pretrain(WITH_CLONING, data, tmp_path, progress=False)
    before = load_checkpoint(tmp_path / "checkpoint").part("classifier").state_dict()
    stored = (tmp_path / "classifier" / "state.safetensors").read_bytes()
    found = []
    for steps in ((2, 4), (4,)):
        shutil.rmtree(tmp_path / "tolerance", ignore_errors=True)
        for number in steps:
            further = ToleranceConfig(batch_size=8, steps=number, learning_rate_decay="none")
            config = dataclasses.replace(WITH_CLONING, tolerance=further)
            pretrain(config, data, tmp_path, progress=False)
        checkpoint = load_checkpoint(tmp_path / "checkpoint")
        found.append(checkpoint.part("classifier").state_dict())
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())
    assert not all(torch.equal(value, before[key]) for key, value in found[0].items())
    strict = checkpoint.part("strict_classifier").state_dict()
    assert all(torch.equal(value, before[key]) for key, value in strict.items())
    assert 0 <= checkpoint.metrics["tolerance"]["validation/accuracy"] <= 1
    assert (tmp_path / "classifier" / "state.safetensors").read_bytes() == stored


@pytest.mark.parametrize(
    "section",
    [{"tolerance": ToleranceConfig(steps=1)}, {"single_legs": SingleLegsConfig(steps=1)}],
)
def test_tolerance_and_single_legs_need_a_classifier(section):
    without, (name,) = GoalClassifierConfig(steps=0), section
    with pytest.raises(ConfigError, match=rf"{name}\.steps needs the goal classifier"):
        dataclasses.replace(CONFIG, classifier=without, **section)


def test_what_single_legs_do_is_learned_from_the_same_data(whole, data, tmp_path):
    """It joins the checkpoint, and an interrupted training ends as an uninterrupted one."""
    for stage in ("vqvae", "generators", "iql"):
        shutil.copytree(whole / stage, tmp_path / stage)
    found = []
    for steps in ((2, 4), (4,)):
        shutil.rmtree(tmp_path / "single_legs", ignore_errors=True)
        for number in steps:
            further = SingleLegsConfig(
                channels=4, hidden_units=16, batch_size=8, steps=number, learning_rate_decay="none"
            )
            config = dataclasses.replace(WITH_CLONING, single_legs=further)
            pretrain(config, data, tmp_path, progress=False)
        checkpoint = load_checkpoint(tmp_path / "checkpoint")
        found.append(checkpoint.part("single_legs").state_dict())
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())
    assert 0 <= checkpoint.metrics["single_legs"]["validation/accuracy"] <= 1
    assert build_agent("ptp_legs", checkpoint).planner.single is checkpoint.part("single_legs")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imagined": GeneratedGoalsConfig(steps=1)}, "imagined.steps needs IQL"),
        ({"classifier": GoalClassifierConfig(steps=0)}, "no policy to act with"),
    ],
)
def test_leaving_out_iql_needs_another_policy(changes, message):
    without = dataclasses.replace(CONFIG.iql, steps=0)
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(WITH_CLONING, iql=without, **changes)


def longer(config, steps):
    return dataclasses.replace(
        config,
        chunked=dataclasses.replace(config.chunked, steps=steps),
        classifier=dataclasses.replace(config.classifier, steps=steps),
    )


def test_an_error_of_the_policy_lets_the_generators_beside_it_save(
    whole, data, tmp_path, monkeypatch
):
    def fail(*_, **__):
        deadline = time.monotonic() + 60
        scalars = tmp_path / "generators" / "dt60" / "scalars.csv"
        while not scalars.exists() or len(scalars.read_text().splitlines()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        raise ValueError("out of luck")

    monkeypatch.setattr("ptp_core.training.pretraining.train_iql", fail)
    shutil.copytree(whole / "vqvae", tmp_path / "vqvae")
    endless = dataclasses.replace(CONFIG.generators, steps=10**7)
    config = dataclasses.replace(CONFIG, side_by_side=True, generators=endless)
    with pytest.raises(ValueError, match="out of luck"):
        pretrain(config, data, tmp_path, progress=False)
    assert (tmp_path / "generators" / "dt60" / "state.safetensors").exists()


@pytest.mark.parametrize("recoloured", [0.0, 0.5])
def test_a_resumed_encoder_equals_an_uninterrupted_one(data, tmp_path, recoloured):
    """The EMA counters, the revival of unused codes and the warm-up go on where they were."""
    images = Dataset(data).load().camera()

    def train(name, steps):
        changes = {"steps": steps, "quantise_after": 10, "recoloured": recoloured}
        config = dataclasses.replace(CONFIG, vqvae=dataclasses.replace(CONFIG.vqvae, **changes))
        options = {"validation": images[:20], "device": torch.device("cpu"), "progress": False}
        network, scalars = train_vqvae(config, images, tmp_path / name, **options)
        assert ("validation/recoloured_mse" in scalars) == bool(recoloured)
        return network.state_dict()

    train("parts", 15)
    parts, expected = train("parts", 30), train("whole", 30)
    assert all(torch.equal(value, expected[key]) for key, value in parts.items())


def test_a_stage_whose_data_changed_starts_again(data, tmp_path):
    images = Dataset(data).load().camera()
    changed = 255 - images  # as many, of the same size

    def train(name, images, content):
        settings = dataclasses.replace(CONFIG.vqvae, steps=8)
        options = {"validation": images[:20], "device": torch.device("cpu"), "progress": False}
        config = dataclasses.replace(CONFIG, vqvae=settings)
        network, _ = train_vqvae(config, images, tmp_path / name, content=content, **options)
        return network.state_dict()

    train("one", images, "a")
    again, fresh = train("one", changed, "b"), train("two", changed, "b")
    assert all(torch.equal(value, fresh[key]) for key, value in again.items())
    first, other = encoded([20]), encoded([20])
    other.actions[3] = 0.5
    settings = CONFIG.iql
    assert encoded_fingerprint(settings, 0, first) != encoded_fingerprint(settings, 0, other)


def counter(steps_before_signal=None):
    """Return a stage that counts, and sends Ctrl-C to itself at a given step."""
    module = torch.nn.Linear(1, 1)
    state = StageState(
        modules={"m": module},
        optimisers={"adam": torch.optim.Adam(module.parameters(), lr=0.1)},
        seed=0,
        fingerprint={"a": 1},
    )

    def step():
        if state.step + 1 == steps_before_signal:
            os.kill(os.getpid(), signal.SIGINT)
        module(torch.ones(1, 1)).sum().backward()
        state.optimisers["adam"].step()
        return {"loss": torch.tensor(float(state.step))}

    return state, step


def test_ctrl_c_saves_and_the_next_run_goes_on(tmp_path):
    state, step = counter(steps_before_signal=7)
    with pytest.raises(KeyboardInterrupt):
        run_stage("count", tmp_path, state, step, budget=Budget(steps=20), progress=False)
    assert state.step == 7
    resumed, step = counter()
    run_stage(
        "count", tmp_path, resumed, step, budget=Budget(steps=20), progress=False, log_every=1
    )
    assert resumed.step == 20
    with (tmp_path / "scalars.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(8, 21))


def test_the_wall_clock_ends_a_stage(tmp_path):
    state, step = counter()
    budget = Budget(steps=10**9, max_minutes=0.001)
    run_stage("count", tmp_path, state, step, budget=budget, progress=False)
    assert state.seconds == pytest.approx(0.06, abs=0.05)
    assert state.step > 1


def test_a_state_of_other_settings_is_not_resumed_and_a_damaged_one_is_named(tmp_path):
    path = tmp_path / "state.safetensors"
    state, _ = counter()
    state.step = 5
    state.save(path)
    other, _ = counter()
    other.fingerprint = {"a": 2}
    assert not other.resume(path)
    assert other.step == 0
    same, _ = counter()
    assert same.resume(path)
    assert same.step == 5
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="delete it to start this stage again"):
        same.resume(path)


@pytest.mark.parametrize(
    "change", [{"step": "7"}, {"seconds": float("nan")}, {"rng": 3}, {"fingerprint": [1]}]
)
def test_a_state_whose_progress_cannot_be_is_named(tmp_path, change):
    path = tmp_path / "state.safetensors"
    state, _ = counter()
    state.save(path)
    with safe_open(path, framework="pt") as file:
        progress = json.loads(file.metadata()["stage"])
    metadata = {"stage": json.dumps({**progress, **change})}
    save_file(load_file(path), path, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"state\.safetensors: damaged"):
        state.resume(path)


def test_a_state_or_a_curve_without_end_is_not_read_whole(tmp_path):
    for name in ("state.safetensors", "scalars.csv"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**40)  # takes no room on the disk
    state, _ = counter()
    with pytest.raises(
        CheckpointError, match=r"state\.safetensors: refused .it has more than 16 G"
    ):
        state.resume(tmp_path / "state.safetensors")
    with pytest.raises(CheckpointError, match=r"scalars\.csv: damaged .*it has more than 256 MiB"):
        read_scalars(tmp_path / "scalars.csv")


def test_a_damaged_curve_is_named_and_a_row_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "scalars.csv"
    path.write_text("step,seconds,loss\n1,0.5,3.0\n2,1.0,\n3,1.")
    assert [row["step"] for row in read_scalars(path)] == ["1", "2"]
    for content in ("step,seconds\none,2\n", "step,seconds\n1,2,3\n", "loss\n1\n", "step\n\ufffe"):
        path.write_text(content, encoding="utf-16")
        with pytest.raises(CheckpointError, match=r"scalars\.csv: damaged"):
            read_scalars(path)
        path.write_text(content, encoding="utf-8")
        with pytest.raises(CheckpointError, match=r"scalars\.csv: damaged"):
            read_scalars(path)


def encoded(lengths):
    lengths = np.array(lengths, dtype=np.int64)
    frames = int(lengths.sum())
    codes = np.zeros((frames, 144), dtype=np.uint16)
    return EncodedDataset(codes, np.zeros((frames, 5), dtype=np.float32), lengths, "id")


def test_multistep_windows_keep_their_gaps_inside_one_trajectory():
    data = encoded([75, 40, 75])
    windows = sample_windows(
        data, GapConfig(minimum=10, maximum=15, unroll=3), 500, np.random.default_rng(0)
    )
    gaps = np.diff(windows, axis=1)
    assert windows.shape == (500, 4)
    assert (gaps.min(), gaps.max()) == (10, 15)
    owner = np.searchsorted(data.starts, windows, side="right")
    assert (owner == owner[:, :1]).all()
    assert set(np.unique(owner)) == {1, 2, 3}


def test_final_windows_go_from_the_first_to_the_last_frames():
    windows = (
        sample_windows(
            encoded([75, 75]),
            GapConfig(mode="final", minimum=10, maximum=9, unroll=1),
            500,
            np.random.default_rng(0),
        )
        % 75
    )
    assert (windows[:, 0].min(), windows[:, 0].max()) == (0, 9)
    assert (windows[:, 1].min(), windows[:, 1].max()) == (66, 74)


def test_windows_may_end_anywhere_after_the_work_is_done():
    """Where that is unknown or failed, among the last frames; never before a context."""
    data = encoded([75, 75, 75, 75])
    marks = ({"done": 40}, {"done": None}, {"done": 40, "success": False}, {"done": 3})
    data.metadata = [Metadata(segments=(Segment(0, 75, "", **mark),)) for mark in marks]
    gaps = GapConfig(mode="done", minimum=10, maximum=9, unroll=1)
    windows = sample_windows(data, gaps, 4000, np.random.default_rng(0))
    row, ends = windows[:, 0] // 75, windows[:, 1] % 75
    assert (row == windows[:, 1] // 75).all() and (windows[:, 0] % 75).max() == 9
    assert [ends[row == n].min() for n in range(4)] == [40, 66, 66, 10]
    assert [ends[row == n].max() for n in range(4)] == [74] * 4


def test_trajectories_too_short_for_a_generator_are_named():
    with pytest.raises(DatasetError, match="31 frames"):
        sample_windows(encoded([20]), GapConfig(unroll=3), 4, np.random.default_rng(0))


def test_auto_distances_are_settled_from_the_data_and_numbers_are_kept():
    distances = {3: np.array([1.0, 3.0, 9.0])}
    follower = dataclasses.replace(CONFIG.follower, distance_threshold="auto")
    settled = settle(dataclasses.replace(CONFIG, follower=follower), distances)
    assert (settled.iql.reward_epsilon, settled.follower.distance_threshold) == (3.0, 3.0)
    fixed = dataclasses.replace(CONFIG, iql=dataclasses.replace(CONFIG.iql, reward_epsilon=2.5))
    assert settle(fixed, distances).iql.reward_epsilon == 2.5
