# SPDX-License-Identifier: Apache-2.0
"""The settings of ``--env.type=ptp_table``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from lerobot_env_ptp.lerobot_table import GOAL, GYM_ID


@EnvConfig.register_subclass("ptp_table")
@dataclass
class PtpTableConfig(EnvConfig):
    """The simulated table; the last five describe another environment of ``factory``."""

    task: str | None = "A"
    fps: int = 24  # control steps a second of the table
    protocol: str = "paper"  # how scenes are drawn; empty: the environment's first
    goal_image: bool = False  # the goal image is one more camera
    factory: str = "ptp_sim.env:make_env"  # module:function
    camera_names: list[str] = field(default_factory=lambda: ["camera"])
    image_size: int = 48  # pixels a side
    state_size: int = 5  # numbers of proprioception; 0: none
    action_size: int = 5

    def __post_init__(self) -> None:
        cameras = [*self.camera_names, *([GOAL] if self.goal_image else [])]
        shape = (self.image_size, self.image_size, 3)
        self.features[ACTION] = PolicyFeature(FeatureType.ACTION, (self.action_size,))
        self.features_map[ACTION] = ACTION
        if self.state_size:
            self.features["agent_pos"] = PolicyFeature(FeatureType.STATE, (self.state_size,))
            self.features_map["agent_pos"] = OBS_STATE
        for camera in cameras:
            self.features[f"pixels/{camera}"] = PolicyFeature(FeatureType.VISUAL, shape)
            self.features_map[f"pixels/{camera}"] = f"{OBS_IMAGES}.{camera}"

    @property
    def package_name(self) -> str:
        """The package that registers the environment."""
        return "lerobot_env_ptp"

    @property
    def gym_id(self) -> str:
        """Its name in gymnasium."""
        return GYM_ID

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Arguments of `LerobotTable`."""
        return {
            "task": self.task or "A",
            "protocol": self.protocol,
            "factory": self.factory,
            "goal_image": self.goal_image,
        }
