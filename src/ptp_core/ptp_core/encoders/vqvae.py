# SPDX-License-Identifier: Apache-2.0
"""VQ-VAE: RGB images to a grid of code indices and back (paper section III-A)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ptp_core.config import VQVAEConfig
from ptp_core.config.network_config import PIXELS_PER_CODE
from ptp_core.errors import InputError
from ptp_core.networks import ResidualBlock

BLOCK_CHANNELS = 3 * PIXELS_PER_CODE**2  # values of the pixels that one code encodes

# For `nearest_code_fast`.
CHUNK = 512  # vectors a matmul, so that the distances stay in the cache
CUDA_CHUNK = 1 << 16  # vectors a matmul, which bounds the memory
BLOCKS = 16  # parts of the codebook


class VQVAE(nn.Module):
    """Encoder, codebook and decoder.

    Images are uint8 (B, S, S, 3), S = ``config.image_size``. Codes are int64 (B, N), row by row
    over the grid. Latents are the quantised codes, float32 (B, D). N and D are ``codes`` and
    ``size`` of ``latent``: 48 pixels, 144 codes and 720 dimensions in the paper.
    """

    def __init__(self, config: VQVAEConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or VQVAEConfig()
        self.latent = config.latent
        size = config.codebook_size
        self.encoder = _encoder(config)
        self.decoder = _decoder(config)
        self.codebook = nn.Parameter(
            torch.empty(size, config.embedding_dim).uniform_(-1, 1) / size
        )
        self.codebook.requires_grad_(config.codebook_update == "gradient")
        # State of the EMA update and of the revival of unused codes; not part of a checkpoint.
        self.register_buffer("ema_counts", torch.ones(size), persistent=False)
        self.register_buffer("ema_sums", self.codebook.detach().clone(), persistent=False)
        # Codes start as unused, so that the first batch moves every unused one onto data.
        idle = torch.full((size,), config.revive_after, dtype=torch.int64)
        self.register_buffer("idle", idle, persistent=False)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Turn uint8 images (B, S, S, 3) into codes (B, N) int64."""
        return self.quantise(self.raw(images))[0]

    def raw(self, images: torch.Tensor) -> torch.Tensor:
        """Turn uint8 images (B, S, S, 3) into unquantised latents (B, D)."""
        return self.encoder(to_float(images, self.config.image_size)).flatten(1)

    def lookup(self, codes: torch.Tensor) -> torch.Tensor:
        """Turn codes (B, N) into latents (B, D)."""
        values = functional.embedding(codes, self.codebook)
        return values.transpose(-1, -2).flatten(-2)

    def latents_of(self, codes: np.ndarray) -> torch.Tensor:
        """Turn stored codes (..., N) into latents (..., D), on the codebook's device."""
        return self.lookup(torch.from_numpy(codes.astype(np.int64)).to(self.codebook.device))

    def quantise(self, raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Replace each of the N vectors by its nearest code: (codes (B, N), latents (B, D)).

        The nearest by L2, see `nearest_code`. Gradients do not pass.
        """
        codes = nearest_code_fast(self._vectors(raw.detach()), self.codebook.detach())
        codes = codes.view(-1, self.latent.codes)
        return codes, self.lookup(codes)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Turn latents (B, D) into uint8 images (B, S, S, 3)."""
        return to_images(self.reconstruct(latents))

    def reconstruct(self, latents: torch.Tensor) -> torch.Tensor:
        """Turn latents (B, D) into float images (B, 3, S, S), nominally in [-0.5, 0.5]."""
        return self.decoder(latents.view(-1, *self.latent))

    def loss(
        self,
        images: torch.Tensor,
        *,
        seen: torch.Tensor | None = None,
        pixel_weights: torch.Tensor | None = None,
        quantised: bool = True,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return reconstruction + codebook + commitment loss of uint8 images (B, S, S, 3).

        ``seen``: float images (B, 3, S, S) that the encoder gets in their place.
        ``pixel_weights``, with mean 1, broadcast to (B, 3, S, S) and weigh the squared errors.
        ``quantised=False`` trains a plain autoencoder (the warm-up). In training mode the EMA
        codebook and the revival of unused codes advance by one batch; ``generator`` picks the
        vectors that revived codes take over.
        """
        config = self.config
        targets = to_float(images, config.image_size)
        raw = self.encoder(targets if seen is None else seen).flatten(1)
        codes, latents = self.quantise(raw)
        commitment = functional.mse_loss(raw, latents.detach())
        # Straight-through: the decoder gets the codes, the encoder the decoder's gradient.
        passed = raw + (latents - raw).detach() if quantised else raw
        errors = (self.reconstruct(passed) - targets).square()
        mse = errors.detach().mean()
        weighted = errors.mean() if pixel_weights is None else (errors * pixel_weights).mean()
        loss = weighted
        if quantised:
            loss = loss + config.commitment_weight * commitment
        if config.codebook_update == "gradient":
            loss = loss + config.codebook_weight * functional.mse_loss(latents, raw.detach())
        counts = torch.bincount(codes.flatten(), minlength=config.codebook_size)
        if self.training:
            self._advance_codebook(raw.detach(), codes, counts, generator)
        usage = counts / counts.sum()
        metrics = {
            "loss": loss.detach(),
            "reconstruction_mse": mse,
            "weighted_mse": weighted.detach(),
            "commitment": commitment.detach(),
            "perplexity": torch.exp(-(usage * (usage + 1e-10).log()).sum()),
            "codes_used": (counts > 0).sum(),
        }
        return loss, metrics

    @torch.no_grad()
    def rescale(self, factor: float) -> None:
        """Multiply all latents by ``factor`` and leave every code and image as it is."""
        last, first = self.encoder[-1], self.decoder[0]
        last.weight.mul_(factor)
        last.bias.mul_(factor)
        self.codebook.mul_(factor)
        first.weight.div_(factor)

    def codebook_state(self) -> dict[str, torch.Tensor]:
        """Return the codebook state that a resumed training needs beside the weights."""
        return {name: getattr(self, name) for name in ("ema_counts", "ema_sums", "idle")}

    def load_codebook_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restore ``codebook_state``."""
        for name, value in state.items():
            getattr(self, name).copy_(value)

    @torch.no_grad()
    def _advance_codebook(
        self,
        raw: torch.Tensor,
        codes: torch.Tensor,
        counts: torch.Tensor,
        generator: torch.Generator | None,
    ) -> None:
        config = self.config
        vectors = self._vectors(raw)
        if config.codebook_update == "ema":
            sums = torch.zeros_like(self.ema_sums).index_add_(0, codes.flatten(), vectors)
            self.ema_counts.lerp_(counts.float(), 1 - config.ema_decay)
            self.ema_sums.lerp_(sums, 1 - config.ema_decay)
            used = self.ema_counts > 1e-3
            self.codebook[used] = self.ema_sums[used] / self.ema_counts[used, None]
        if config.revive_after:
            self.idle.add_(1).masked_fill_(counts > 0, 0)
            dead = (self.idle >= config.revive_after).nonzero().flatten()
            if len(dead):
                picks = torch.randint(len(vectors), (len(dead),), generator=generator)
                self.codebook[dead] = vectors[picks.to(vectors.device)]
                self.ema_sums[dead] = self.codebook[dead]
                self.ema_counts[dead] = 1.0
                self.idle[dead] = 0

    def _vectors(self, raw: torch.Tensor) -> torch.Tensor:
        """The vector of each code: (B * N, channels)."""
        channels, size = self.latent.channels, self.latent.size
        if raw.shape[-1] != size:
            raise InputError(f"a latent has {size} numbers, not {raw.shape[-1]}")
        return raw.view(-1, channels, self.latent.codes).transpose(1, 2).reshape(-1, channels)


def to_float(images: torch.Tensor, size: int) -> torch.Tensor:
    """Turn uint8 (B, size, size, 3) into float32 (B, 3, size, size) in [-0.5, 0.5]."""
    if images.dtype != torch.uint8 or images.shape[1:] != (size, size, 3):
        raise InputError(
            f"images must be uint8 (B, {size}, {size}, 3), "
            f"not {images.dtype} {tuple(images.shape)}"
        )
    return images.permute(0, 3, 1, 2).float().div_(255.0).sub_(0.5).contiguous()


def to_images(values: torch.Tensor) -> torch.Tensor:
    """Turn float (B, 3, S, S) in [-0.5, 0.5] into uint8 (B, S, S, 3)."""
    return ((values + 0.5) * 255.0).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def nearest_code(vectors: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Index (B,) of the code (of ``codebook`` (C, E)) nearest to each of ``vectors`` (B, E).

    argmin over c of |x - c|^2 / 2 = |x|^2 / 2 + |c|^2 / 2 - x.c, where |x|^2 is the same
    for all c.
    """
    half_norms = codebook.square().sum(1) / 2
    return torch.addmm(half_norms, vectors, codebook.t(), alpha=-1).argmin(1)


def nearest_code_fast(vectors: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Return what `nearest_code` returns; in a tie, any of the nearest codes.

    On a CPU, torch vectorises the minimum over a long axis, but not the argmin. So find the best
    column of a 16-row table of the codes by minima first, then the best row in that column.
    """
    if vectors.is_cuda or len(codebook) % BLOCKS:
        chunks = vectors.split(CUDA_CHUNK if vectors.is_cuda else CHUNK)
        return torch.cat([nearest_code(chunk, codebook) for chunk in chunks])
    half_norms, matrix = codebook.square().sum(1) / 2, codebook.t()
    size = len(codebook)
    columns = size // BLOCKS
    nearest = torch.empty(len(vectors), dtype=torch.int64)
    buffer = vectors.new_empty(min(len(vectors), CHUNK), size)
    for first in range(0, len(vectors), CHUNK):
        chunk = vectors[first : first + CHUNK]
        table = buffer[: len(chunk)]
        torch.addmm(half_norms, chunk, matrix, alpha=-1, out=table)
        table = table.view(-1, BLOCKS, columns)
        column = table.amin(1).argmin(1)
        picks = column[:, None, None].expand(-1, BLOCKS, 1)
        row = table.gather(2, picks).squeeze(2).argmin(1)
        nearest[first : first + len(chunk)] = row * columns + column
    return nearest


def _encoder(config: VQVAEConfig) -> nn.Sequential:
    hidden, stem = config.hidden_channels, config.stem_channels
    if config.resampling == "strided":
        down: list[nn.Module] = [
            nn.Conv2d(3, stem, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(stem, hidden, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
        ]
    else:
        down = [
            nn.PixelUnshuffle(PIXELS_PER_CODE),
            nn.Conv2d(BLOCK_CHANNELS, hidden, 3, padding=1),
            nn.ReLU(),
        ]
    blocks = [
        ResidualBlock(hidden, config.residual_channels) for _ in range(config.residual_blocks)
    ]
    return nn.Sequential(*down, *blocks, nn.Conv2d(hidden, config.embedding_dim, 1))


def _decoder(config: VQVAEConfig) -> nn.Sequential:
    hidden, stem = config.hidden_channels, config.stem_channels
    blocks = [
        ResidualBlock(hidden, config.residual_channels) for _ in range(config.residual_blocks)
    ]
    if config.resampling == "strided":
        up: list[nn.Module] = [
            nn.ConvTranspose2d(hidden, stem, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(stem, 3, 4, stride=2, padding=1),
        ]
    else:
        up = [nn.Conv2d(hidden, BLOCK_CHANNELS, 3, padding=1), nn.PixelShuffle(PIXELS_PER_CODE)]
    first = nn.Conv2d(config.embedding_dim, hidden, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), *blocks, *up, nn.Tanh())
