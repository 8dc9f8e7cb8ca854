# SPDX-License-Identifier: Apache-2.0
"""Clocks that are set, reset or wild: takes are cut or refused, never mixed."""

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin

from ptp_core.data.dataset import Dataset
from ptp_core.episodes.bag_mapping import BagMapping, GripperMapping, ImageMapping, TwistMapping
from ptp_core.episodes.bag_testing import (
    GRIPPER_TOPIC,
    IMAGE_TOPIC,
    START,
    TWIST_TOPIC,
    clocked,
    joints,
    script,
    write_bag,
)
from ptp_core.episodes.import_plain import read_plain
from ptp_core.errors import EpisodeError

MAPPING = BagMapping(image=ImageMapping(IMAGE_TOPIC), twist=TwistMapping(TWIST_TOPIC))
RECEIVE = BagMapping(
    image=ImageMapping(IMAGE_TOPIC), twist=TwistMapping(TWIST_TOPIC), clock="receive"
)
TOLD = BagMapping(
    image=ImageMapping(IMAGE_TOPIC),
    twist=TwistMapping(TWIST_TOPIC),
    gripper=GripperMapping(GRIPPER_TOPIC, "position[0]", open=0.04, closed=0.0),
)


def read(tmp_path, messages, mapping=MAPPING, plugin=StoragePlugin.MCAP):
    bag = write_bag(tmp_path / "bag", messages, plugin)
    return read_plain(bag, mapping, lambda message: message.data.reshape(48, 48, 3))


def usable(candidate):
    return sum(reason is None for reason in candidate.refused)


@pytest.mark.parametrize("reset", [0.3, 1.0, 2.7])
def test_a_world_that_is_reset_is_refused_whenever_it_happens(tmp_path, reset):
    def simulated(topic, time):
        return 10.0 + (time - START if time - START < reset else time - START - reset + 0.007)

    with pytest.raises(EpisodeError, match=r"the stamps of (image|twist) go back by [\d.]+ s"):
        read(tmp_path, clocked(script(seconds=3.0), simulated))


@pytest.mark.parametrize("wild", [2**31 - 1.0, 5.0], ids=["future", "past"])
@pytest.mark.parametrize("topic", [IMAGE_TOPIC, TWIST_TOPIC])
def test_one_wild_stamp_is_refused_with_its_topic(tmp_path, wild, topic):
    times = [time for name, time, _ in script() if name == topic]

    def stamped(name, time):
        return wild if name == topic and time == times[25] else time

    with pytest.raises(EpisodeError, match=r"or one stamp is wild; record it again, or set clock"):
        read(tmp_path, clocked(script(), stamped))


def test_stamps_that_never_change_are_refused_and_times_of_arrival_help(tmp_path):
    messages = clocked(script(), lambda topic, time: 77.0 if topic == IMAGE_TOPIC else time)
    with pytest.raises(EpisodeError, match="all 60 stamps of image are the same; set clock: rec"):
        read(tmp_path, messages)
    candidate = read_plain(
        tmp_path / "bag", RECEIVE, lambda message: message.data.reshape(48, 48, 3)
    )
    assert usable(candidate) == 19


def test_the_clock_of_one_topic_that_is_set_while_recording_is_refused(tmp_path):
    def stamped(topic, time):
        return time + (1.2 if topic == IMAGE_TOPIC and time > START + 1.5 else 0.0)

    with pytest.raises(EpisodeError, match=r"the stamps of twist fall 1\.1\d* s behind those of"):
        read(tmp_path, clocked(script(), stamped))


@pytest.mark.parametrize("jump", [6 * 3600.0, 1.7e9], ids=["six hours", "from 1970"])
@pytest.mark.parametrize("mapping", [MAPPING, RECEIVE], ids=["header", "receive"])
def test_a_clock_that_is_set_forward_cuts_and_costs_nothing(tmp_path, jump, mapping):
    def late(topic, time):
        return time + (jump if time > START + 0.8 else 0.0)

    candidate = read(tmp_path, clocked(script(), late, late), mapping)
    assert candidate.figures["gaps_s"] == [pytest.approx(jump, abs=0.1)]
    assert len(candidate.actions) < 20 and len(candidate.images["camera"]) == 60
    assert len(candidate.starts) == 2 and candidate.figures["seconds"] < 2.0
    assert candidate.actions[:, 0].max() <= 0.4 + 1e-6
    assert candidate.figures["longest_image_gap_s"] < 0.1


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("mapping", [MAPPING, RECEIVE], ids=["header", "receive"])
def test_a_clock_that_is_set_back_is_found_though_readers_sort_by_it(tmp_path, plugin, mapping):
    def early(topic, time):
        return time - (0.9 if time > START + 1.0 else 0.0)

    with pytest.raises(EpisodeError, match=r"the computer's clock went back by 0\.8"):
        read(tmp_path, clocked(script(), early, early), mapping, plugin)


@pytest.mark.parametrize("speed", [0.2, 3.0])
def test_simulated_time_may_run_slower_or_faster_than_the_clock_on_the_wall(tmp_path, speed):
    start = 1.7e9
    messages = clocked(
        script(), lambda topic, time: time, lambda topic, time: start + (time - START) / speed
    )
    candidate = read(tmp_path, messages, TOLD)
    assert usable(candidate) == 19 and candidate.actions[-1, 4] == 1.0


def test_a_gripper_that_spoke_before_the_recording_is_known_from_the_start(tmp_path):
    messages = [m for m in script() if m[0] != GRIPPER_TOPIC]
    messages.append((GRIPPER_TOPIC, START + 0.01, joints(START - 500.0, 0.0)))  # repeated to us
    candidate = read(tmp_path, messages, TOLD)
    assert usable(candidate) == 19 and (candidate.actions[:, 4] == 1.0).all()


def test_a_gripper_whose_clock_is_behind_is_not_closed_before_it_was_told(tmp_path):
    messages = [m for m in script() if m[0] != GRIPPER_TOPIC]
    messages.append((GRIPPER_TOPIC, START + 1.5, joints(START - 30.0, 0.0)))
    with pytest.raises(EpisodeError, match=r"gripper and twist are of clocks 31.5 s apart"):
        read(tmp_path, messages, TOLD)


def test_messages_that_overtook_each_other_by_a_little_are_put_in_order(tmp_path):
    messages = script()
    numbers = [i for i, m in enumerate(messages) if m[0] == TWIST_TOPIC]
    for a, b in zip(numbers[::2], numbers[1::2], strict=True):
        first, second = messages[a], messages[b]
        messages[a], messages[b] = (
            (TWIST_TOPIC, first[1], second[2]),
            (TWIST_TOPIC, second[1], first[2]),
        )
    candidate = read(tmp_path, messages)
    assert usable(candidate) == 19 and np.allclose(candidate.actions[:, 0], 0.4)


def test_a_pause_of_the_recorder_gives_two_pieces(tmp_path):
    from ptp_core.episodes.import_bags import find_sources, import_bags, report_lines
    from ptp_core.episodes.import_filter import Selection

    def paused(topic, time):
        return time + (60.0 if time > START + 1.0 else 0.0)

    bag = write_bag(tmp_path / "bag", clocked(script(), paused, paused))
    summary = import_bags(
        find_sources([bag]),
        tmp_path / "d.h5",
        mapping=MAPPING,
        picture=lambda message: message.data.reshape(48, 48, 3),
        selection=Selection(min_steps=3, idle_margin=0),
    )
    pieces = list(Dataset(tmp_path / "d.h5"))
    assert len(pieces) == 2 and all(np.allclose(p.actions[:, 0], 0.4) for p in pieces)
    assert [p.rewards[-1] for p in pieces] == [0.0, 1.0]
    assert (
        "cut where nothing came, or a clock was set forward, for 60.0" in report_lines(summary)[0]
    )
