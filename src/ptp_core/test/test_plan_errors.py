# SPDX-License-Identifier: Apache-2.0
"""Errors of planned latents over a task's progress."""

import numpy as np
import pytest
import torch

from ptp_core.agents.registry import build_agent
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.trajectory import Metadata
from ptp_core.diagnosis.plan_errors import BINS, plan_errors
from ptp_core.errors import ConfigError, DatasetError
from ptp_core.tiny_networks import SENTENCES, tiny_instructed, tiny_networks

LENGTHS = (21, 11)


def demonstrations(changing, instruction=SENTENCES[1]):
    """Trajectories of 21 and 11 frames; of one latent, where nothing is ``changing``."""
    rng = np.random.default_rng(0)
    frames = sum(LENGTHS)
    codes = rng.integers(32, size=(frames if changing else 1, 144), dtype=np.uint16)
    return EncodedDataset(
        codes=np.broadcast_to(codes, (frames, 144)).copy(),
        actions=np.zeros((frames, 5), np.float32),
        lengths=np.array(LENGTHS),
        encoder_id="e" * 64,
        metadata=[Metadata(instruction=instruction) for _ in LENGTHS],
    )


@pytest.mark.parametrize(
    ("name", "steps"), [("lbp", "rising"), ("lbp_parallel", "rising"), ("lbp_forward", "strides")]
)
def test_levels_are_near_to_far_and_bins_cover_the_task(name, steps):
    agent = build_agent(name, tiny_instructed(name))
    found = plan_errors(agent, demonstrations(changing=True))
    assert found["states"] == sum(LENGTHS) - 2 and found["trajectories"] == 2  # last: no action
    assert len(found["levels"]) == agent.planner.levels
    ahead = [level["steps"] for level in found["levels"]]
    assert ahead == sorted(ahead) and ahead[0] > 0
    assert found["progress"][-1] == 1.0 and len(found["progress"]) == BINS
    for level in found["levels"]:
        assert len(level["errors"]) == BINS and all(error > 0 for error in level["errors"])
        assert level["copied"] > 0
    if steps == "rising":  # the goal is the last frame: (20 * 21 / 2 + 10 * 11 / 2) / 30
        assert ahead[-1] == pytest.approx(265 / 30)


def test_where_nothing_changes_a_copy_is_right_and_errors_are_those_of_the_one_plan():
    agent = build_agent("lbp", tiny_instructed("lbp"))
    data = demonstrations(changing=False)
    found = plan_errors(agent, data)
    planner = agent.planner
    latent = agent.vqvae.lookup(torch.from_numpy(data.codes[:1].astype(np.int64)))
    with torch.no_grad():
        words = agent.sentences.embed(SENTENCES[1])[None]
        plan = planner.scale(planner.subgoals(latent, words))[0]
    expected = (plan - planner.scale(latent)).square().mean(1)
    for level, error in zip(found["levels"], expected, strict=True):
        assert level["copied"] == 0
        assert level["error"] == pytest.approx(float(error), rel=1e-4)
        assert level["errors"] == pytest.approx([float(error)] * BINS, rel=1e-4)


def test_what_has_no_plan_or_no_instruction_is_refused():
    data = demonstrations(changing=True)
    with pytest.raises(ConfigError, match="ptp plans no latents from an instruction"):
        plan_errors(build_agent("ptp", tiny_networks()), data)
    with pytest.raises(ConfigError, match="lcbc plans no latents"):
        plan_errors(build_agent("lcbc", tiny_instructed("lcbc")), data)
    agent = build_agent("lbp", tiny_instructed("lbp"))
    with pytest.raises(DatasetError, match="have no instructions"):
        plan_errors(agent, demonstrations(changing=True, instruction=""))
    with pytest.raises(DatasetError, match="does not know the instruction"):
        plan_errors(agent, demonstrations(changing=True, instruction="juggle the cans"))
