# SPDX-License-Identifier: Apache-2.0
"""The decoders on messages of a recorder, and the contract against what a recorder writes."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from ptp_core.episodes import message_definitions as kinds
from ptp_core.episodes.bag_reader import open_bag
from ptp_core.episodes.bag_testing import STEP_RECORD, TOPICS, Senders
from ptp_core.episodes.episode import EpisodeInfo
from ptp_core.episodes.recording import EpisodeRecording

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import rosetta_codecs_ptp
from rosetta_codecs_ptp import decoders

FELT = ("tcp_x", "tcp_y", "tcp_z", "tcp_yaw", "gripper_opening")  # of the simulated table
CONTRACT = Path(rosetta_codecs_ptp.contract())
NEEDED = ("rosetta", "rosidl_runtime_py")  # the second, of ROS 2, is on no Python index
HERE = all(importlib.util.find_spec(name) is not None for name in NEEDED)


def select(*names):
    return SimpleNamespace(names=list(names))


@pytest.fixture(scope="module")
def senders():
    return Senders(proprioception=FELT)


@pytest.fixture(scope="module")
def bag(senders, tmp_path_factory):
    """Type of each topic of a recorded episode, and its transitions."""
    folder = tmp_path_factory.mktemp("rosetta") / "bag"
    recording = EpisodeRecording(folder, EpisodeInfo(), senders.definitions, TOPICS, STEP_RECORD)
    for time, (topic, data) in enumerate(senders.episode(6)):
        recording.add(topic, data, 10**18 + time * 10**7)
    recording.finish("judged", {})
    with open_bag(folder) as reader:
        types = {c.topic: c.msgtype for c in reader.connections}
        found = [c for c in reader.connections if c.msgtype == kinds.STEP_RECORD]
        steps = [reader.deserialize(data, c.msgtype) for c, _, data in reader.messages(found)]
    return types, steps


def test_proprioception_comes_by_name(senders):
    message = senders.definitions.decode(kinds.OBSERVATION, senders.observation(3))
    numbers = decoders.observation(message, select("tcp_yaw", "tcp_x"))
    assert numbers.tolist() == senders.numbers(3)[[3, 0]].tolist()
    with pytest.raises(ValueError, match="no number elbow; it has tcp_x, tcp_y"):
        decoders.observation(message, select("elbow"))


def test_fields_of_the_arms_state_come_by_their_path(senders):
    message = senders.definitions.decode(kinds.ARM_STATE, senders.state(3, dx=0.02))
    names = ("pose.position.x", "gripper", "command.dx", "moved")
    assert decoders.arm_state(message, select(*names)) == pytest.approx([0.6, -1.0, 0.02, 1.0])
    with pytest.raises(ValueError, match="ArmState has no number pose"):
        decoders.arm_state(message, select("pose"))


def test_the_action_of_a_transition_comes_by_name(bag):
    step = bag[1][3]
    numbers = decoders.step_record(step, select("gripper", "dx", "reward", "executed_dx"))
    assert numbers == pytest.approx([0.0, 0.08, -1.0, 0.004])


def sources(entry):
    return entry if isinstance(entry, list) else [entry]


def test_the_contract_names_topics_of_a_bag_with_their_types(bag):
    contract = yaml.safe_load(CONTRACT.read_text())
    sections = ("observations", "actions")
    channels = [
        source["channel"]
        for section in sections
        for entry in contract[section].values()
        for source in sources(entry)
    ]
    assert {c["topic"]: c["type"] for c in channels}.items() <= bag[0].items()
    assert len(channels) == 4
    assert contract["observations"]["observation.state"]["select"] == list(FELT)


@pytest.mark.skipif(importlib.util.find_spec("rosetta") is not None, reason="rosetta is installed")
def test_without_rosetta_the_package_is_still_there():
    assert CONTRACT.is_file()
    with pytest.raises(ModuleNotFoundError, match="rosetta"):
        importlib.import_module("rosetta_codecs_ptp.codecs")


@pytest.mark.skipif(not HERE, reason="rosetta and its ROS 2 are not installed")
def test_rosetta_takes_the_codecs_and_the_contract():
    from rosetta.contract.schema import load_contract
    from rosetta.frames.codecs import DECODERS, discover_codecs

    discover_codecs()
    importlib.import_module("rosetta_codecs_ptp.codecs")
    assert DECODERS["ptp_interfaces/msg/Observation"] is decoders.observation
    contract = load_contract(CONTRACT)
    assert contract.fps == 10
    assert all(key in str(contract) for key in ("observation.state", "/arm/state/command"))
