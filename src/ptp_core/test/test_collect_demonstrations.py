# SPDX-License-Identifier: Apache-2.0
"""Collection by the scripted expert: what is recorded, resuming, chains of primitives."""

import dataclasses
import hashlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ptp_core.config import DataConfig
from ptp_core.data.collect_demonstrations import collect
from ptp_core.data.dataset import Dataset
from ptp_core.data.expert_rollout import read_observation, shown_before
from ptp_core.errors import ConfigError, DatasetError, InputError
from ptp_core.process_testing import alive, wait_for
from ptp_core.toy_env import ToyEnv

TOY = DataConfig(env="ptp_core.toy_env:make_env", trajectories=6, steps=12, num_envs=1)


def run(config, out, **options):
    return collect(config, out, progress=False, **options)


def test_the_recorded_action_is_the_noisy_clipped_one_that_was_executed(tmp_path):
    run(dataclasses.replace(TOY, noise_std=0.5, steps=40), tmp_path)
    arrays = Dataset(tmp_path).load()
    assert np.abs(arrays.actions).max() == 1.0
    assert len(np.unique(arrays.actions)) > 500
    assert arrays.lengths.tolist() == [40] * 6


def test_trajectories_depend_on_the_seed_alone_not_on_workers_or_interruptions(tmp_path):
    run(TOY, tmp_path / "one")
    run(dataclasses.replace(TOY, num_envs=2), tmp_path / "two")
    first = run(TOY, tmp_path / "three", limit=4)
    second = run(TOY, tmp_path / "three")
    assert (first["new"], second["new"], second["total"]) == (4, 2, 6)
    run(dataclasses.replace(TOY, seed=1), tmp_path / "other")
    one, two, three, other = (
        Dataset(tmp_path / name).load() for name in ("one", "two", "three", "other")
    )
    for arrays in (two, three):
        assert np.array_equal(one.camera(), arrays.camera())
        assert np.array_equal(one.actions, arrays.actions)
        assert np.array_equal(one.proprioception, arrays.proprioception)
        assert one.metadata == arrays.metadata
        assert one.fingerprint == arrays.fingerprint
    assert not np.array_equal(one.actions, other.actions)


def test_repeats_show_the_scene_before_with_other_noise(tmp_path):
    run(TOY, tmp_path / "plain")
    run(dataclasses.replace(TOY, repeats=0.5), tmp_path / "repeats")
    plain, repeats = (list(Dataset(tmp_path / name)) for name in ("plain", "repeats"))
    for before, after, other in zip(repeats[::2], repeats[1::2], plain[1::2], strict=True):
        known = after.metadata
        assert known.extra["repeats"] == before.index and "repeats" not in before.metadata.extra
        assert known.extra["seed"] == before.metadata.extra["seed"] != other.metadata.extra["seed"]
        assert known.target == before.metadata.target
        assert np.array_equal(after.images["camera"][0], before.images["camera"][0])
        assert not np.array_equal(after.actions, before.actions)
    assert [a.content_hash() for a in repeats[::2]] == [a.content_hash() for a in plain[::2]]
    none = run(dataclasses.replace(TOY, repeats=0.3, trajectories=10), tmp_path / "tenths")
    shown = [known.metadata.extra.get("repeats") for known in Dataset(tmp_path / "tenths")]
    assert none["total"] == 10 and [n for n in shown if n is not None] == [2, 5, 8]


def test_some_show_the_scene_before_with_the_block_elsewhere_where_it_is_not_moved(tmp_path):
    config = dataclasses.replace(TOY, elsewhere=0.5, trajectories=24)
    run(TOY, tmp_path / "plain")
    run(config, tmp_path / "elsewhere")
    plain, shown = (list(Dataset(tmp_path / name)) for name in ("plain", "elsewhere"))
    marked = []
    for before, after in zip(shown[::2], shown[1::2], strict=True):
        assert after.metadata.extra["seed"] == before.metadata.extra["seed"]
        assert after.metadata.target == before.metadata.target
        first = [demonstration.images["camera"][0] for demonstration in (before, after)]
        moved = "elsewhere" in after.metadata.extra
        assert moved == (after.metadata.primitive == "reach")
        assert np.array_equal(*first) == (not moved)
        marked += [after.metadata.extra.get("elsewhere", before.index) == before.index]
    assert all(marked)
    assert {known.metadata.primitive for known in shown[1::2]} == {"reach", "carry"}
    assert [a.content_hash() for a in shown[:6:2]] == [a.content_hash() for a in plain[::2]]


def test_repeats_and_objects_elsewhere_take_turns():
    config = dataclasses.replace(TOY, repeats=0.2, elsewhere=0.1)
    ways = [shown_before(config, index) for index in range(1000)]
    assert (ways.count("repeats"), ways.count("elsewhere")) == (200, 100)
    assert not any(one and other for one, other in itertools.pairwise(ways))
    alone = dataclasses.replace(TOY, repeats=0.2)
    assert [n for n in range(20) if shown_before(alone, n)] == [4, 9, 14, 19]


class Stubborn(ToyEnv):
    """Knows nothing of objects elsewhere."""

    def reset(self, *, seed=None, options=None):
        options = {name: value for name, value in options.items() if name != "elsewhere"}
        return super().reset(seed=seed, options=options)


def test_an_environment_that_puts_nothing_elsewhere_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ptp_core.toy_env.make_env", Stubborn)
    with pytest.raises(InputError, match=r'info has no "elsewhere"'):
        run(dataclasses.replace(TOY, elsewhere=0.5), tmp_path)


def test_demonstrations_that_are_made_again_repeat_none():
    with pytest.raises(ConfigError, match=r"DataConfig\.repeats.*keep_failures"):
        dataclasses.replace(TOY, repeats=0.5, keep_failures=False)
    with pytest.raises(ConfigError, match=r"DataConfig\.elsewhere.*keep_failures"):
        dataclasses.replace(TOY, elsewhere=0.5, keep_failures=False)
    with pytest.raises(ConfigError, match="at most half"):
        dataclasses.replace(TOY, repeats=0.3, elsewhere=0.3)


def test_an_environment_that_cannot_teach_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be imported"):
        run(dataclasses.replace(TOY, env="ptp_core.none:make_env"), tmp_path)
    with pytest.raises(ConfigError, match=r"data\.env is not given"):
        run(dataclasses.replace(TOY, env=""), tmp_path)
    with pytest.raises(DatasetError, match="ended trajectory 0 after 5 steps"):
        run(dataclasses.replace(TOY, env_kwargs={"max_steps": 5}), tmp_path)


def digest(values):
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def test_single_primitives_have_the_images_and_actions_that_version_1_had(tmp_path):
    run(dataclasses.replace(TOY, trajectories=4, steps=30, seed=3), tmp_path)
    arrays = Dataset(tmp_path).load()
    assert digest(arrays.camera()).startswith("3a62083d5136df1a5e035d1cb7cf1f95")
    assert digest(arrays.actions).startswith("fd29b1bab0d45030709973aaf6cb0113")


def test_a_demonstration_says_what_it_shows(tmp_path):
    run(dataclasses.replace(TOY, steps=40), tmp_path)
    for trajectory in Dataset(tmp_path):
        known = trajectory.metadata
        assert known.source == "scripted" and known.env == TOY.env
        (segment,) = known.segments
        assert (segment.start, segment.stop, segment.success) == (0, 40, True)
        assert (
            known.instruction
            == segment.instruction
            == f"move the {known.target.kind[:-3]} " + (f"to the {known.target.place}")
        )
        # From the noted step on the subject is where it shall be.
        if known.primitive == "reach":
            distance = np.linalg.norm(
                trajectory.proprioception[segment.done :] - known.target.values, axis=1
            )
            assert distance[0] < 4.0


CHAINS = dataclasses.replace(TOY, trajectories=24, steps=60, chain=(1, 4))


def test_chains_show_their_primitives_one_after_the_other(tmp_path):
    counts = run(CHAINS, tmp_path)
    counted = 0
    lengths = set()
    for trajectory in Dataset(tmp_path):
        known = trajectory.metadata
        lengths.add(len(known.segments))
        counted += len(known.segments)
        assert known.success and all(segment.success for segment in known.segments)
        starts = [segment.start for segment in known.segments]
        stops = [segment.stop for segment in known.segments]
        assert starts == [0, *stops[:-1]] and stops[-1] == len(trajectory.actions)
        words = [segment.instruction for segment in known.segments]
        assert known.instruction == ", then ".join(words)
        if len(words) > 1:
            assert (known.primitive, known.target) == ("chain", None)
    assert lengths == {1, 2, 3, 4}
    assert sum(figures["shown"] for figures in counts["primitives"].values()) == counted


def test_chains_depend_on_the_seed_alone(tmp_path):
    run(CHAINS, tmp_path / "one")
    run(dataclasses.replace(CHAINS, num_envs=2), tmp_path / "two")
    run(CHAINS, tmp_path / "three", limit=5)
    run(CHAINS, tmp_path / "three")
    prints = {Dataset(tmp_path / name).fingerprint() for name in ("one", "two", "three")}
    assert len(prints) == 1
    with pytest.raises(DatasetError, match=r"chain = \[1, 4\], asked for is \[2, 4\]"):
        run(dataclasses.replace(CHAINS, chain=(2, 4)), tmp_path / "one")


def test_a_primitive_that_takes_too_long_ends_its_chain(tmp_path):
    run(dataclasses.replace(CHAINS, steps=10, chain=(3, 3)), tmp_path)
    ended = [t.metadata for t in Dataset(tmp_path) if not t.metadata.success]
    assert ended
    for known in ended:
        last = known.segments[-1]
        assert (last.stop - last.start, last.success, last.done) == (10, False, None)
        assert all(segment.success for segment in known.segments[:-1])


def test_a_chain_needs_its_fewest_and_its_most_primitives():
    for chain in ((0, 2), (3, 2), (2,)):
        with pytest.raises(ConfigError, match=r"\[fewest, most\]"):
            dataclasses.replace(TOY, chain=chain)


class TaskToy(ToyEnv):
    """The toy that shows a task: reach, then carry. It fails in scenes of odd seeds."""

    tasks = ("tidy", "mess")

    def reset(self, *, seed=None, options=None):
        options = dict(options)
        self._shown = options.pop("demonstrated_task")
        self._odd = bool(seed % 2)
        return super().reset(seed=seed, options={**options, "chain": 2, "primitive": "reach"})

    def _info(self):
        info = super()._info()
        success = info.get("chain_done", False) and not self._odd
        return {**info, "task_instruction": f"{self._shown} up", "task_success": success}


class HopelessToy(TaskToy):
    """The same, and it always fails."""

    def _info(self):
        return {**super()._info(), "task_success": False}


TASKS = dataclasses.replace(
    TOY, env=f"{__name__}:TaskToy", tasks=("tidy", "mess"), trajectories=7, steps=60
)


def test_tasks_are_shown_whole_in_turn_with_their_sentence(tmp_path):
    counts = run(TASKS, tmp_path)
    known = [trajectory.metadata for trajectory in Dataset(tmp_path)]
    assert [each.instruction for each in known] == [
        ("tidy up", "mess up")[index % 2] for index in range(7)
    ]
    assert [each.success for each in known] == [each.extra["seed"] % 2 == 0 for each in known]
    assert {each.success for each in known} == {True, False}  # failures are kept by default
    assert max(len(each.segments) for each in known) == 2
    assert not any("attempts" in each.extra for each in known)
    assert {name: figures["shown"] for name, figures in counts["tasks"].items()} == {
        "tidy": 4,
        "mess": 3,
    }


def test_a_demonstration_that_fails_is_made_again_where_successes_alone_are_kept(tmp_path):
    config = dataclasses.replace(TASKS, keep_failures=False)
    counts = run(config, tmp_path / "one")
    run(dataclasses.replace(config, num_envs=2), tmp_path / "two")
    kept = [trajectory.metadata for trajectory in Dataset(tmp_path / "one")]
    assert all(each.success and each.extra["seed"] % 2 == 0 for each in kept)
    attempts = [each.extra["attempts"] for each in kept]
    assert max(attempts) > 1 and sum(f["shown"] for f in counts["tasks"].values()) == sum(attempts)
    assert Dataset(tmp_path / "one").fingerprint() == Dataset(tmp_path / "two").fingerprint()
    both = (run(TASKS, tmp_path / "all"), Dataset(tmp_path / "all"))[1]
    same = [index for index, count in enumerate(attempts) if count == 1]
    hashes = {
        name: [t.content_hash() for t in Dataset(tmp_path / name)] for name in ("one", "all")
    }
    assert same and all(hashes["one"][index] == hashes["all"][index] for index in same)
    assert len(both.indices) == 7


def test_an_expert_that_never_succeeds_ends_the_collection(tmp_path):
    config = dataclasses.replace(TASKS, env=f"{__name__}:HopelessToy", keep_failures=False)
    with pytest.raises(
        DatasetError, match=r"trajectory 0 failed in 20 scenes: look at the expert"
    ):
        run(dataclasses.replace(config, trajectories=1, steps=2), tmp_path)


class StuckToy(ToyEnv):
    """Never returns from `reset` in a worker, after it has written its process's number."""

    def reset(self, **options):
        if multiprocessing.parent_process() is not None:
            Path(os.environ["STUCK_FOLDER"], str(os.getpid())).touch()
            threading.Event().wait()
        return super().reset(**options)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_whose_simulator_hangs_end_with_the_command(tmp_path, number):
    code = (
        "import sys, dataclasses; from pathlib import Path; "
        f"from {__name__} import TOY, run; "
        f"run(dataclasses.replace(TOY, env='{__name__}:StuckToy', num_envs=2), Path(sys.argv[1]))"
    )
    stuck = tmp_path / "stuck"
    stuck.mkdir()
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    env = {**os.environ, "PYTHONPATH": path, "STUCK_FOLDER": str(stuck)}
    command = [sys.executable, "-c", code, str(tmp_path / "data")]
    with subprocess.Popen(command, env=env) as process:
        try:
            wait_for(lambda: len(list(stuck.iterdir())) == 2)
        finally:
            process.send_signal(number)
    pids = [int(path.name) for path in stuck.iterdir()]
    try:
        wait_for(lambda: not any(map(alive, pids)))
    finally:
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)


def test_whole_tasks_are_no_chains():
    for changes in ({"chain": (1, 2)}, {"half_way": 0.5}, {"tasks": ("tidy", "tidy")}):
        with pytest.raises(ConfigError, match=r"DataConfig\.tasks"):
            dataclasses.replace(TASKS, **changes)


def test_an_observation_is_one_image_or_several_by_camera():
    image, wrist = np.zeros((48, 48, 3), np.uint8), np.ones((32, 64, 3), np.uint8)
    images, felt = read_observation(image, {})
    assert list(images) == ["camera"] and felt is None
    images, felt = read_observation(image, {"images": {"wrist": wrist}, "proprioception": [1, 2]})
    assert list(images) == ["camera", "wrist"]
    assert felt.dtype == np.float32 and felt.tolist() == [1, 2]
    images, felt = read_observation({"top": image, "proprioception": np.zeros(3)}, {})
    assert list(images) == ["top"] and felt.shape == (3,)


@pytest.mark.parametrize(
    "observation, info",
    [
        (np.zeros((48, 48, 3)), {}),
        (np.zeros((48, 48), np.uint8), {}),
        (np.zeros((8, 8, 3), np.uint8), {"proprioception": [np.nan]}),
        (np.zeros((8, 8, 3), np.uint8), {"proprioception": np.zeros((2, 2))}),
    ],
)
def test_other_observations_are_refused(observation, info):
    with pytest.raises(InputError, match="my env"):
        read_observation(observation, info, "my env")
