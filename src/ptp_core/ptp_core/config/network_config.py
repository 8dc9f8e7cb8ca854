# SPDX-License-Identifier: Apache-2.0
"""Settings of the encoder and of the subgoal generators. Defaults: the paper's experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from ptp_core.config.loading import require
from ptp_core.errors import ConfigError

PIXELS_PER_CODE = 4  # a side: the VQ-VAE halves an image twice (authors' vqvae.py)


class LatentShape(NamedTuple):
    """Shape of quantised latents: a grid of codes, each a vector of ``channels`` dimensions.

    A latent is float32 (size,), channel-first (channels, height, width) flattened; its codes are
    (codes,), row by row.
    """

    channels: int  # dimensions of a code
    height: int  # codes
    width: int  # codes

    @property
    def codes(self) -> int:
        """Number of codes of an image."""
        return self.height * self.width

    @property
    def size(self) -> int:
        """Dimensions of a latent."""
        return self.channels * self.height * self.width

    def halved_twice(self, network: str) -> tuple[int, int]:
        """Height and width after two layers of stride 2.

        Raises ConfigError, which names ``network``, where upsampling twice would not give the same
        size again.
        """
        if self.height % 4 or self.width % 4:
            raise ConfigError(
                f"{network} halves the grid of {self.height} x {self.width} codes twice: choose a "
                f"vqvae.image_size that is a multiple of {4 * PIXELS_PER_CODE}"
            )
        return self.height // 4, self.width // 4


@dataclass(frozen=True, kw_only=True)
class VQVAEConfig:
    """VQ-VAE encoder: sizes, losses and training budget (authors' code: vqvae.py)."""

    image_size: int = 48  # pixels a side; a multiple of PIXELS_PER_CODE
    embedding_dim: int = 5  # dimensions of a code
    codebook_size: int = 512  # codes
    hidden_channels: int = 128  # channels on the grid of codes
    stem_channels: int = 64  # channels on the grid of half the image's size ("strided" only)
    residual_channels: int = 64  # bottleneck of a residual block
    residual_blocks: int = 3  # in the encoder and in the decoder, each
    resampling: Literal["strided", "pixel_shuffle"] = "strided"
    # "strided": two stride-2 convolutions each way (paper).
    # "pixel_shuffle": 4 x 4 pixel blocks become channels, every layer runs on the grid. Fast.
    codebook_update: Literal["gradient", "ema"] = "gradient"  # paper: gradient
    codebook_weight: float = 1.0  # weight of mse(codes, sg(encoder)); "gradient" only
    commitment_weight: float = 0.25  # weight of mse(encoder, sg(codes))
    ema_decay: float = 0.99  # per batch; "ema" only
    revive_after: int = 0  # batches without use after which a code is re-seeded; 0 = never (paper)
    quantise_after: int = 0  # first batches that train a plain autoencoder; 0 = none (paper)
    reconstruction_weighting: Literal["uniform", "deviation", "foreground"] = "uniform"
    # "deviation": a pixel counts by its standard deviation over the data set.
    # "foreground": pixels that differ from the median image count (1 + foreground_gain) times.
    deviation_floor: float = 0.1  # least weight, relative to the mean weight; "deviation" only
    foreground_gain: float = 10.0  # "foreground" only
    # Share of images that the encoder sees in random colours; the decoder draws their own. Ours.
    recoloured: float = 0.0
    distance_scale: float | None = None  # None = latents as trained (paper)
    # A number: after training, latents are rescaled, without changing any image, so that frames
    # distance_steps apart, while the arm moves, have this median L2 distance. It puts the
    # paper's other constants (reward epsilon 2.0, planner weights) at their proper scale.
    distance_steps: int = 3  # control steps
    learning_rate: float = 3e-4  # Adam
    learning_rate_decay: Literal["none", "cosine"] = "none"  # over the stage's budget
    batch_size: int = 64  # images
    gradient_clip: float = 1.0  # L2 norm over all parameters
    steps: int = 200_000  # batches; the authors set 10 M and stop by hand
    max_minutes: float = 0.0  # wall clock; 0 = no limit

    def __post_init__(self) -> None:
        require(self, "image_size", PIXELS_PER_CODE)
        if self.image_size % PIXELS_PER_CODE:
            raise ConfigError(
                f"VQVAEConfig.image_size is {self.image_size}; it must be a multiple of "
                f"{PIXELS_PER_CODE}"
            )
        require(self, "embedding_dim", 1)
        require(self, "codebook_size", 2, 65_535)  # codes are stored as uint16
        require(self, "hidden_channels", 1)
        require(self, "stem_channels", 1)
        require(self, "residual_channels", 1)
        require(self, "residual_blocks", 0)
        require(self, "recoloured", 0.0, 1.0)
        require(self, "ema_decay", 0.0, 1.0)
        require(self, "distance_steps", 1)
        require(self, "learning_rate", 0.0)
        require(self, "batch_size", 1)
        require(self, "steps", 0)
        require(self, "max_minutes", 0.0)
        if self.distance_scale is not None:
            require(self, "distance_scale", 1e-6)

    @property
    def latent(self) -> LatentShape:
        """Shape of the latents of such an encoder."""
        side = self.image_size // PIXELS_PER_CODE
        return LatentShape(self.embedding_dim, side, side)


@dataclass(frozen=True, kw_only=True)
class GapConfig:
    """The gaps between frames that one generator is trained on.

    "multistep": ``unroll`` consecutive gaps, each uniform in [minimum, maximum] steps.
    "final": one gap from a frame among the first ``minimum`` to one among the last ``maximum``
    of the trajectory (authors' dt60: 10 and 9 of 75).
    "done": the same, but to any frame after the work is done, where the data say when that is.
    In a goal image the arm may still be where it worked; among the last frames it never is. Ours.
    """

    mode: Literal["multistep", "final", "done"] = "multistep"
    minimum: int = 10  # steps
    maximum: int = 15  # steps
    unroll: int = 3  # consecutive predictions in one loss

    def __post_init__(self) -> None:
        require(self, "minimum", 1)
        require(self, "maximum", 1)
        require(self, "unroll", 1)
        if self.mode == "multistep" and self.maximum < self.minimum:
            require(self, "maximum", self.minimum)


@dataclass(frozen=True, kw_only=True)
class SubgoalGeneratorConfig:
    """Up to three conditional VAEs that propose subgoals (authors' code: CcVae)."""

    z_dim: int = 8  # dimensions of the latent action
    hidden_channels: int = 64  # U-Net width; inner level twice as wide; encoder half as wide
    hidden_units: int = 512  # fully connected layers
    reconstruction_weight: float = 1000.0  # SmoothL1, mean over the latent's dimensions
    kl_weight: float = 0.1  # KL summed over z
    dt15: GapConfig = GapConfig(mode="multistep", minimum=10, maximum=15, unroll=3)
    dt30: GapConfig = GapConfig(mode="multistep", minimum=20, maximum=30, unroll=2)
    dt60: GapConfig = GapConfig(mode="final", minimum=10, maximum=9, unroll=1)
    levels: int = 3  # how many of dt60, dt30 and dt15, the coarsest first (authors' code: all)
    learning_rate: float = 3e-4  # Adam
    learning_rate_decay: Literal["none", "cosine"] = "none"  # over the stage's budget
    batch_size: int = 64  # windows
    gradient_clip: float = 1.0  # L2 norm
    steps: int = 100_000  # batches for each net; the authors set 10 M and stop by hand
    max_minutes: float = 0.0  # wall clock for the nets together; 0 = no limit

    def __post_init__(self) -> None:
        require(self, "z_dim", 1)
        require(self, "hidden_channels", 2)
        require(self, "hidden_units", 1)
        require(self, "levels", 1, 3)
        require(self, "batch_size", 1)
        require(self, "steps", 0)
        require(self, "max_minutes", 0.0)

    @property
    def horizons(self) -> tuple[str, ...]:
        """Names of the nets, the coarsest first."""
        return ("dt60", "dt30", "dt15")[: self.levels]


@dataclass(frozen=True, kw_only=True)
class LatentVAEConfig:
    """Unconditional VAE that compresses a whole latent to a short z (LEAP, on latents).

    LEAP's network encodes images. Ours encodes the VQ-VAE's latents, so sizes are ours.
    """

    z_dim: int = 16  # dimensions of z (LEAP)
    hidden_units: int = 512  # each of two layers, both ways (as SubgoalGeneratorConfig)
    reconstruction_weight: float = 1.0  # 1/2 squared error, summed over the scaled latent
    kl_weight: float = 7.5  # beta, KL summed over z (LEAP's, for 48 x 48 images)
    learning_rate: float = 1e-3  # Adam (LEAP)
    learning_rate_decay: Literal["none", "cosine"] = "none"  # over the stage's budget
    batch_size: int = 64  # latents (as SubgoalGeneratorConfig)
    gradient_clip: float = 1.0  # L2 norm over all parameters (as SubgoalGeneratorConfig)
    steps: int = 100_000  # batches (as SubgoalGeneratorConfig; LEAP: 2500 epochs)
    max_minutes: float = 0.0  # wall clock; 0 = no limit

    def __post_init__(self) -> None:
        require(self, "z_dim", 1)
        require(self, "hidden_units", 1)
        require(self, "reconstruction_weight", 0.0)
        require(self, "kl_weight", 0.0)
        require(self, "learning_rate", 0.0)
        require(self, "batch_size", 1)
        require(self, "gradient_clip", 0.0)
        require(self, "steps", 0)
        require(self, "max_minutes", 0.0)
