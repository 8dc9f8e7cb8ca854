# SPDX-License-Identifier: Apache-2.0
"""What an episode in process says of instructions, goals and cameras that do not fit the agent."""

from typing import ClassVar

import pytest
import torch

from ptp_core.agents.registry import build_agent
from ptp_core.config import SentenceTableConfig
from ptp_core.data.instruction import given_instruction
from ptp_core.encoders.text import SentenceTable
from ptp_core.errors import ConfigError, GoalError, PtpError
from ptp_core.rollout.episode_results import EpisodeSeeds
from ptp_core.rollout.run_episode import run_episode
from ptp_core.tiny_networks import SENTENCES, tiny_instructed, tiny_networks
from ptp_core.toy_env import ToldToyEnv

WORDS = tuple(ToldToyEnv.instructions.values())


class SilentToyEnv(ToldToyEnv):
    """Says nothing, and shows a goal image alone."""

    def _info(self):
        return {**super()._info(), "instruction": ""}


class WordsAloneToyEnv(ToldToyEnv):
    """Has no goal image to give."""

    goals = ("language",)

    def _info(self):
        return {k: v for k, v in super()._info().items() if k != "goal_image"}


class WristToyEnv(ToldToyEnv):
    """Looks with another camera than the agent's."""

    cameras: ClassVar = {"wrist": (48, 48)}

    def reset(self, **options):
        """As the toy's."""
        image, info = super().reset(**options)
        return {"wrist": image}, info


def act(env, agent, **options):
    return run_episode(env, agent, options={}, seeds=EpisodeSeeds(0, 1, 2), max_steps=2, **options)


def told(name="lbp", sentences=WORDS):
    return build_agent(name, tiny_instructed(name, sentences=sentences))


def test_an_agent_takes_the_words_of_the_environment_or_those_that_it_is_given():
    assert act(ToldToyEnv(), told()).instruction == WORDS[0]
    assert act(ToldToyEnv(), told(), instruction=WORDS[1]).instruction == WORDS[1]
    assert act(SilentToyEnv(), told()).instruction is None  # the goal image is left


@pytest.mark.parametrize(
    ("env", "agent", "options", "message"),
    [
        (ToldToyEnv, lambda: told(sentences=SENTENCES), {}, "A asks for.* is not among the 3 .*"),
        (ToldToyEnv, told, {"instruction": ""}, "the instruction for lbp is empty: say what"),
        (ToldToyEnv, told, {"instruction": "x" * 401}, "401 characters; 400 are allowed"),
        (SilentToyEnv, lambda: told("lcbc"), {}, 'info has no "instruction", which lcbc needs'),
        (
            WordsAloneToyEnv,
            lambda: build_agent("model_free", tiny_networks()),
            {},
            "gives goals of kind language; model_free takes image, latent: use another agent",
        ),
        (
            ToldToyEnv,
            lambda: build_agent("model_free", tiny_networks()),
            {"instruction": WORDS[0]},
            "model_free takes image or latent goals, not a goal of kind language",
        ),
        (WristToyEnv, told, {}, 'no image of camera "camera", which lbp needs; it has wrist'),
    ],
    ids=["unknown", "empty", "long", "no words", "words alone", "no language", "camera"],
)
def test_what_does_not_fit_is_one_error_that_names_the_cure(env, agent, options, message):
    with pytest.raises(PtpError, match=message) as raised:
        act(env(), agent(), **options)
    assert "\n" not in str(raised.value)


def test_another_language_model_than_the_checkpoints_is_refused():
    config = SentenceTableConfig(kind="minilm", dimensions=384, sentences=SENTENCES)
    table = SentenceTable(config)
    stored = table.vectors[:1].detach()

    def other(sentences):
        return torch.randn(len(sentences), 384, generator=torch.Generator().manual_seed(1))

    def same(sentences):  # rounded, as a checkpoint stores it
        return stored.half().float()

    assert table._same_model(same) is same
    with pytest.raises(ConfigError, match="gives other vectors than the one that this checkpoint"):
        table._same_model(other)


def test_a_sentence_of_a_person_is_trimmed_and_has_one_line():
    assert given_instruction("  open the drawer\n", "goal") == "open the drawer"
    assert given_instruction("", "goal") == ""
    for text, message in (
        (" \n", "goal is empty: say what to do in words"),
        ("open\nthe drawer", "goal has several lines: say it in one"),
        ("x" * 401, "401 characters"),
    ):
        with pytest.raises(GoalError, match=message):
            given_instruction(text, "goal")
