# SPDX-License-Identifier: Apache-2.0
"""Settings of a whole training: data set, goals, IQL, the chunked policy and the classifier.

Defaults: the paper's experiment. The planner's settings can also be read by a preset's name.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ptp_core.config.loading import formerly, load_config, read_yaml, require
from ptp_core.config.network_config import SubgoalGeneratorConfig, VQVAEConfig
from ptp_core.config.planner_config import (
    STRUCTURE,
    FollowerConfig,
    LegPlannerConfig,
    PlannerConfig,
)
from ptp_core.errors import ConfigError, quoted


@dataclass(frozen=True, kw_only=True)
class RelabellingConfig:
    """Goals of one role: probabilities that sum to 1. Defaults: authors' ptp.py, both buffers."""

    future: float = 0.6  # a later frame of the trajectory
    next: float = 0.1  # the transition's own next state: reward 0
    original: float = 0.3  # the goal it was recorded with; demonstrations: their last state
    current: float = 0.0  # the transition's own state (OGBench: 0.2 for values)
    final: float = 0.0  # the last frame of the trajectory, whatever goal it was recorded with
    random: float = 0.0  # any frame of another trajectory (OGBench: 0.3 for values)
    future_distribution: Literal["uniform", "geometric"] = "uniform"  # of the future frame
    # "uniform" over the rest of the trajectory (authors; OGBench's actors). "geometric": steps
    # ahead with parameter 1 - discount, at most the last frame (OGBench's values).
    discount: float = 0.99  # geometric only (OGBench)

    def __post_init__(self) -> None:
        names = ("future", "next", "original", "current", "final", "random")
        for name in names:
            require(self, name, 0.0, 1.0)
        require(self, "discount", 0.0, 0.999999)
        total = sum(getattr(self, name) for name in names)
        if abs(total - 1.0) > 1e-6:
            raise ConfigError(f"RelabellingConfig: the probabilities sum to {total}, not 1")


@dataclass(frozen=True, kw_only=True)
class GoalRolesConfig:
    """Relabelling for each role of a goal. Defaults: the paper's, the same for every role.

    ``hiql`` gives the settings of HIQL (arXiv 2307.11949, as OGBench runs it).
    """

    value: RelabellingConfig = field(default_factory=RelabellingConfig)
    actor: RelabellingConfig = field(default_factory=RelabellingConfig)
    planner: RelabellingConfig = field(default_factory=RelabellingConfig)

    @classmethod
    def hiql(cls) -> GoalRolesConfig:
        """Values: 0.2 current, 0.5 geometric future, 0.3 random. Both actors: uniform future."""
        none = {"future": 0.0, "next": 0.0, "original": 0.0}
        actor = RelabellingConfig(**{**none, "future": 1.0})
        value = {**none, "current": 0.2, "future": 0.5, "random": 0.3}
        return cls(
            value=RelabellingConfig(**value, future_distribution="geometric"),
            actor=actor,
            planner=actor,
        )


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """Noise predictor and schedule (LBP's released code, which took them from IDQL)."""

    steps: int = 25  # diffusion steps
    sampling_steps: int = 25  # fewer: DDIM, as many times faster
    # Scale of the noise in sampling ("low-temperature sampling", Decision Diffuser, arXiv
    # 2211.15657). 1: as trained; 0: one chunk for each condition.
    temperature: float = 1.0
    hidden_units: int = 256  # width of the residual blocks
    blocks: int = 3
    dropout: float = 0.1
    time_features: int = 32  # learned Fourier features of the step
    draws: int = 1  # pairs of step and noise for each sample of a batch

    def __post_init__(self) -> None:
        require(self, "steps", 2)
        require(self, "hidden_units", 1)
        require(self, "blocks", 0)
        require(self, "dropout", 0.0, 0.99)
        require(self, "time_features", 2)
        require(self, "draws", 1)
        require(self, "temperature", 0.0)
        if self.time_features % 2:
            raise ConfigError(f"DiffusionConfig.time_features is {self.time_features}: even only")
        if not 2 <= self.sampling_steps <= self.steps:
            raise ConfigError(
                f"DiffusionConfig.sampling_steps is {self.sampling_steps}; it must be 2 to steps, "
                f"which is {self.steps}"
            )


@dataclass(frozen=True, kw_only=True)
class ChunkedPolicyConfig:
    """A chunked diffusion policy on latents, and its behaviour cloning. Sizes are ours."""

    horizon: int = 6  # actions of a chunk (LBP)
    channels: int = 64  # of the convolutions on half the grid of codes
    blocks: int = 1  # residual blocks
    condition_units: int = 256
    dropout: float = 0.1  # of the convolutions' features
    proprioception: bool = True  # whether the policy sees it; the paper's robot has none
    head: DiffusionConfig = field(
        default_factory=lambda: DiffusionConfig(draws=2, sampling_steps=8)
    )
    relabelling: RelabellingConfig = field(
        default_factory=lambda: RelabellingConfig(future=0.6, next=0.0, original=0.4)
    )
    working_weight: float = 2.5  # how often states before the work is done, against those after
    labels: Literal["expert", "executed"] = "expert"
    # "expert": what the expert asked for, before noise (DART, arXiv 1703.09327); "executed" where
    # the data do not have it.
    ensemble_decay: float = 0.25  # weights exp(-decay k) of predictions, k = 0 the oldest (LBP)
    learning_rate: float = 1e-3  # AdamW
    learning_rate_decay: Literal["none", "cosine"] = "cosine"  # over the budget
    weight_decay: float = 1e-4
    average_decay: float = 0.999  # of the moving average of weights that acts, per step
    batch_size: int = 256  # chunks
    gradient_clip: float = 1.0  # L2 norm over all parameters
    steps: int = 20_000  # gradient steps
    max_minutes: float = 0.0  # wall clock; 0 = no limit

    def __post_init__(self) -> None:
        require(self, "horizon", 1)
        require(self, "channels", 1)
        require(self, "blocks", 0)
        require(self, "condition_units", 1)
        require(self, "dropout", 0.0, 0.99)
        require(self, "working_weight", 0.0)
        require(self, "learning_rate", 0.0)
        require(self, "weight_decay", 0.0)
        require(self, "average_decay", 0.0, 1.0)
        require(self, "batch_size", 1)
        require(self, "gradient_clip", 0.0)
        require(self, "steps", 0)
        require(self, "max_minutes", 0.0)


@dataclass(frozen=True, kw_only=True)
class PairNetworkConfig:
    """Sizes of a network that classifies pairs of latents. Ours."""

    channels: int = 64  # of the convolutions on half the grid of codes
    blocks: int = 1  # residual blocks
    hidden_units: int = 256
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require(self, "channels", 1)
        require(self, "blocks", 0)
        require(self, "hidden_units", 1)
        require(self, "dropout", 0.0, 0.99)


@dataclass(frozen=True, kw_only=True)
class GoalClassifierConfig(PairNetworkConfig):
    """The classifier that says whether the work of a goal is done. Ours."""

    approach: float = 0.4  # first part of the steps until done, in which nothing is moved yet
    under_way: float = 0.5  # share of the pairs of other work that compare it under way with done
    repeated: float = 0.5  # share of the pairs of work done that compare a demonstration with its
    # repeat, where the data have repeats
    elsewhere: float = 0.3  # share of the pairs of other work that compare a demonstration with
    # the one that shows it with an object elsewhere, where the data have such
    margin: int = 2  # steps around done in which it is open whether the work is done
    candidates: int = 16  # pairs of which that is taken whose arm misleads most
    learning_rate: float = 1e-3  # AdamW
    learning_rate_decay: Literal["none", "cosine"] = "cosine"  # over the budget
    weight_decay: float = 1e-3
    batch_size: int = 256  # pairs of frames
    steps: int = 4000  # gradient steps
    max_minutes: float = 0.0  # wall clock; 0 = no limit

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "approach", 0.0, 1.0)
        require(self, "under_way", 0.0, 1.0)
        require(self, "repeated", 0.0, 1.0)
        require(self, "elsewhere", 0.0, 1.0)
        require(self, "margin", 0)
        require(self, "candidates", 1)
        require(self, "learning_rate", 0.0)
        require(self, "weight_decay", 0.0)
        require(self, "batch_size", 1)
        require(self, "steps", 0)
        require(self, "max_minutes", 0.0)


@dataclass(frozen=True, kw_only=True)
class ToleranceConfig:
    """Further training of the goal classifier, on ends that the generator dt60 shows. Ours."""

    sigma: float = 0.2  # most noise of latent actions whose ends count as the same work
    apart: float = 2.0  # L2 norm beyond which two latent actions do other work
    other_weight: float = 0.5  # of the latter, some of which do the same work
    half_done: float = 0.0  # weight of pairs with work half done; 0: none, as it costs tolerance
    least_change: float = 0.7  # squared L2 distance of latents that both halves of it change
    candidates: int = 3  # half done works of which that is taken which looks most like work done
    learning_rate: float = 5e-4  # AdamW
    learning_rate_decay: Literal["none", "cosine"] = "cosine"  # over the budget
    weight_decay: float = 1e-3
    batch_size: int = 64  # pairs of frames; half as many of each kind with generated ends
    steps: int = 1000  # gradient steps
    max_minutes: float = 0.0  # wall clock; 0 = no limit

    def __post_init__(self) -> None:
        for name in ("sigma", "apart", "other_weight", "half_done", "least_change"):
            require(self, name, 0.0)
        for name in ("learning_rate", "weight_decay"):
            require(self, name, 0.0)
        require(self, "candidates", 1)
        require(self, "batch_size", 2)
        require(self, "steps", 0)
        require(self, "max_minutes", 0.0)


@dataclass(frozen=True, kw_only=True)
class SingleLegsConfig(PairNetworkConfig):
    """The classifier that says whether one leg leads from a state to another. Ours."""

    dropout: float = 0.3
    sigma: float = 0.2  # most noise of the latent actions of single legs
    candidates: int = 4  # second legs of which the one is taken that looks most like a single one
    half_done: float = 1.0  # weight of work half done, which no leg does
    least_change: float = 0.7  # squared L2 distance of latents that both halves of it change
    learning_rate: float = 1e-3  # AdamW
    learning_rate_decay: Literal["none", "cosine"] = "cosine"  # over the budget
    weight_decay: float = 1e-2
    batch_size: int = 48  # demonstrations; two single legs and a pair of legs of each
    steps: int = 2000  # gradient steps
    max_minutes: float = 0.0  # wall clock; 0 = no limit

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "candidates", 1)
        require(self, "batch_size", 2)
        for name in ("sigma", "half_done", "least_change", "learning_rate", "weight_decay"):
            require(self, name, 0.0)
        require(self, "max_minutes", 0.0)
        require(self, "steps", 0)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Demonstrations to collect; the authors' collector keeps failures."""

    env: str = ""  # module:factory of a gymnasium environment; collecting needs one
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    trajectories: int = 4000  # authors' code
    steps: int = 75  # actions a trajectory (authors' code; the paper says 5 to 150)
    # With a chain: most actions a primitive; one that takes longer ends the chain as a failure.
    chain: tuple[int, ...] | None = None  # [fewest, most] primitives in one scene; None: single
    tasks: tuple[str, ...] = ()  # shown whole, in turn, each as often; (): primitives
    keep_failures: bool = True  # False: a demonstration that fails is made again in another scene
    # Single primitives go on until ``steps`` (authors); a chain ends with its last primitive.
    protocol: str = ""  # how the environment draws scenes; "": its own way for demonstrations
    half_way: float = 0.0  # share that begins half-way: hand low, drawer half open, object moved
    noise_std: float = 0.05  # Gaussian noise on each dimension of an action
    bursts: float = 0.0  # share with bursts of random actions: contrast for a critic; ours
    # Share that shows what the demonstration before it shows, from the same scene, with other
    # noise: a goal classifier learns from such pairs how far results may differ. Ours.
    repeats: float = 0.0
    # Share that shows the same with an object elsewhere that the work does not move: a goal
    # classifier learns from such pairs that it matters. Ours.
    elsewhere: float = 0.0
    seed: int = 0
    num_envs: int = formerly("workers", 2)  # env workers, one environment each
    training_fraction: float = 0.9  # first part of each trajectory list that IQL learns from

    def __post_init__(self) -> None:
        require(self, "trajectories", 1)
        require(self, "steps", 1)
        require(self, "noise_std", 0.0)
        require(self, "half_way", 0.0, 1.0)
        require(self, "bursts", 0.0, 1.0)
        require(self, "repeats", 0.0, 0.5)
        require(self, "elsewhere", 0.0, 0.5)
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
        if self.tasks and (self.chain is not None or self.half_way):
            raise ConfigError(
                "DataConfig.tasks are shown whole, from their own scenes: use them without chain "
                "and half_way"
            )
        again = {name: getattr(self, name) for name in ("repeats", "elsewhere")}
        if sum(again.values()) > 0.5:
            raise ConfigError(
                f"DataConfig.repeats and elsewhere are {self.repeats} and {self.elsewhere}: at "
                "most half of the demonstrations can show the one before again"
            )
        for name, share in again.items():
            if share and not self.keep_failures:
                raise ConfigError(
                    f"DataConfig.{name}: a demonstration that is made again leaves its scene, so "
                    f"none shows another's: set keep_failures, or {name} to 0"
                )
        if self.elsewhere and self.tasks:
            raise ConfigError(
                "DataConfig.elsewhere: tasks are shown from their own scenes: set it to 0"
            )
        if len(set(self.tasks)) < len(self.tasks):
            raise ConfigError("DataConfig.tasks names a task twice")
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
    # Gradient steps offline (authors' code; the paper says 200 k); 0: the stage is left out.
    steps: int = 100_000
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
    side_by_side: bool = False  # policy beside other stages, one process and thread each
    save_minutes: float = 2.0  # wall clock between stage checkpoints
    log_every: int = 100  # gradient steps between scalars
    data: DataConfig = field(default_factory=DataConfig)
    vqvae: VQVAEConfig = field(default_factory=VQVAEConfig)
    generators: SubgoalGeneratorConfig = field(default_factory=SubgoalGeneratorConfig)
    iql: IQLConfig = field(default_factory=IQLConfig)
    imagined: GeneratedGoalsConfig = field(default_factory=GeneratedGoalsConfig)
    # These four are ours, and left out unless they have steps.
    chunked: ChunkedPolicyConfig = field(default_factory=lambda: ChunkedPolicyConfig(steps=0))
    classifier: GoalClassifierConfig = field(default_factory=lambda: GoalClassifierConfig(steps=0))
    tolerance: ToleranceConfig = field(default_factory=lambda: ToleranceConfig(steps=0))
    single_legs: SingleLegsConfig = field(default_factory=lambda: SingleLegsConfig(steps=0))
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    legs: LegPlannerConfig = field(default_factory=LegPlannerConfig)  # of ptp_legs; ours
    follower: FollowerConfig = field(default_factory=FollowerConfig)

    def __post_init__(self) -> None:
        require(self, "seed", 0)
        require(self, "threads", 1)
        require(self, "save_minutes", 0.0)
        require(self, "log_every", 1)
        for name in ("tolerance", "single_legs"):
            if getattr(self, name).steps and not self.classifier.steps:
                raise ConfigError(
                    f"{name}.steps needs the goal classifier, which classifier.steps: 0 leaves out"
                )
        if not self.iql.steps:
            if self.imagined.steps:
                raise ConfigError("imagined.steps needs IQL: iql.steps is 0, which leaves it out")
            if not (self.chunked.steps and self.classifier.steps):
                raise ConfigError(
                    "iql.steps is 0, which leaves IQL out: without chunked.steps and "
                    "classifier.steps there is no policy to act with"
                )


PLANNER_PRESETS = {
    "paper": PlannerConfig.paper,
    "fast": PlannerConfig.fast,
    "descent": PlannerConfig.descent,
    "best": PlannerConfig.best,
}


def planner_config(name: str) -> PlannerConfig:
    """Settings by preset ("paper", "fast") or from the ``planner`` section of a training YAML.

    For callers without a method: a preset has the paper's structure, three levels and 8 subgoals.
    Raises ConfigError for a name that is neither.
    """
    if name in PLANNER_PRESETS:
        return PLANNER_PRESETS[name]()
    if Path(name).suffix not in (".yaml", ".yml"):
        raise ConfigError(
            f"planner {quoted(name)} is neither a preset "
            f"({', '.join(PLANNER_PRESETS)}) nor a YAML file"
        )
    return load_config(name, TrainConfig).planner


def planner_settings(name: str) -> dict[str, Any]:
    """Planner settings of a preset or a training YAML, which a method then completes.

    A preset sets the effort of the search, not the structure of plans. A YAML file sets what its
    ``planner`` section has. Raises ConfigError as `planner_config`.
    """
    config = planner_config(name)
    if name in PLANNER_PRESETS:
        names = {entry.name for entry in dataclasses.fields(config)} - set(STRUCTURE)
    else:
        names = read_yaml(Path(name)).get("planner", {}).keys()
    return {key: getattr(config, key) for key in sorted(names)}
