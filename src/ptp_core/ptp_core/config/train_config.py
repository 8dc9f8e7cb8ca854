# SPDX-License-Identifier: Apache-2.0
"""Settings of the data set, of IQL and of a whole training. Defaults: the paper's experiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ptp_core.config.checks import formerly, require
from ptp_core.config.network_config import SubgoalGeneratorConfig, VQVAEConfig
from ptp_core.config.planner_config import FollowerConfig, PlannerConfig
from ptp_core.config.policy_config import ChunkedPolicyConfig, GoalClassifierConfig
from ptp_core.config.relabelling_config import RelabellingConfig
from ptp_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Demonstrations to collect, failures kept (authors' collector)."""

    env: str = ""  # module:factory of a gymnasium environment; collecting needs one
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    trajectories: int = 4000  # authors' code
    steps: int = 75  # actions a trajectory (authors' code; the paper says 5 to 150)
    # With a chain: most actions a primitive; one that takes longer ends the chain as a failure.
    chain: tuple[int, ...] | None = None  # [fewest, most] primitives in one scene; None: single
    # Single primitives go on until ``steps`` (authors); a chain ends with its last primitive.
    protocol: str = ""  # how the environment draws scenes; "": its own way for demonstrations
    half_way: float = 0.0  # share that begins half-way: hand low, drawer half open, object moved
    noise_std: float = 0.05  # Gaussian noise on each dimension of an action
    bursts: float = 0.0  # share with bursts of random actions: contrast for a critic; ours
    seed: int = 0
    num_envs: int = formerly("workers", 2)  # env workers, one environment each
    training_fraction: float = 0.9  # first part of each trajectory list that IQL learns from

    def __post_init__(self) -> None:
        require(self, "trajectories", 1)
        require(self, "steps", 1)
        require(self, "noise_std", 0.0)
        require(self, "half_way", 0.0, 1.0)
        require(self, "bursts", 0.0, 1.0)
        require(self, "seed", 0)
        require(self, "num_envs", 1)
        require(self, "training_fraction", 0.0, 1.0)
        if self.chain is not None and not (
            len(self.chain) == 2 and 1 <= self.chain[0] <= self.chain[1]
        ):
            raise ConfigError(
                f"DataConfig.chain is {list(self.chain)}; write [fewest, most] primitives, the "
                "fewest at least 1"
            )
        if self.env and ":" not in self.env:
            raise ConfigError(f'DataConfig.env is "{self.env}"; write it as module:factory')


@dataclass(frozen=True, kw_only=True)
class IQLConfig:
    """Goal-conditioned implicit Q-learning (authors' iql_trainer.py, train_eval_ptp.py)."""

    policy_hidden: tuple[int, ...] = (256, 256, 256, 256)
    q_hidden: tuple[int, ...] = (256, 256)
    value_hidden: tuple[int, ...] = (256, 256)
    projection_dim: int | None = None  # latent and goal first go to this, shared; None = paper
    policy_conv: int | None = None  # channels of a 3 x 3, stride 2 convolution before the policy
    policy_std: float = 0.15  # fixed standard deviation of the Gaussian policy
    discount: float = 0.995
    expectile: float = 0.9  # authors call it quantile
    temperature: float = 0.01  # advantage is divided by this before exp
    weight_clip: float = 100.0  # upper bound of the policy's weights
    value_min: float | None = -200.0  # clamp of V(s') and of min target-Q; None = off (paper)
    value_max: float | None = 0.0
    target_update: float = 0.01  # tau, every gradient step
    target_init: Literal["independent", "copied"] = "independent"  # authors: independent
    precision: Literal["float32", "auto"] = "float32"  # of updates
    # "auto": bfloat16 except for outputs, losses and Adam, where the hardware supports it (AVX-512
    # BF16, NVIDIA since Ampere). Acting and planning stay in float32.
    learning_rate: float = 3e-4  # Adam, every network
    learning_rate_decay: Literal["none", "cosine"] = "none"  # over the offline budget
    policy_weight_decay: float = 1e-4
    reward_epsilon: float | Literal["auto"] = 2.0  # L2 between latents below which a goal counts
    # "auto": the median distance of frames reward_epsilon_steps apart in the encoded data set.
    reward_epsilon_steps: int = 3  # control steps; "auto" only
    relabelling: RelabellingConfig = field(default_factory=RelabellingConfig)
    batch_size: int = 256  # transitions
    online_fraction: float = 0.6  # of a batch once online data exist
    gradient_clip: float = 0.0  # L2 norm of each network; 0 = off (authors)
    steps: int = 100_000  # gradient steps offline (authors' code; the paper says 200 k)
    max_minutes: float = 0.0  # wall clock; 0 = no limit

    def __post_init__(self) -> None:
        require(self, "policy_std", 0.0)
        require(self, "discount", 0.0, 1.0)
        require(self, "expectile", 0.0, 1.0)
        require(self, "temperature", 1e-6)
        require(self, "target_update", 0.0, 1.0)
        require(self, "batch_size", 1)
        require(self, "online_fraction", 0.0, 1.0)
        require(self, "steps", 0)
        require(self, "max_minutes", 0.0)
        if self.projection_dim is not None:
            require(self, "projection_dim", 1)
        if self.policy_conv is not None:
            require(self, "policy_conv", 2)
        if self.reward_epsilon != "auto":
            require(self, "reward_epsilon", 0.0)


@dataclass(frozen=True, kw_only=True)
class GeneratedGoalsConfig:
    """Second IQL stage: part of the goals come from the generators. Ours, not in the paper."""

    share: float = 0.5  # of a batch's goals that are generated
    learning_rate: float = 5e-4  # Adam, every network
    learning_rate_decay: Literal["none", "cosine"] = "cosine"  # over this stage's budget
    steps: int = 0  # gradient steps; 0 = the stage is left out
    max_minutes: float = 0.0  # wall clock; 0 = no limit

    def __post_init__(self) -> None:
        require(self, "share", 0.0, 1.0)
        require(self, "learning_rate", 0.0)
        require(self, "steps", 0)
        require(self, "max_minutes", 0.0)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of `ptp collect` and `ptp pretrain`."""

    seed: int = 0
    threads: int = 2  # torch threads, set once by the program's entry point
    device: Literal["cpu", "cuda", "auto"] = "auto"
    side_by_side: bool = False  # generators and IQL at once, one process and thread each
    save_minutes: float = 2.0  # wall clock between stage checkpoints
    log_every: int = 100  # gradient steps between scalars
    data: DataConfig = field(default_factory=DataConfig)
    vqvae: VQVAEConfig = field(default_factory=VQVAEConfig)
    generators: SubgoalGeneratorConfig = field(default_factory=SubgoalGeneratorConfig)
    iql: IQLConfig = field(default_factory=IQLConfig)
    imagined: GeneratedGoalsConfig = field(default_factory=GeneratedGoalsConfig)
    # Both ours, and left out unless they have steps.
    chunked: ChunkedPolicyConfig = field(default_factory=lambda: ChunkedPolicyConfig(steps=0))
    classifier: GoalClassifierConfig = field(default_factory=lambda: GoalClassifierConfig(steps=0))
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    follower: FollowerConfig = field(default_factory=FollowerConfig)

    def __post_init__(self) -> None:
        require(self, "seed", 0)
        require(self, "threads", 1)
        require(self, "save_minutes", 0.0)
        require(self, "log_every", 1)
