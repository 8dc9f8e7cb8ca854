# SPDX-License-Identifier: Apache-2.0
"""VQ-VAE: shapes, nearest codes plainly and fast, gradients, learning."""

import pytest
import torch

from ptp_core.config import VQVAEConfig
from ptp_core.encoders.vqvae import CHUNK, VQVAE, nearest_code, nearest_code_fast, to_float
from ptp_core.errors import InputError
from ptp_core.tiny_networks import rng

SMALL = {"hidden_channels": 16, "stem_channels": 8, "residual_channels": 8, "residual_blocks": 1}


def images(count: int, seed: int = 0) -> torch.Tensor:
    """Dark images with one bright square each."""
    generator = torch.Generator().manual_seed(seed)
    batch = torch.full((count, 48, 48, 3), 40, dtype=torch.uint8)
    for image, (x, y) in zip(batch, torch.randint(0, 42, (count, 2), generator=generator)):
        image[y : y + 6, x : x + 6] = torch.tensor([220, 60, 60], dtype=torch.uint8)
    return batch


def test_the_papers_network_has_the_authors_number_of_parameters():
    assert sum(p.numel() for p in VQVAE().parameters()) == 1_309_960


@pytest.mark.parametrize("resampling", ["strided", "pixel_shuffle"])
def test_images_become_144_codes_and_720_numbers_and_images_again(resampling):
    model = VQVAE(VQVAEConfig(resampling=resampling, **SMALL))
    codes = model.encode(images(3))
    latents = model.lookup(codes)
    decoded = model.decode(latents)
    assert (codes.shape, codes.dtype) == ((3, 144), torch.int64)
    assert (latents.shape, latents.dtype) == ((3, 720), torch.float32)
    assert (decoded.shape, decoded.dtype) == ((3, 48, 48, 3), torch.uint8)


def test_quantise_takes_the_nearest_code_and_keeps_the_layout():
    model = VQVAE(VQVAEConfig(**SMALL))
    raw = torch.randn(5, 720) * 2e-3
    codes, latents = model.quantise(raw)
    vectors = raw.view(5, 5, 12, 12).permute(0, 2, 3, 1).reshape(-1, 5)
    expected = torch.cdist(vectors, model.codebook, compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(codes, expected.argmin(1).view(5, 144))
    row, column = 3, 7
    grid = latents.view(5, 5, 12, 12)
    assert torch.equal(grid[2, :, row, column], model.codebook[codes[2, row * 12 + column]])
    assert torch.equal(model.quantise(latents)[0], codes)


def test_wrong_images_are_refused():
    model = VQVAE(VQVAEConfig(**SMALL))
    with pytest.raises(InputError, match="uint8"):
        model.encode(torch.zeros(1, 48, 48, 3))
    with pytest.raises(InputError, match="48, 48"):
        model.encode(torch.zeros(1, 3, 48, 48, dtype=torch.uint8))


@pytest.mark.parametrize("update", ["gradient", "ema"])
def test_training_lowers_the_reconstruction_error(update):
    torch.manual_seed(0)
    config = VQVAEConfig(
        resampling="pixel_shuffle", codebook_update=update, revive_after=5, **SMALL
    )
    model = VQVAE(config)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    generator = torch.Generator().manual_seed(1)
    errors = []
    for step in range(60):
        loss, metrics = model.loss(images(16, seed=step), generator=generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(float(metrics["reconstruction_mse"]))
    assert errors[-1] < 0.3 * errors[0]
    assert metrics["codes_used"] > 4


def test_revival_moves_unused_codes_onto_data():
    model = VQVAE(VQVAEConfig(codebook_update="ema", revive_after=2, **SMALL))
    with torch.no_grad():
        model.codebook[5:] = 100.0
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        model.loss(images(4), generator=generator)
    assert (model.codebook[5:].abs() < 50).all()


def test_evaluation_leaves_the_codebook_alone():
    model = VQVAE(VQVAEConfig(codebook_update="ema", revive_after=1, **SMALL)).eval()
    before = model.codebook.detach().clone()
    model.loss(images(4))
    assert torch.equal(model.codebook, before)


def test_pixel_weights_decide_which_errors_count():
    model = VQVAE(VQVAEConfig(**SMALL)).eval()
    weights = torch.zeros(48, 48)
    weights[:24] = 2.0
    bottom = images(4).clone()
    bottom[:, 24:] = 255
    top = model.loss(images(4), pixel_weights=weights)[1]["weighted_mse"]
    uniform = model.loss(images(4))[1]
    assert uniform["weighted_mse"] == uniform["reconstruction_mse"]
    assert top != uniform["weighted_mse"]


def test_the_encoder_may_see_other_images_than_the_decoder_draws():
    model = VQVAE(VQVAEConfig(**SMALL)).eval()
    own, others = (to_float(images(4, seed=seed), 48) for seed in (0, 1))
    errors = [
        float(model.loss(images(4), seen=seen, quantised=False)[1]["reconstruction_mse"])
        for seen in (None, own, others)
    ]
    assert errors[0] == errors[1] != errors[2]
    drawn = model.reconstruct(model.encoder(others).flatten(1))
    assert errors[2] == pytest.approx(float((drawn - own).square().mean().detach()))


@pytest.mark.parametrize("nearest", [nearest_code, nearest_code_fast])
def test_a_nearest_code_is_that_of_the_least_distance(nearest):
    vectors = torch.randn(40, 5, generator=rng(0))
    codebook = torch.randn(64, 5, generator=rng(1))
    differences = vectors[:, None].double() - codebook[None].double()
    assert torch.equal(nearest(vectors, codebook), differences.square().sum(2).argmin(1))


@pytest.mark.parametrize("vectors", [0, 1, CHUNK, 3 * CHUNK + 7])
@pytest.mark.parametrize("codes", [16, 512, 500])  # 500 codes cannot be parted in 16
def test_the_fast_way_finds_the_codes_that_the_plain_way_finds(vectors, codes):
    vectors = torch.randn(vectors, 5, generator=rng(2), dtype=torch.float64)
    codebook = torch.randn(codes, 5, generator=rng(3), dtype=torch.float64)
    plain, fast = nearest_code(vectors, codebook), nearest_code_fast(vectors, codebook)
    assert fast.dtype == torch.int64
    assert torch.equal(fast, plain)


def test_of_equal_codes_the_fast_way_takes_one_of_the_nearest():
    codebook = torch.randn(16, 5, generator=rng(4)).repeat(4, 1)
    vectors = torch.randn(30, 5, generator=rng(5))
    found = nearest_code_fast(vectors, codebook)
    assert torch.equal(found % 16, nearest_code(vectors, codebook) % 16)
