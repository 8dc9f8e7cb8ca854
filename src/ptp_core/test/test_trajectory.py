# SPDX-License-Identifier: Apache-2.0
"""What is known of a trajectory: as attributes and back, segments, damage."""

import json

import numpy as np
import pytest

from ptp_core.data.trajectory import Metadata, Segment, Target, Trajectory, in_sequence
from ptp_core.errors import DatasetError

OPEN = Segment(
    0, 30, "open", Target("drawer_opening", (0.118,), "m", "open"), "open the drawer", True, 22
)
SLIDE = Segment(
    30, 50, "slide", Target("can_xy", (0.7, 0.1), "m", "far left"), "slide the can", False
)


def test_attributes_and_back_is_the_same():
    chain = Metadata(
        instruction=in_sequence([OPEN.instruction, SLIDE.instruction]),
        primitive="chain",
        success=False,
        source="practice",
        env="my:env",
        protocol="varied",
        segments=(OPEN, SLIDE),
        extra={"seed": 3, "label": "failure", "share": 0.5, "kept": True},
    )
    assert chain.instruction == "open the drawer, then slide the can"
    stored = json.loads(json.dumps(chain.to_attributes()))
    assert Metadata.from_attributes(stored) == chain
    assert Metadata().to_attributes() == {}
    assert Metadata.from_attributes({}) == Metadata()


def test_a_failure_is_stored_and_differs_from_not_known():
    assert Metadata(success=False).to_attributes() == {"success": False}
    assert Metadata.from_attributes({"success": False}).success is False
    assert Metadata.from_attributes({}).success is None


@pytest.mark.parametrize(
    "attributes, message",
    [
        ({"target": {"kind": "x"}}, "damaged"),
        ({"segments": [{"start": 0, "end": 3}]}, "damaged"),
        ({"source": "magic"}, '"scripted", "teleoperation", "practice"'),
    ],
)
def test_damaged_attributes_are_refused(attributes, message):
    with pytest.raises(DatasetError, match=message):
        Metadata.from_attributes(attributes)


def test_extra_values_are_scalars_with_names_of_their_own():
    for extra in ({"poses": [1, 2]}, {"success": True}):
        with pytest.raises(DatasetError, match="must be text, a number, true or false"):
            Metadata(extra=extra).to_attributes()


@pytest.mark.parametrize(
    "segments, length",
    [
        ((OPEN, SLIDE), 49),  # beyond the end
        ((SLIDE, OPEN), 60),  # in the wrong order
        ((Segment(3, 3, "open"),), 60),  # empty
        ((Segment(0, 20, "open", done=20),), 60),  # done outside
    ],
)
def test_segments_follow_each_other_within_the_trajectory(segments, length):
    Metadata(segments=(OPEN, SLIDE)).check(50)
    with pytest.raises(DatasetError, match="segment"):
        Metadata(segments=segments).check(length)


def test_a_trajectory_holds_images_or_states():
    parts = {"actions": np.zeros((3, 2), np.float32), "rewards": np.zeros(3, np.float32)}
    Trajectory(0, {}, **parts, proprioception=np.zeros((3, 4), np.float32)).check()
    with pytest.raises(DatasetError, match="neither an image of any camera nor proprioception"):
        Trajectory(0, {}, **parts).check()


def test_a_segment_alone_is_a_single_primitive():
    alone = Metadata(primitive="chain", success=False, segments=(SLIDE, OPEN), extra={"seed": 1})
    known = alone.of_segment(0)
    assert (known.primitive, known.instruction, known.success) == ("slide", "slide the can", False)
    assert known.target == SLIDE.target and known.extra == {"seed": 1, "segment": 0}
    assert (known.segments[0].start, known.segments[0].stop) == (0, 20)
    late = Metadata(segments=(Segment(10, 20, "open", done=15),)).of_segment(0)
    assert late.segments[0].done == 5
