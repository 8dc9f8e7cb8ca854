# SPDX-License-Identifier: Apache-2.0
"""The encoder turns images into codes, and says what is wrong with those it cannot."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from builtin_interfaces.msg import Time
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ptp_interfaces.msg import ErrorCode, Latent, Observation
from ptp_interfaces.srv import DecodeLatent, EncodeImage
from rcl_interfaces.msg import Log
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ptp_core.agents.registry import DEFAULT_METHOD
from ptp_core.data.trajectory import CAMERA
from ptp_core.tiny_networks import tiny_networks
from ptp_core.training.checkpoint import load_checkpoint, save_again, save_checkpoint
from ptp_nodes.nodes.encoder_node import EncoderNode
from ptp_ros.agent_messages import latent_message, observation_message
from ptp_ros.graph_testing import parameters
from ptp_ros.image_messages import array_to_image, image_to_array
from ptp_ros.topics import LATCHED, LATENT, OBSERVATION


@pytest.fixture
def start(graph, folder):
    def start(checkpoint=folder):
        options = parameters({"checkpoint": str(checkpoint)})
        return graph.add(EncoderNode(context=graph.context, parameter_overrides=options))

    return start


@pytest.fixture
def sample():
    return np.random.default_rng(1).integers(0, 256, (48, 48, 3), dtype=np.uint8)


def observation(pixels, seq, encoding=None):
    header = Header(stamp=Time(sec=5), frame_id="camera_optical")
    felt = ["x", "y"], np.array([0.5, 1.5])
    message = observation_message(seq, header, {CAMERA: pixels}, proprioception=felt)
    if encoding:
        message.images[0].encoding = encoding
    return message


def test_an_observation_becomes_the_codes_of_the_vqvae(graph, start, folder, sample):
    start()
    latents = graph.collect(Latent, LATENT, LATCHED)
    observations = graph.publisher(Observation, OBSERVATION, LATCHED)
    observations.publish(observation(sample, seq=7))
    graph.wait(lambda: latents, "a latent")
    checkpoint = load_checkpoint(folder)
    codes = checkpoint.vqvae.encode(torch.from_numpy(sample)[None])[0]
    assert latents[0].latent == latent_message(codes.numpy(), checkpoint.encoder_id)
    assert len(set(latents[0].latent.indices)) > 3
    assert latents[0].proprioception_names == ["x", "y"]
    assert latents[0].proprioception.tolist() == [0.5, 1.5]
    assert (latents[0].seq, latents[0].header.stamp.sec) == (7, 5)
    assert latents[0].error_code == ErrorCode.NONE


def test_an_observation_from_before_it_is_active_waits_and_is_no_error(graph, folder, sample):
    logs, latents = graph.logs(), graph.collect(Latent, LATENT, LATCHED)
    options = parameters({"checkpoint": str(folder), "autostart": False})
    node = graph.add(EncoderNode(context=graph.context, parameter_overrides=options))
    observations = graph.publisher(Observation, OBSERVATION, LATCHED)
    observations.publish(observation(sample, seq=7))
    graph.wait(lambda: latents, "the reason")
    assert latents[0].error_code == ErrorCode.NOT_ACTIVE
    node.trigger_configure()
    node.trigger_activate()
    graph.wait(lambda: len(latents) == 2, "the latent")
    assert (latents[1].seq, latents[1].error_code) == (7, ErrorCode.NONE)
    logs.expect("not encoded: encoder is not active")
    assert logs.count("", Log.ERROR) == 0


@pytest.mark.parametrize(
    ("pixels", "encoding", "text"),
    [
        (
            np.zeros((48, 64, 3), np.uint8),
            None,
            f"(48, 64, 3); {DEFAULT_METHOD} needs uint8 (48, 48, 3)",
        ),
        (np.zeros((48, 48, 3), np.uint8), "bayer_rggb8", '"bayer_rggb8" is not known'),
        (np.zeros((48, 48, 3), np.uint8), "rgba8", "step is 144 bytes"),
    ],
)
def test_a_bad_observation_is_named_and_the_next_good_one_is_encoded(
    graph, start, sample, pixels, encoding, text
):
    start()
    logs = graph.logs()
    latents = graph.collect(Latent, LATENT, LATCHED)
    observations = graph.publisher(Observation, OBSERVATION, LATCHED)
    observations.publish(observation(pixels, 1, encoding))
    graph.wait(lambda: latents, "the refusal")
    assert latents[0].error_code == ErrorCode.BAD_IMAGE
    assert text in latents[0].error_msg
    logs.expect(text, Log.ERROR)
    observations.publish(observation(sample, 2))
    graph.wait(lambda: len(latents) == 2, "the next latent")
    assert latents[1].error_code == ErrorCode.NONE


def test_images_are_encoded_and_decoded_on_request(graph, start, folder, sample):
    start()
    request = EncodeImage.Request(images=[array_to_image(sample, Time(), "c")])
    answer = graph.call(EncodeImage, "encode_image", request)
    assert answer.error_code == ErrorCode.NONE
    codes = np.array(answer.latent.latent.indices)
    twice = latent_message(np.stack([codes] * 2), answer.latent.latent.encoder_id)
    request = DecodeLatent.Request(latents=twice)
    decoded = graph.call(DecodeLatent, "decode_latent", request)
    vqvae = load_checkpoint(folder).vqvae
    with torch.no_grad():
        codes = vqvae.encode(torch.from_numpy(sample)[None])
        expected = vqvae.decode(vqvae.lookup(codes))[0].numpy()
    for image in [*answer.reconstructions, *decoded.images]:
        assert np.array_equal(image_to_array(image), expected)
    assert len(decoded.images) == 2


def test_a_goal_image_of_any_size_is_cropped_and_reduced_when_asked(graph, start, sample):
    start()
    large = np.zeros((96, 120, 3), np.uint8)
    large[:, 12:108] = sample.repeat(2, axis=0).repeat(2, axis=1)
    small = EncodeImage.Request(images=[array_to_image(sample, Time(), "c")])
    request = EncodeImage.Request(images=[array_to_image(large, Time(), "c")], resize=True)
    found = [graph.call(EncodeImage, "encode_image", r).latent.latent for r in (small, request)]
    assert found[0] == found[1] and len(found[0].indices) == 144
    request.resize = False
    answer = graph.call(EncodeImage, "encode_image", request)
    assert answer.error_code == ErrorCode.BAD_IMAGE
    assert "(96, 120, 3)" in answer.error_msg


def test_a_goal_image_needs_no_proprioception_where_the_policy_does(
    graph, start, tmp_path, sample
):
    """`ptp_legs` of a checkpoint whose policy feels the arm could not encode any goal."""
    made = tiny_networks()
    spec = dataclasses.replace(made.spec, proprioception=("tcp_x [m]", "tcp_y [m]"))
    save_checkpoint(
        tmp_path / "feels", made.parts, made.config, {}, spec=spec, encoder=made.encoder
    )
    start(tmp_path / "feels")
    request = EncodeImage.Request(images=[array_to_image(sample, Time(), "c")])
    answer = graph.call(EncodeImage, "encode_image", request)
    assert (answer.error_code, answer.error_msg) == (ErrorCode.NONE, "")
    assert len(answer.latent.latent.indices) == 144


def test_a_goal_image_that_is_no_image_is_refused(graph, start):
    start()
    request = EncodeImage.Request(images=[Image()], resize=True)
    answer = graph.call(EncodeImage, "encode_image", request)
    assert answer.error_code == ErrorCode.BAD_IMAGE
    assert "no image" in answer.error_msg
    depth = Image(height=48, width=48, encoding="16UC1", step=96, data=bytes(48 * 96))
    answer = graph.call(EncodeImage, "encode_image", EncodeImage.Request(images=[depth]))
    assert answer.error_code == ErrorCode.BAD_IMAGE
    assert '"16UC1" is grey or depth; a colour image is expected' in answer.error_msg
    answer = graph.call(EncodeImage, "encode_image", EncodeImage.Request(resize=True))
    assert answer.error_code == ErrorCode.BAD_IMAGE
    assert 'no image of camera "camera"' in answer.error_msg


@pytest.mark.parametrize(
    ("codes", "encoder", "code", "text"),
    [
        ([999] * 144, None, ErrorCode.BAD_LATENT, "index 999; the codebook ends at 31"),
        ([1] * 100, None, ErrorCode.BAD_LATENT, "[1, 100]; a latent of this encoder has [144]"),
        ([1] * 144, "another", ErrorCode.WRONG_ENCODER, "encoder another"),
    ],
)
def test_codes_that_mean_nothing_are_refused(graph, start, folder, codes, encoder, code, text):
    start()
    encoder = encoder or load_checkpoint(folder).encoder_id
    request = DecodeLatent.Request(latents=latent_message(np.array([codes]), encoder))
    answer = graph.call(DecodeLatent, "decode_latent", request)
    assert (answer.error_code, list(answer.images)) == (code, [])
    assert text in answer.error_msg


def test_a_truncated_checkpoint_is_named_until_it_is_repaired(
    graph, start, folder, sample, tmp_path
):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    weights = broken / "encoder" / "vqvae.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    logs = graph.logs()
    latents = graph.collect(Latent, LATENT, LATCHED)
    start(broken)
    observations = graph.publisher(Observation, OBSERVATION, LATCHED)
    observations.publish(observation(sample, 1))
    logs.expect("truncated", Log.ERROR)
    graph.wait(lambda: latents, "the refusal")
    assert latents[0].error_code == ErrorCode.BAD_CHECKPOINT
    request = EncodeImage.Request(images=[array_to_image(sample, Time(), "c")])
    answer = graph.call(EncodeImage, "encode_image", request)
    assert answer.error_code == ErrorCode.BAD_CHECKPOINT
    assert "truncated" in answer.error_msg

    weights.write_bytes(content)
    for step in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        change = ChangeState.Request(transition=Transition(id=step))
        assert graph.call(ChangeState, "encoder/change_state", change).success
    # The image that was refused is encoded now: in lock-step no other would come.
    graph.wait(lambda: len(latents) == 2, "the latent")
    assert (latents[1].seq, latents[1].error_code) == (1, ErrorCode.NONE)


def test_weights_that_are_not_finite_are_refused(graph, start, folder, tmp_path):
    loaded = load_checkpoint(folder)
    with torch.no_grad():
        loaded.vqvae.codebook[3, 2] = torch.nan
    save_again(tmp_path / "nan", loaded, {})
    start(tmp_path / "nan")
    answer = graph.call(EncodeImage, "encode_image", EncodeImage.Request())
    assert answer.error_code == ErrorCode.BAD_CHECKPOINT
    assert "vqvae.codebook has values that are not finite" in answer.error_msg
