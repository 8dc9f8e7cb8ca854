# SPDX-License-Identifier: Apache-2.0
"""A toy agent that shares nothing with PTP: what a method of one's own has to bring.

It takes instructions, looks through two cameras, reads proprioception and gives seven numbers. It
has no encoder and no plans, and its only part is one linear layer. `ptp_core.toy_env` fits it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ptp_core.agents.agent import AgentSpec, CameraSpec, Decision
from ptp_core.agents.registry import Method, register
from ptp_core.training.checkpoint import Part, PartType, register_part, save_checkpoint

JOINTS = tuple(f"joint_{number}" for number in range(7))
CAMERAS = (CameraSpec("front", 32, 48), CameraSpec("wrist", 24, 24))
SPEC = AgentSpec("toy", CAMERAS, JOINTS, goals=("language",), proprioception=JOINTS)


@dataclass(frozen=True)
class ToyConfig:
    """Settings of the agent, and of its part."""

    bias: bool = False  # of the layer


class ToyAgent:
    """Moves all joints up or down as told; see `ptp_core.agents.agent.Agent`."""

    def __init__(self, checkpoint, options) -> None:
        self.settings = {}
        self.spec, self.learned = checkpoint.spec, checkpoint.part("toy_layer")

    def reset(self, observation, goal, seeds, *, subgoals=None, cancelled=None) -> None:
        """Keep the instruction."""
        self.spec.check_goal(goal)
        self._way = 1.0 if "up" in goal.text else -1.0

    def act(self, observation, cancelled=None) -> Decision:
        """One pass through the layer."""
        self.spec.check_observation(observation)
        seen = [observation.images[camera.name].mean() / 255 for camera in self.spec.cameras]
        features = np.array([*observation.proprioception, *seen, self._way], np.float32)
        with torch.no_grad():
            return Decision(self.learned(torch.from_numpy(features)).clamp(-1, 1).numpy())

    def distance(self, observation) -> None:
        """It has no measure."""


def _layer(config: ToyConfig, spec: AgentSpec, encoder: None) -> nn.Linear:
    inputs = len(spec.proprioception) + len(spec.cameras) + 1
    return nn.Linear(inputs, len(spec.actions), bias=config.bias)


TOY = Method(
    name="toy",
    summary="an example",
    build=ToyAgent,
    parts=("toy_layer",),
    config=ToyConfig,
    goals=("language",),
    learned="toy_layer",
)
TOY_LAYER = PartType("toy_layer", _layer, ToyConfig, learns=True)


def register_toy() -> None:
    """Make the method and its part known in this process."""
    register_part(TOY_LAYER)
    register(TOY)


def save_toy(folder, gain: float = 1.0) -> None:
    """Write a checkpoint of the toy, which moves each joint by ``gain`` the way it is told."""
    layer = _layer(ToyConfig(), SPEC, None)
    with torch.no_grad():
        layer.weight.zero_()[:, -1] = gain
    save_checkpoint(
        folder, {"toy_layer": Part("toy_layer", layer, ToyConfig())}, ToyConfig(), {}, spec=SPEC
    )
