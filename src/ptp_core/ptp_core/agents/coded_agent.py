# SPDX-License-Identifier: Apache-2.0
"""What agents with the VQ-VAE's codes share: images and codes that another process encoded."""

from __future__ import annotations

import numpy as np
import torch

from ptp_core.agents.agent import AgentSpec, Observation
from ptp_core.data.trajectory import CAMERA
from ptp_core.encoders.vqvae import VQVAE


class CodedAgent:
    """Reads observations as codes. A subclass sets ``vqvae`` and ``spec``."""

    vqvae: VQVAE
    spec: AgentSpec

    def _codes(self, observation: Observation) -> torch.Tensor:
        """Codes, int64 (N,), on the networks' device."""
        self.spec.check_observation(observation)
        if observation.latent is not None:
            return self._on_device(observation.latent)
        return self._encode(observation.images[CAMERA])

    def _on_device(self, codes: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(codes.astype(np.int64)).to(self.vqvae.codebook.device)

    @torch.no_grad()
    def _encode(self, image: np.ndarray) -> torch.Tensor:
        batch = torch.from_numpy(np.ascontiguousarray(image))[None]
        return self.vqvae.encode(batch.to(self.vqvae.codebook.device))[0].long()

    @torch.no_grad()
    def _lookup(self, codes: torch.Tensor) -> torch.Tensor:
        return self.vqvae.lookup(codes.long().to(self.vqvae.codebook.device))


def compact(codes: torch.Tensor) -> np.ndarray:
    """Codes as messages and buffers keep them, uint16 on the CPU."""
    return codes.cpu().numpy().astype(np.uint16)
