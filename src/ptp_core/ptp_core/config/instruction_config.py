# SPDX-License-Identifier: Apache-2.0
"""Settings of methods that take instructions: LBP and its baselines.

Defaults are those of Latent Space Backward Planning (LBP, ICML 2025, arXiv 2505.06861), on latents
of a VQ-VAE. Where the paper and its released code differ, a setting names both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ptp_core.config.loading import require
from ptp_core.config.network_config import VQVAEConfig
from ptp_core.config.train_config import ChunkedPolicyConfig, DiffusionConfig, RelabellingConfig
from ptp_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text encoder, from sentences to vectors."""

    kind: Literal["auto", "minilm", "learned"] = "auto"
    # "minilm": all-MiniLM-L6-v2, frozen (paper: DecisionNCE, whose weights are in no package).
    # "learned": a vector for each sentence of the data, trained with the backward planner.
    # "auto": MiniLM where it is installed, else learned.
    dimensions: int = 64  # of a vector; "learned" only, MiniLM has 384

    def __post_init__(self) -> None:
        require(self, "dimensions", 1)


@dataclass(frozen=True, kw_only=True)
class SentenceTableConfig:
    """The text encoder of a checkpoint: the sentences whose vectors it stores."""

    kind: Literal["minilm", "learned"]
    dimensions: int
    sentences: tuple[str, ...]

    def __post_init__(self) -> None:
        require(self, "dimensions", 1)
        if not self.sentences:
            raise ConfigError("SentenceTableConfig.sentences is empty: name one or more")


@dataclass(frozen=True, kw_only=True)
class PredictorConfig:
    """What the networks that predict latents have in common, and their training."""

    hidden_factor: float = 4.0  # hidden units for each dimension of a latent (released code)
    learning_rate: float = 3e-4  # AdamW (released code, with a warm-up of 2000 steps)
    learning_rate_decay: Literal["none", "cosine"] = "cosine"  # over the budget (released code)
    weight_decay: float = 0.0  # released code
    gradient_clip: float = 1.0  # L2 norm over all parameters; 0 = off
    batch_size: int = 64  # frames (released code)
    steps: int = 100_000  # gradient steps (released code)
    max_minutes: float = 0.0  # wall clock; 0 = no limit

    def __post_init__(self) -> None:
        require(self, "hidden_factor", 1e-3)
        require(self, "learning_rate", 0.0)
        require(self, "weight_decay", 0.0)
        require(self, "gradient_clip", 0.0)
        require(self, "batch_size", 1)
        require(self, "steps", 0)
        require(self, "max_minutes", 0.0)


@dataclass(frozen=True, kw_only=True)
class BackwardConfig(PredictorConfig):
    """LBP's planner: a goal predictor f_g and one subgoal predictor f_w for all levels."""

    subgoals: int = 2  # n, between now and the goal; the paper's "planning steps" are n + 1
    ratio: float = 0.5  # lambda: steps to a subgoal / steps to the one beyond it (paper)
    index_rule: Literal["ceil", "floor"] = "ceil"
    # "ceil": frame ceil(t + lambda^i (H - t)) (paper). "floor": each from the one beyond it,
    # rounded down (released code).
    objective: Literal["sum", "coin_flip"] = "sum"
    # "sum": both terms of Eq. 5, true and own contexts. "coin_flip": one of them for each batch,
    # true contexts with noise, gradients of own contexts also reach f_g (released code).
    noise_std: float = 0.1  # of true contexts, on standardised latents; "coin_flip" only
    language: bool = True  # whether f_w sees the instruction (paper)
    language_dropout: float = 0.1  # share of frames for which f_w sees none: for goal images; ours

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "subgoals", 0)
        require(self, "ratio", 1e-3, 1.0 - 1e-3)
        require(self, "noise_std", 0.0)
        require(self, "language_dropout", 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class ForwardConfig(PredictorConfig):
    """The forward planner (paper Figs. 5 and 6): subgoals a fixed number of steps apart."""

    subgoals: int = 3  # as many latents as LBP's plan
    stride: int = 10  # control steps (paper)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "subgoals", 1)
        require(self, "stride", 1)


@dataclass(frozen=True, kw_only=True)
class ParallelConfig(PredictorConfig):
    """The parallel planner (paper Figs. 5 and 6): LBP's goal and subgoals in one prediction."""

    subgoals: int = 2  # between now and the goal
    ratio: float = 0.5
    index_rule: Literal["ceil", "floor"] = "ceil"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "subgoals", 0)
        require(self, "ratio", 1e-3, 1.0 - 1e-3)


@dataclass(frozen=True, kw_only=True)
class ProposerConfig:
    """A latent diffusion that proposes the next subgoal, as SuSIE does on images (2310.10639).

    SuSIE fine-tunes Stable Diffusion. This network is small, is trained from random weights, and
    denoises latents.
    """

    minimum: int = 11  # control steps to the subgoal, at least (SuSIE, CALVIN: 20)
    maximum: int = 14  # and fewer than this
    hold_steps: int = 12  # control steps until the next proposal (SuSIE's script: 40)
    channels: int = 64
    blocks: int = 4  # residual blocks on the grid of codes
    diffusion_steps: int = 50  # SuSIE: 1000
    sampling_steps: int = 10  # DDIM, eta 0 (SuSIE: 50)
    clip: float = 4.0  # bound of a predicted latent, in standard deviations
    image_guidance: float = 1.0  # w_c; 1 and 1: no guidance (SuSIE: 2.5; its robot script: 1)
    text_guidance: float = 1.0  # w_p (SuSIE: 7.5; its robot script: 1)
    condition_dropout: float = 0.1  # of current latent and of instruction, each
    learning_rate: float = 1e-3  # AdamW (SuSIE: 1e-4, fine-tuning)
    learning_rate_decay: Literal["none", "cosine"] = "cosine"
    weight_decay: float = 0.01  # SuSIE
    gradient_clip: float = 1.0  # L2 norm over all parameters (SuSIE)
    batch_size: int = 64  # pairs of frames (SuSIE: 128)
    steps: int = 40_000  # gradient steps (SuSIE)
    max_minutes: float = 0.0  # wall clock; 0 = no limit

    def __post_init__(self) -> None:
        require(self, "minimum", 1)
        require(self, "maximum", self.minimum + 1)
        require(self, "hold_steps", 1)
        require(self, "channels", 1)
        require(self, "blocks", 0)
        require(self, "diffusion_steps", 2)
        require(self, "sampling_steps", 2, self.diffusion_steps)
        require(self, "clip", 1e-3)
        require(self, "condition_dropout", 0.0, 1.0)
        require(self, "learning_rate", 0.0)
        require(self, "weight_decay", 0.0)
        require(self, "gradient_clip", 0.0)
        require(self, "batch_size", 1)
        require(self, "steps", 0)
        require(self, "max_minutes", 0.0)


@dataclass(frozen=True, kw_only=True)
class GoalFusionConfig:
    """How a policy makes one goal of several subgoals."""

    method: Literal["attention", "average"] = "attention"  # "average": the paper's ablation
    query: Literal["learned", "current"] = "learned"
    # "learned": a learnable token (paper). "current": the current latent (released code).
    blocks: int = 2  # cross-attention blocks (paper, appendix A; released code: 3)
    heads: int = 8  # must divide the dimensions of a latent
    feedforward: int = 2048  # units between the blocks' two linear layers (released code)
    language: bool = True  # the instruction is one of the keys (paper; not in the released code)
    level_embedding: bool = True  # keys know their level; ours: without it, order is lost

    def __post_init__(self) -> None:
        require(self, "blocks", 1)
        require(self, "heads", 1)
        require(self, "feedforward", 1)


@dataclass(frozen=True, kw_only=True)
class InstructedPolicyConfig(ChunkedPolicyConfig):
    """A chunked diffusion policy that is told what to do. ``relabelling`` is of goal images."""

    head: DiffusionConfig = field(default_factory=DiffusionConfig)  # 25 steps (released code)
    fusion: GoalFusionConfig = field(default_factory=GoalFusionConfig)
    image_goals: float = 0.2  # share of frames with a goal image and no instruction; ours
    relabelling: RelabellingConfig = field(
        default_factory=lambda: RelabellingConfig(future=0.6, next=0.0, original=0.4)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "image_goals", 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class PlannerPartConfig:
    """A planner of instructions in a checkpoint; the section of its kind is set."""

    language: int  # dimensions of an instruction
    backward: BackwardConfig | None = None
    forward: ForwardConfig | None = None
    parallel: ParallelConfig | None = None
    proposer: ProposerConfig | None = None


@dataclass(frozen=True, kw_only=True)
class InstructedPartConfig:
    """A policy of instructions in a checkpoint."""

    policy: InstructedPolicyConfig
    language: int  # dimensions of an instruction
    levels: int  # subgoals that it is given; 0: none


@dataclass(frozen=True, kw_only=True)
class SentenceGoalsConfig:
    """Sizes of a table of goals, one for each known sentence."""

    sentences: int
    codes: int  # of a goal


@dataclass(frozen=True, kw_only=True)
class InstructedDataConfig:
    """What is learned from a data set whose trajectories have instructions."""

    training_fraction: float = 0.9  # first part of the trajectories; the rest validates
    by_segment: bool = False  # each primitive of a chain is a trajectory, with its own instruction

    def __post_init__(self) -> None:
        require(self, "training_fraction", 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class InstructionTrainConfig:
    """All settings of `ptp pretrain-lbp`."""

    seed: int = 0
    threads: int = 2  # torch threads, set once by the program's entry point
    device: Literal["cpu", "cuda", "auto"] = "auto"
    save_minutes: float = 2.0  # wall clock between saved states of a stage
    log_every: int = 100  # gradient steps between scalars
    data: InstructedDataConfig = field(default_factory=InstructedDataConfig)
    vqvae: VQVAEConfig = field(default_factory=VQVAEConfig)  # unless a checkpoint's is taken
    text: TextConfig = field(default_factory=TextConfig)
    backward: BackwardConfig = field(default_factory=BackwardConfig)
    forward: ForwardConfig = field(default_factory=ForwardConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    proposer: ProposerConfig = field(default_factory=ProposerConfig)
    policy: InstructedPolicyConfig = field(default_factory=InstructedPolicyConfig)
    # Where the encoder's checkpoint has a goal classifier: successive control steps in which it
    # says that the work of the goal, given or predicted, is done, until the arm rests; and as many
    # in which it is not, until the arm goes on. 0: never (paper: success ends an episode). Ours.
    rest_hold: int = 0

    def __post_init__(self) -> None:
        require(self, "rest_hold", 0)
        require(self, "seed", 0)
        require(self, "threads", 1)
        require(self, "save_minutes", 0.0)
        require(self, "log_every", 1)
