# SPDX-License-Identifier: Apache-2.0
"""Subgoal generators: sizes, unrolled loss, learning to predict."""

import torch

from ptp_core.config import SubgoalGeneratorConfig, VQVAEConfig
from ptp_core.encoders.vqvae import VQVAE
from ptp_core.planners.subgoal_generator import GeneratorHierarchy, SubgoalGenerator
from ptp_core.tiny_networks import LATENT

SMALL = SubgoalGeneratorConfig(hidden_channels=8, hidden_units=32)


def codebook() -> VQVAE:
    torch.manual_seed(0)
    model = VQVAE(VQVAEConfig(hidden_channels=8, stem_channels=8, residual_blocks=0))
    with torch.no_grad():
        model.codebook.normal_()
    return model.requires_grad_(False)


def test_the_papers_network_has_the_authors_number_of_parameters():
    model = SubgoalGenerator(SubgoalGeneratorConfig(), LATENT)
    assert sum(p.numel() for p in model.parameters()) == 2_301_717


def test_level_zero_is_the_coarsest_generator():
    hierarchy = GeneratorHierarchy(SMALL, LATENT)
    assert list(hierarchy) == ["dt60", "dt30", "dt15"]
    assert hierarchy.level(0) is hierarchy["dt60"]
    assert hierarchy.level(2) is hierarchy["dt15"]


def test_prediction_is_an_unquantised_latent_that_depends_on_z():
    model = SubgoalGenerator(SMALL, LATENT)
    context = torch.randn(4, 720)
    first, second = model(torch.zeros(4, 8), context), model(torch.ones(4, 8), context)
    assert first.shape == (4, 720)
    assert not torch.allclose(first, second)


def test_the_same_generator_seed_gives_the_same_loss():
    model, vqvae = SubgoalGenerator(SMALL, LATENT), codebook()
    context, targets = torch.randn(4, 720), torch.randn(4, 3, 720)

    def loss(seed):
        generator = torch.Generator().manual_seed(seed)
        return model.loss(context, targets, vqvae=vqvae, generator=generator)[0].item()

    assert loss(1) == loss(1)
    assert loss(1) != loss(2)


def test_training_learns_to_predict_two_different_futures():
    vqvae = codebook()
    torch.manual_seed(1)
    model = SubgoalGenerator(SMALL, LATENT)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    context = vqvae.lookup(torch.randint(0, 512, (1, 144), generator=generator)).repeat(16, 1)
    futures = vqvae.lookup(torch.randint(0, 512, (2, 144), generator=generator))
    targets = futures.repeat(8, 1)[:, None]
    errors = []
    for _ in range(150):
        loss, metrics = model.loss(context, targets, vqvae=vqvae, generator=generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(float(metrics["smooth_l1"]))
    mean_future = torch.nn.functional.smooth_l1_loss(futures.mean(0).expand(2, 720), futures)
    assert errors[-1] < 0.5 * mean_future.item()
