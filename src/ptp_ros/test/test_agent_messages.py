# SPDX-License-Identifier: Apache-2.0
"""Goals, observations and latents cross the graph unchanged; what is damaged is named."""

import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from ptp_interfaces.msg import ErrorCode, Latent, LatentArray
from ptp_interfaces.msg import Goal as GoalMessage
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ptp_core.agents.agent import (
    AgentSpec,
    CameraSpec,
    ImageGoal,
    LanguageGoal,
    LatentGoal,
    LatentSpec,
    StateGoal,
)
from ptp_core.errors import GoalError, InputError
from ptp_ros.agent_messages import (
    goal_kind,
    goal_message,
    latent_message,
    observation_message,
    read_encoded,
    read_goal,
    read_latent,
    read_observation,
)
from ptp_ros.request_errors import RequestError

INDICES = LatentSpec("indices", (2, 3), "e" * 64, codes=16)
VALUES = LatentSpec("values", (4,), "f" * 64)
SPEC = AgentSpec(
    agent="toy",
    cameras=(CameraSpec("front", 4, 6), CameraSpec("wrist", 2, 2)),
    actions=tuple("abcdefg"),
    goals=("language", "image"),
    proprioception=("x [m]", "yaw [rad]"),
)
CODED = AgentSpec("coded", (CameraSpec("front", 4, 6),), ("a",), ("latent", "image"), (), INDICES)


def images():
    rng = np.random.default_rng(0)
    return {
        camera.name: rng.integers(0, 256, (camera.height, camera.width, 3), np.uint8)
        for camera in SPEC.cameras
    }


def observation(**changes):
    felt = changes.pop("felt", (SPEC.proprioception, np.array([0.5, -1.0], np.float32)))
    header = Header(frame_id="front_optical")
    header.stamp.sec, header.stamp.nanosec = 7, 500_000_000
    message = observation_message(9, header, images(), {"wrist": "wrist_optical"}, felt)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def attempt(read, *arguments, **options):
    """What ``read`` returns and None; or None and the error that it is allowed to raise."""
    try:
        return read(*arguments, **options), None
    except (RequestError, GoalError) as error:
        return None, error


latents = st.one_of(
    arrays.arrays(np.uint32, arrays.array_shapes(max_dims=4, max_side=4)),
    arrays.arrays(
        np.float32,
        arrays.array_shapes(max_dims=4, max_side=4),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
)


@given(latents)
@settings(deadline=None)
def test_a_latent_of_any_shape_survives_the_wire(latent):
    kind = "indices" if latent.dtype == np.uint32 else "values"
    spec = LatentSpec(kind, latent.shape, "e", codes=2**32)
    wire = serialize_message(latent_message(latent, "e"))
    message = deserialize_message(wire, LatentArray)
    found = read_latent(message, spec, "latent")
    assert found.dtype == latent.dtype and np.array_equal(found, latent)
    stacked = latent_message(np.stack([latent] * 3), "e")
    assert np.array_equal(read_latent(stacked, spec, "plan", stacked=True)[2], latent)


numbers = st.integers(0, 2**32 - 1)
damaged = st.builds(
    LatentArray,
    shape=st.lists(numbers, max_size=10).map(lambda v: array.array("I", v)),
    indices=st.lists(numbers, max_size=8).map(lambda v: array.array("I", v)),
    values=st.lists(st.floats(width=32), max_size=8).map(lambda v: array.array("f", v)),
    encoder_id=st.sampled_from(["", "e" * 64, "f" * 64]),
)


@given(damaged, st.sampled_from([INDICES, VALUES]), st.booleans())
@settings(deadline=None, max_examples=300)
def test_whatever_a_latent_says_it_is_of_the_encoder_or_refused_in_one_line(message, spec, many):
    found, error = attempt(read_latent, message, spec, "latent", stacked=many)
    if error is not None:
        assert error.code in (ErrorCode.BAD_LATENT, ErrorCode.WRONG_ENCODER)
        assert "\n" not in str(error)
    else:
        assert found.shape[many:] == spec.shape
        assert found.dtype == (np.uint32 if spec.kind == "indices" else np.float32)
        assert np.isfinite(found).all()
        assert spec.kind == "values" or not found.size or found.max() < spec.codes


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (LatentArray(), ErrorCode.BAD_LATENT, "the goal is empty"),
        (
            latent_message(np.zeros((2, 3), int), "other"),
            ErrorCode.WRONG_ENCODER,
            "is of encoder other, this node has eeeeeeeeeeee",
        ),
        (latent_message(np.zeros(6, int), "e" * 64), ErrorCode.BAD_LATENT, "shape [6]"),
        (latent_message(np.zeros((2, 3)), "e" * 64), ErrorCode.BAD_LATENT, "has no indices"),
        (latent_message(np.full((2, 3), 16), "e" * 64), ErrorCode.BAD_LATENT, "index 16"),
        (LatentArray(shape=[2, 3], indices=[1]), ErrorCode.BAD_LATENT, "[2, 3] has 1 numbers"),
        (LatentArray(indices=[1]), ErrorCode.BAD_LATENT, "the shape is []"),
        (LatentArray(shape=[0, 3]), ErrorCode.BAD_LATENT, "shape [0, 3] has 0 numbers"),
        (LatentArray(shape=[2**31] * 9, indices=[1]), ErrorCode.BAD_LATENT, "1 to 8 axes"),
        (
            LatentArray(shape=[1], indices=[1], values=[1.0]),
            ErrorCode.BAD_LATENT,
            "indices or values, not both",
        ),
        (LatentArray(shape=[1], values=[float("inf")]), ErrorCode.BAD_LATENT, "not finite"),
    ],
)
def test_a_latent_that_is_damaged_or_of_another_encoder_is_named(message, code, text):
    with pytest.raises(RequestError) as error:
        read_latent(message, INDICES, "goal")
    assert error.value.code == code and text in str(error.value)


def test_what_is_no_latent_is_not_sent():
    assert latent_message(None, "e") == LatentArray()
    for wrong in (np.array([np.nan]), np.array([-1]), np.array([2**32])):
        with pytest.raises(InputError):
            latent_message(wrong, "e")


def test_goals_of_each_kind_survive():
    words = read_goal(goal_message(LanguageGoal("open the drawer")), SPEC)
    assert words == LanguageGoal("open the drawer")
    shown = read_goal(goal_message(ImageGoal(images())), SPEC)
    assert {c: i.tolist() for c, i in shown.images.items()} == {
        c: i.tolist() for c, i in images().items()
    }
    codes = np.arange(6, dtype=np.uint32).reshape(2, 3)
    coded = read_goal(goal_message(LatentGoal(codes), INDICES.encoder_id), CODED)
    assert np.array_equal(coded.latent, codes)


def test_a_goal_state_has_no_message():
    with pytest.raises(GoalError, match="run such an agent with ptp evaluate"):
        goal_message(StateGoal(np.zeros(2, np.float32)))


def test_one_image_without_a_name_is_that_of_the_only_camera():
    message = goal_message(ImageGoal({"": images()["front"]}))
    message.cameras = []
    assert list(read_goal(message, CODED).images) == ["front"]
    with pytest.raises(RequestError, match="1 images and 0 names of cameras"):
        read_goal(message, SPEC)


@pytest.mark.parametrize(
    ("message", "spec", "code", "text"),
    [
        (GoalMessage(), SPEC, ErrorCode.BAD_REQUEST, "the goal is empty: give an instruction"),
        (GoalMessage(instruction="  "), SPEC, ErrorCode.BAD_REQUEST, "the goal is empty"),
        (
            GoalMessage(instruction="x", images=[Image()], latent=LatentArray(shape=[1])),
            SPEC,
            ErrorCode.BAD_REQUEST,
            "given as image and as language and as latent: give one",
        ),
        (
            GoalMessage(cameras=["front", "wrist"], images=[Image()]),
            SPEC,
            ErrorCode.BAD_IMAGE,
            "1 images and 2 names",
        ),
        (
            GoalMessage(cameras=["front", "front"], images=[Image(), Image()]),
            SPEC,
            ErrorCode.BAD_IMAGE,
            "a camera's name twice",
        ),
        (
            GoalMessage(cameras=["front"], images=[Image(width=6, height=4, encoding="rgb8")]),
            SPEC,
            ErrorCode.BAD_IMAGE,
            'image of camera "front": image step is 0 bytes',
        ),
    ],
)
def test_a_message_that_is_no_goal_is_named(message, spec, code, text):
    with pytest.raises(RequestError) as error:
        read_goal(message, spec)
    assert error.value.code == code and text in str(error.value)


@pytest.mark.parametrize(
    ("goal", "spec", "text"),
    [
        (LanguageGoal("x"), CODED, "coded takes latent or image goals, not a goal of kind langu"),
        (LatentGoal(np.zeros((2, 3), int)), SPEC, "toy takes language or image goals"),
        (ImageGoal({"front": np.zeros((4, 6, 3), np.uint8)}), SPEC, 'no image of camera "wrist"'),
        (ImageGoal({"front": np.zeros((5, 6, 3), np.uint8)}), CODED, "needs uint8 (4, 6, 3)"),
    ],
)
def test_a_goal_that_an_agent_does_not_take_is_its_typed_error(goal, spec, text):
    with pytest.raises(GoalError) as error:
        read_goal(goal_message(goal, "e" * 64), spec)
    assert text in str(error.value)


texts = st.lists(st.sampled_from(["", "front", "wrist", "x"]), max_size=3)
image_messages = st.builds(
    Image,
    width=st.integers(0, 8),
    height=st.integers(0, 8),
    encoding=st.sampled_from(["rgb8", "bayer_rggb8", ""]),
    step=st.integers(0, 32),
    data=st.binary(max_size=128).map(lambda b: array.array("B", b)),
)
goals = st.builds(
    GoalMessage,
    instruction=st.sampled_from(["", " ", "open the drawer"]),
    cameras=texts,
    images=st.lists(image_messages, max_size=3),
    latent=st.one_of(st.just(LatentArray()), damaged),
)


@given(goals, st.sampled_from([SPEC, CODED]))
@settings(deadline=None, max_examples=300)
def test_whatever_a_goal_says_it_is_one_of_the_agents_or_refused_in_one_line(message, spec):
    goal, error = attempt(read_goal, message, spec)
    if error is not None:
        assert str(error) and "\n" not in str(error)
    else:
        spec.check_goal(goal)
        assert goal_kind(message) == goal.kind


def test_an_observation_has_every_camera_and_what_the_robot_feels():
    message = deserialize_message(serialize_message(observation()), type(observation()))
    assert [i.header.frame_id for i in message.images] == ["front_optical", "wrist_optical"]
    found = read_observation(message, SPEC)
    assert (found.seq, found.stamp) == (9, 7.5)
    assert {c: i.tolist() for c, i in found.images.items()} == {
        c: i.tolist() for c, i in images().items()
    }
    assert found.proprioception.tolist() == [0.5, -1.0]


def test_what_an_agent_does_not_look_at_is_left_out():
    found = read_observation(observation(), CODED)
    assert list(found.images) == ["front"] and found.proprioception is None


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"cameras": ["front", "top"]}, ErrorCode.BAD_IMAGE, 'no image of camera "wrist"'),
        ({"cameras": ["front"]}, ErrorCode.BAD_IMAGE, "2 images and 1 names of cameras"),
        ({"images": [], "cameras": []}, ErrorCode.BAD_IMAGE, "it has none"),
        ({"felt": None}, ErrorCode.BAD_REQUEST, "2 numbers (x [m], yaw [rad]); the observation"),
        ({"felt": (["x [m]"], [1.0])}, ErrorCode.BAD_REQUEST, "has 1 (x [m])"),
        ({"proprioception": [1.0]}, ErrorCode.BAD_REQUEST, "has 1 (x [m], yaw [rad])"),
        ({"proprioception": [1.0, float("nan")]}, ErrorCode.BAD_REQUEST, "not finite"),
    ],
)
def test_an_observation_that_lacks_something_is_named(changes, code, text):
    with pytest.raises(RequestError) as error:
        read_observation(observation(**changes), SPEC)
    assert error.value.code == code and text in str(error.value)


def test_an_encoded_observation_carries_the_reason_why_it_is_none():
    codes = np.arange(6).reshape(2, 3)
    good = Latent(seq=4, latent=latent_message(codes, "e" * 64))
    found = read_encoded(good, CODED)
    assert (found.seq, found.latent.tolist()) == (4, codes.tolist())
    blind = Latent(error_code=ErrorCode.BAD_IMAGE, error_msg="the image is black")
    with pytest.raises(RequestError, match="the image is black") as error:
        read_encoded(blind, CODED)
    assert error.value.code == ErrorCode.BAD_IMAGE
    with pytest.raises(RequestError, match="toy has no latents"):
        read_encoded(good, SPEC)
