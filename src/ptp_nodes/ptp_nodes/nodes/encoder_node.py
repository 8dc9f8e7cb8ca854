# SPDX-License-Identifier: Apache-2.0
"""Node: encodes images to latents, and decodes latents to images."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from ptp_interfaces.msg import ErrorCode, Latent, Observation
from ptp_interfaces.srv import DecodeLatent, EncodeImage
from rclpy.callback_groups import ReentrantCallbackGroup

from ptp_core.agents.agent import AgentSpec
from ptp_core.errors import CheckpointError, InputError, PtpError
from ptp_core.training.checkpoint import Checkpoint
from ptp_nodes.policy.agent_networks import NetworkParameters, agent_spec, load_networks
from ptp_ros.agent_messages import (
    latent_message,
    read_images,
    read_latent,
    read_observation,
)
from ptp_ros.diagnostics import ERROR, OK, Diagnostics
from ptp_ros.image_messages import array_to_image, crop_and_resize
from ptp_ros.lifecycle import ManagedNode
from ptp_ros.node_main import run
from ptp_ros.request_errors import RequestError, fill_error
from ptp_ros.streams import HistoryPublisher
from ptp_ros.topics import DECODE_LATENT, ENCODE_IMAGE, LATCHED, LATENT, OBSERVATION, STREAM
from ptp_ros.worker import NewestFirst, in_executor


class EncoderNode(ManagedNode):
    """Publishes a `Latent` for each `Observation`, newest first.

    For an observation that cannot be encoded the Latent has error_code and error_msg, so that the
    policy can report the reason.
    """

    parameters_type = NetworkParameters

    def __init__(self, **options: Any) -> None:
        super().__init__("encoder", **options)
        self._checkpoint: Checkpoint | None = None
        self._spec: AgentSpec | None = None
        self._last: Observation | None = None
        self._encoded = self._refused = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._newest = NewestFirst(self._pool, self._encode_observation)
        self._latents = HistoryPublisher(self, Latent, LATENT, STREAM)
        self.streams.subscribe(Observation, OBSERVATION, self._observed, LATCHED)
        # Requests are awaited: their group must let observations through meanwhile.
        group = ReentrantCallbackGroup()
        self.create_service(
            EncodeImage, ENCODE_IMAGE, self._serve(self._encode_image), callback_group=group
        )
        self.create_service(
            DecodeLatent, DECODE_LATENT, self._serve(self._decode_latent), callback_group=group
        )
        Diagnostics(self, self._status)

    def stop(self) -> None:
        """End the thread."""
        super().stop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _configure(self) -> None:
        self._checkpoint = load_networks(self.parameters)
        self._spec = spec = agent_spec(self._checkpoint)
        if self._checkpoint.encoder is None:
            raise CheckpointError(
                f"{self._checkpoint.folder}: {spec.agent} has no encoder: leave this node out, "
                "its policy node looks at the observations"
            )
        if len(spec.cameras) != 1:
            names = ", ".join(camera.name for camera in spec.cameras) or "none"
            raise CheckpointError(
                f"{self._checkpoint.folder}: {spec.agent} has the cameras {names}; this node "
                "encodes the images of one"
            )

    @property
    def _size(self) -> int:
        """Pixels a side of the images that the encoder takes."""
        return self._checkpoint.vqvae.config.image_size

    def _activate(self) -> None:
        if self._last is not None:  # in lock-step no other image would come
            self._newest.put(self._last)

    def _observed(self, message: Observation) -> None:
        self._last = message
        self._newest.put(message)

    def _encode_observation(self, message: Observation) -> None:
        try:
            self.require_active()
            latent = self._encode(read_observation(message, self._spec).images)
            self._encoded += 1
        except InputError as error:
            latent = self._refuse(RequestError(ErrorCode.BAD_IMAGE, str(error)))
        except PtpError as error:
            latent = self._refuse(error)
        except Exception as error:
            self.get_logger().error(
                f"unexpected\n{traceback.format_exc()}", throttle_duration_sec=1.0
            )
            latent = self._refuse(error)
        latent.header = message.header
        latent.seq = message.seq
        latent.proprioception_names = message.proprioception_names
        latent.proprioception = message.proprioception
        self._latents.publish(latent)

    def _refuse(self, error: Exception) -> Latent:
        if isinstance(error, RequestError) and error.code == ErrorCode.NOT_ACTIVE:
            # No fault: images may be there before the networks, and one waits for activation.
            self.get_logger().info(f"not encoded: {error}", throttle_duration_sec=1.0)
        else:
            self._refused += 1
            self.get_logger().error(f"observation refused: {error}", throttle_duration_sec=1.0)
        return fill_error(Latent(), error)

    def _encode(self, images: dict[str, np.ndarray]) -> Latent:
        """Latent of uint8 (H, W, 3) by camera."""
        vqvae = self._checkpoint.vqvae
        (pixels,) = images.values()
        with torch.inference_mode():
            raw = vqvae.raw(torch.from_numpy(pixels)[None])
            if not torch.isfinite(raw).all():
                raise RequestError(
                    ErrorCode.BAD_LATENT, "the encoder gave a latent that is not finite"
                )
            codes = vqvae.quantise(raw)[0][0]
        return Latent(latent=latent_message(codes.numpy(), self._checkpoint.encoder_id))

    def _serve(self, work: Callable) -> Callable:
        async def serve(request: Any, response: Any) -> Any:
            try:
                self.require_active()
                return await in_executor(self, self._pool.submit(work, request, response))
            except InputError as error:
                reason: Exception = RequestError(ErrorCode.BAD_IMAGE, str(error))
            except PtpError as error:
                reason = error
            except Exception as error:
                self.get_logger().error(
                    f"unexpected\n{traceback.format_exc()}", throttle_duration_sec=1.0
                )
                reason = error
            self.get_logger().error(f"request refused: {reason}", throttle_duration_sec=1.0)
            return fill_error(response, reason)

        return serve

    def _encode_image(self, request: EncodeImage.Request, response: EncodeImage.Response):
        self.require_active()
        images = read_images(request.cameras, request.images, self._spec, "request")
        if request.resize:
            sizes = {camera.name: camera.height for camera in self._spec.cameras}
            images = {c: crop_and_resize(pixels, size=sizes[c]) for c, pixels in images.items()}
        self._spec.check_images(images)
        response.latent = self._encode(images)
        response.latent.header = header = request.images[0].header
        codes = read_latent(response.latent.latent, self._spec.latent, "latent")
        response.reconstructions = self._decode(codes[None], header)
        return response

    def _decode_latent(self, request: DecodeLatent.Request, response: DecodeLatent.Response):
        self.require_active()
        latents = read_latent(request.latents, self._spec.latent, "request", stacked=True)
        header = Latent().header
        header.stamp = self.get_clock().now().to_msg()
        response.images = self._decode(latents, header)
        return response

    def _decode(self, codes: np.ndarray, header) -> list:
        """Images of codes (N, 144)."""
        vqvae = self._checkpoint.vqvae
        with torch.inference_mode():
            latents = vqvae.lookup(torch.from_numpy(codes.astype(np.int64)))
            images = vqvae.decode(latents).numpy()
        return [array_to_image(p, header.stamp, header.frame_id) for p in images]

    def _status(self):
        figures = {
            "encoded": self._encoded,
            "refused": self._refused,
            "skipped": self._newest.dropped,
        }
        if not self.active:
            return ERROR, str(self.problem), figures
        return OK, f"encoder {self._checkpoint.encoder_id[:12]}", figures


def main() -> int:
    """Entry point."""
    return run(EncoderNode)
