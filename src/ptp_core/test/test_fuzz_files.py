# SPDX-License-Identifier: Apache-2.0
"""Mutations of real files: each reader reads them or refuses them with one of our errors.

`PTP_FUZZ_SECONDS=600 python -m pytest src/ptp_core/test/test_fuzz_files.py` goes on for 600 s with
each reader. A content that one fails on is written to fuzz_finds/, as READER_HASH: commit it.
"""

import itertools
import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ptp_core import fuzzing
from ptp_core.config import BaselinesConfig, TrainConfig, to_dict
from ptp_core.config.loading import load_config
from ptp_core.data.array_limits import DAMAGED, open_npz
from ptp_core.data.dataset import Dataset
from ptp_core.data.demo_file import write_file
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.file_limits import check_picture_size, load_yaml, parse_json
from ptp_core.data.trajectory import CAMERA, Trajectory
from ptp_core.episodes.bag_mapping import load_mapping
from ptp_core.episodes.bag_reader import Salvage, open_bag, read_episode
from ptp_core.episodes.bag_testing import STEP_RECORD, TOPICS
from ptp_core.episodes.bag_writer import BAG_FILE, METADATA_FILE
from ptp_core.episodes.episode import EpisodeInfo
from ptp_core.episodes.recording import EpisodeRecording
from ptp_core.episodes.session_store import Session
from ptp_core.fuzzing import SECONDS, fuzz, mutated
from ptp_core.planners.plan_buffer import PlanBuffer, load_buffers, save_buffers
from ptp_core.planners.plan_library import PlanLibrary
from ptp_core.practice.policy_library import load_finetuned
from ptp_core.practice.run_folder import read_run
from ptp_core.tiny_networks import tiny_checkpoint, tiny_finetuned
from ptp_core.training.checkpoint import load_checkpoint
from ptp_core.training.scalar_log import read_scalars
from ptp_core.training.stage import StageState

FINDS = Path(__file__).parent / "fuzz_finds"
ROOT = Path(__file__).resolve().parents[3]
INFO = EpisodeInfo(episode_id="e", task="A", rotation=0.2)
YAML = (yaml.YAMLError, UnicodeDecodeError)

pytestmark = pytest.mark.timeout(60 + 4 * float(os.environ.get(SECONDS, 0)))


def put(path, then):
    """A reader of contents from one of files."""

    def read(content):
        path.write_bytes(content)
        return then(path)

    return read


@pytest.fixture(scope="module")
def bag(senders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags") / "bag"
    recording = EpisodeRecording(folder, INFO, senders.definitions, TOPICS, STEP_RECORD)
    for time, (topic, data) in enumerate(senders.episode(4)):
        recording.add(topic, data, 10**18 + time * 10**7)
    recording.finish("judged", {})
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    tiny_checkpoint(folder)
    return folder


@pytest.mark.parametrize("part", [BAG_FILE, METADATA_FILE])
def test_bags(bag, tmp_path, part):
    for path in bag.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())

    def then(path):
        with open_bag(tmp_path) as reader:
            return sum(len(data) for _, _, data in reader.messages())

    fuzz(put(tmp_path / part, then), [(bag / part).read_bytes()], FINDS, "bag")


def test_episodes_of_bags(bag, senders, tmp_path):
    for path in bag.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    read = put(tmp_path / BAG_FILE, lambda path: read_episode(tmp_path, senders.definitions))
    fuzz(read, [(bag / BAG_FILE).read_bytes()], FINDS, "episode")


def test_what_is_left_of_a_bag(bag, senders, tmp_path):
    read = put(tmp_path / BAG_FILE, lambda path: list(Salvage(tmp_path, senders.definitions)))
    fuzz(read, [(bag / BAG_FILE).read_bytes()], FINDS, "salvage")


def test_demonstrations(tmp_path, monkeypatch):
    monkeypatch.setenv("PTP_HDF5_SECONDS", "1")  # one of the finds never ends
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
    demo = Trajectory(0, {CAMERA: images}, np.zeros((3, 5), np.float32), np.zeros(3, np.float32))
    write_file(tmp_path / "real", {"env": "toy"}, [demo])
    read = put(tmp_path / "demos.hdf5", lambda path: list(Dataset(path)))
    fuzz(read, [(tmp_path / "real").read_bytes()], FINDS, "demos")


def test_encoded_data_sets(tmp_path):
    codes, actions = np.zeros((4, 144), np.uint16), np.zeros((4, 5), np.float32)
    EncodedDataset(codes, actions, np.array([4]), "e" * 64).save(tmp_path / "real")
    read = put(tmp_path / "encoded.safetensors", EncodedDataset.load)
    fuzz(read, [(tmp_path / "real").read_bytes()], FINDS, "encoded")


def test_npz_files(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", image=np.zeros((48, 48, 3), np.uint8), n=3)
    np.savez(tmp_path / "b.npz", codes=np.arange(144), text=np.array("{}"))

    def then(path):
        with open_npz(path) as arrays:
            return [arrays[name] for name in arrays.files]

    contents = [(tmp_path / name).read_bytes() for name in ("a.npz", "b.npz")]
    fuzz(put(tmp_path / "c.npz", then), contents, FINDS, "npz", DAMAGED)


@pytest.mark.parametrize(
    "part",
    ["manifest.json", "iql.safetensors", "encoder/manifest.json", "encoder/vqvae.safetensors"],
)
def test_checkpoints(checkpoint, tmp_path, part):
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    read = put(tmp_path / part, lambda path: load_checkpoint(tmp_path))
    fuzz(read, [(checkpoint / part).read_bytes()], FINDS, "checkpoint")


def test_fine_tuned_policies(checkpoint, tmp_path):
    base = load_checkpoint(checkpoint)
    tiny_finetuned(tmp_path / "real" / "A.safetensors", base, torch.zeros(720), 0.1)
    read = put(tmp_path / "A.safetensors", lambda path: load_finetuned(path, base))
    fuzz(read, [(tmp_path / "real" / "A.safetensors").read_bytes()], FINDS, "finetuned")


def test_plan_libraries(tmp_path):
    library = PlanLibrary("e" * 64)
    real = {"000000/ends": np.zeros((2, 720), np.float32), "000000/record": np.zeros(3)}
    real |= {"000000/codes": np.zeros((8, 144), np.uint16)}
    real |= {"000000/latents": np.zeros((8, 720), np.float32)}
    library.take(real)
    library.plans[0].trials = 1
    library.save(tmp_path / "real")
    read = put(tmp_path / "plans", lambda path: PlanLibrary("e" * 64).load(path))
    fuzz(read, [(tmp_path / "real").read_bytes()], FINDS, "plans")


def test_settings(tmp_path):
    contents = [path.read_bytes() for path in sorted((ROOT / "config" / "train").glob("*.yaml"))]
    for kind, name in ((TrainConfig, "paper"), (BaselinesConfig, "baselines")):
        read = put(tmp_path / "a.yaml", lambda path, kind=kind: load_config(path, kind))
        fuzz(read, contents, FINDS, f"settings {name}")
    mapping = (ROOT / "config" / "import" / "example.yaml").read_bytes()
    fuzz(put(tmp_path / "b.yaml", load_mapping), [mapping], FINDS, "mapping")
    fuzz(put(tmp_path / "c.yaml", load_yaml), contents, FINDS, "yaml", YAML)


def test_runs(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    settings = {"method": "ptp", "task": "A", "seed": 0, "protocol": "paper", "env_kwargs": {}}
    (real / "settings.json").write_text(json.dumps(settings))
    evaluation = {"epoch": 0, "successes": 1, "episodes": 2}
    epoch = {"epoch": 1, "practice_success_rate": 0.5, "evaluation": {**evaluation, "epoch": 1}}
    (real / "result.json").write_text(json.dumps({"epochs": [epoch], "evaluations": [evaluation]}))
    for name in ("settings.json", "result.json"):
        for path in real.glob("*.json"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
        read = put(tmp_path / name, lambda path: read_run(tmp_path))
        fuzz(read, [(real / name).read_bytes()], FINDS, f"run {name}")
    contents = [(real / "settings.json").read_bytes()]
    fuzz(parse_json, contents, FINDS, "json", (ValueError,))


def test_states_of_trainings(tmp_path):
    """What `resume` reads of the folder of a stage."""
    module = torch.nn.Linear(2, 2)
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    state = StageState({"m": module}, {"adam": optimiser}, 0, {"seed": 0})
    state.save(tmp_path / "real")
    read = put(tmp_path / "state.safetensors", state.resume)
    fuzz(read, [(tmp_path / "real").read_bytes()], FINDS, "state")
    rows = b"step,seconds,loss\n100,1.5,0.25\n200,3.0,0.125\n"
    fuzz(put(tmp_path / "scalars.csv", read_scalars), [rows], FINDS, "scalars")


def test_plan_buffers(tmp_path):
    buffers = [PlanBuffer(4, 2, 3), PlanBuffer(2, 1, 3)]
    save_buffers(tmp_path / "real", buffers)
    read = put(tmp_path / "buffers.safetensors", lambda path: load_buffers(path, buffers))
    fuzz(read, [(tmp_path / "real").read_bytes()], FINDS, "buffers")


def test_sessions(bag, senders, tmp_path):
    session = Session(tmp_path / "session", create={"ptp": "0.1"})
    for path in sorted(session.folder.glob("*.json")):
        real = path.read_bytes()
        read = put(path, lambda path: Session(tmp_path / "session").entries())
        fuzz(read, [real], FINDS, f"session {path.stem}")
        path.write_bytes(real)


def test_pictures():
    import cv2

    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    contents = [cv2.imencode(kind, pixels)[1].tobytes() for kind in (".png", ".jpg")]
    fuzz(check_picture_size, contents, FINDS, "picture", (ValueError,))


def test_mutations_are_many_and_the_same_everywhere():
    content = yaml.safe_dump(to_dict(INFO)).encode() * 3
    made = [mutated(content, np.random.default_rng(seed)) for seed in range(100)]
    assert len(set(made)) > 90
    assert made == [mutated(content, np.random.default_rng(seed)) for seed in range(100)]


def test_a_reader_that_fails_is_found_out(tmp_path):
    def read(content):
        return content.decode()

    with pytest.raises(AssertionError, match=r"trial .* UnicodeDecodeError.*kept as .*text_"):
        fuzz(read, ["ä".encode() * 20], tmp_path, "text")
    (find,) = tmp_path.iterdir()
    with pytest.raises(AssertionError, match=rf"^{find.name}: UnicodeDecodeError"):
        fuzz(read, [b"a"], tmp_path, "text")

    def greedy(content):
        return bytearray(2**31)

    with pytest.raises(AssertionError, match="MemoryError"):
        fuzz(greedy, [b"a"], tmp_path, "greedy")


def test_a_reader_that_never_ends_or_crashes_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzzing, "TRIAL_SECONDS", 1)

    def endless(content):
        return sum(itertools.repeat(1))  # in C, with the interpreter's lock

    with pytest.raises(AssertionError, match=r"loop, trial 0: it did not end within 1 s"):
        fuzz(endless, [b"a" * 20], tmp_path, "loop")

    def crash(content):
        os.kill(os.getpid(), signal.SIGKILL)  # as a crash, but no traceback is printed

    with pytest.raises(AssertionError, match=r"crash, trial 0: it ended its process \(SIGKILL\)"):
        fuzz(crash, [b"a" * 20], tmp_path, "crash")
    found, lost = sorted(path.name for path in tmp_path.iterdir())
    assert found.startswith("crash_") and lost.startswith("loop_endless")


def test_a_find_is_tried_again(tmp_path):
    (tmp_path / "text_find").write_bytes(b"\xff")
    with pytest.raises(AssertionError, match="text_find: UnicodeDecodeError"):
        fuzz(lambda content: content.decode(), [b"a"], tmp_path, "text")


def test_a_find_may_not_take_more_memory_either(tmp_path):
    (tmp_path / "greedy_find").write_bytes(b"a")
    with pytest.raises(AssertionError, match="greedy_find: MemoryError"):
        fuzz(lambda content: bytearray(2**31), [b"a"], tmp_path, "greedy")


def test_the_corpus_is_small_and_every_find_belongs_to_a_reader():
    for folder in sorted(ROOT.glob("src/*/test/fuzz_finds")):
        tests = [path.read_text("utf-8") for path in folder.parent.glob("test_fuzz_*.py")]
        named = set(re.findall(r'FINDS, (?:f?"([\w {}.]+)"|name)', "".join(tests)))
        finds = sorted(folder.iterdir())
        assert finds and sum(path.stat().st_size for path in finds) < 64_000
        for path in finds:
            reader = path.name.rpartition("_")[0]
            assert reader in named or reader.startswith(("chain", "shapes", "lerobot_")), path
