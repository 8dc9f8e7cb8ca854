# SPDX-License-Identifier: Apache-2.0
"""Replace the weights of policy and value networks while they are in use (paper Alg. 1)."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass

import torch
from safetensors.torch import load
from torch import nn

from ptp_core.errors import CheckpointError
from ptp_core.training.weights import serialise

# Versions that an update may be ahead of the one in use, as a node that starts late takes the
# newest. A wrong, far larger version would block every later update.
MOST_AHEAD = 10**6
HEADER = 2**20  # bytes that an update may have beside its weights


class RefusedUpdate(CheckpointError):
    """An update was refused; ``kind`` names the reason."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class WeightsUpdate:
    """Message with new weights: safetensors bytes, version, encoder id and checksum."""

    version: int  # increases by one with each update; the checkpoint is 0
    encoder_id: str  # of the latents that the networks read
    sha256: str  # of content, hexadecimal
    content: bytes

    @classmethod
    def of(cls, module: nn.Module, version: int, encoder_id: str) -> WeightsUpdate:
        """Make an update of the module's weights in float32."""
        content = serialise(module, encoder_id=encoder_id)
        return cls(version, encoder_id, hashlib.sha256(content).hexdigest(), content)


class LiveWeights:
    """Receives updates in one thread and applies them to ``module`` in the thread that uses it.

    ``stage`` checks an update; ``swap`` then only copies it, between two steps. A refused update
    changes nothing, so that the last good weights stay.
    """

    def __init__(self, module: nn.Module, encoder_id: str) -> None:
        self.version = 0  # of the weights in use
        self._module = module
        self._encoder_id = encoder_id
        self._lock = threading.Lock()
        self._staged: tuple[int, dict[str, torch.Tensor]] | None = None

    def stage(self, update: WeightsUpdate) -> bool:
        """Check an update and keep it for ``swap``; False for one that is not newer.

        Raises RefusedUpdate for another encoder, a wrong checksum, other names, shapes or dtypes,
        values that are not finite, and a version far above the one in use.
        """
        name = f"weights {update.version}"
        if not 0 <= update.version <= self.version + MOST_AHEAD:
            raise RefusedUpdate(
                "version",
                f"{name} are more than {MOST_AHEAD} updates from {self.version}, which is in use: "
                "no learner is that far ahead",
            )
        if update.encoder_id != self._encoder_id:
            raise RefusedUpdate(
                "encoder",
                f"{name} read latents of encoder {update.encoder_id[:12] or '(unnamed)'}, not "
                f"{self._encoder_id[:12]}: start learner and nodes with the same checkpoint",
            )
        own = sum(t.numel() * t.element_size() for t in self._module.state_dict().values())
        if len(update.content) > own + HEADER:
            raise RefusedUpdate(
                "size",
                f"{name} have {len(update.content)} bytes, the checkpoint's have {own}: the "
                "learner trains networks of another size",
            )
        if hashlib.sha256(update.content).hexdigest() != update.sha256:
            raise RefusedUpdate("checksum", f"{name} were altered on the way (sha256)")
        try:
            tensors = load(update.content)
        # safetensors raises KeyError for an unknown dtype, torch its own errors for an empty
        # tensor. Any error refuses the update.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise RefusedUpdate("format", f"{name} are no safetensors ({reason})") from None
        self._check(name, tensors)
        with self._lock:
            newest = self._staged[0] if self._staged else self.version
            if update.version <= newest:
                return False
            self._staged = update.version, tensors
        return True

    @torch.no_grad()
    def swap(self) -> bool:
        """Apply the staged weights, if there are any; return whether there were."""
        with self._lock:
            staged, self._staged = self._staged, None
        if staged is None:
            return False
        own = self._module.state_dict()
        for name, tensor in staged[1].items():
            own[name].copy_(tensor)
        self.version = staged[0]
        return True

    def _check(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        own = self._module.state_dict()
        if odd := sorted(own.keys() ^ tensors.keys()):
            raise RefusedUpdate(
                "names",
                f"{name} have other tensors than the checkpoint, {odd[0][:100]} for one: "
                "the learner trains networks of another size",
            )
        for key, tensor in tensors.items():
            if tensor.shape != own[key].shape:
                raise RefusedUpdate(
                    "shape",
                    f"{name}: {key} has shape {tuple(tensor.shape)}, the checkpoint's has "
                    f"{tuple(own[key].shape)}: the learner trains networks of another size",
                )
            # Require equal dtypes, as a float64 of 1e300 would become infinite in float32.
            if tensor.dtype != own[key].dtype:
                raise RefusedUpdate(
                    "dtype",
                    f"{name}: {key} is {tensor.dtype}, the checkpoint's is {own[key].dtype}",
                )
            if not torch.isfinite(tensor).all():
                raise RefusedUpdate("values", f"{name}: {key} has values that are not finite")
