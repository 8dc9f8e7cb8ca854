# SPDX-License-Identifier: Apache-2.0
"""What environments declare, what is taken of those that declare nothing, and what is refused."""

from typing import ClassVar

import gymnasium
import numpy as np
import pytest

from ptp_core.agents.agent import AgentSpec, CameraSpec
from ptp_core.data.env_spec import check_tasks, reset_options, spec_of
from ptp_core.data.trajectory import CARTESIAN
from ptp_core.errors import InputError, SpecError
from ptp_core.practice.practice_runner import InProcessPractice
from ptp_core.practice.practice_settings import PracticeConfig
from ptp_core.rollout.evaluation import EvaluationConfig, evaluate
from ptp_core.tiny_networks import tiny_checkpoint
from ptp_core.toy_env import ToyEnv

AGENT = AgentSpec("it", (CameraSpec("camera", 48, 48),), CARTESIAN, ("image", "latent"))
TOY = "ptp_core.toy_env:make_env"


class Plain(gymnasium.Env):
    """Any environment of gymnasium: it declares nothing of ours."""

    def __init__(self, size=(48, 48), actions=5):
        self.observation_space = gymnasium.spaces.Box(0, 255, (*size, 3), np.uint8)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (actions,), np.float32)


class Unnamed(ToyEnv):
    """The toy with one task that has no name, and no protocol."""

    tasks = protocols = goals = ()

    def reset(self, *, seed=None, options=None):
        assert not options, options
        return super().reset(seed=seed, options={"task": "A"})


def test_the_toy_tells_all_of_itself():
    spec = spec_of(ToyEnv(), "toy")
    assert (spec.tasks, spec.protocols, spec.goals) == (
        ("A", "B", "C"),
        ("paper", "varied"),
        ("image",),
    )
    assert spec.cameras == (CameraSpec("camera", 48, 48),)
    assert (spec.actions, spec.proprioception) == (CARTESIAN, ("hand_x", "hand_y"))
    assert spec.primitives == ("reach", "carry")


def test_an_environment_that_declares_nothing_has_one_task_and_what_its_spaces_say():
    spec = spec_of(Plain((32, 24), actions=7), "plain")
    assert (spec.tasks, spec.protocols, spec.goals) == (("",), (), ())
    assert spec.primitives == ()
    assert spec.cameras == (CameraSpec("camera", 32, 24),)
    assert spec.actions == tuple(f"a{number}" for number in range(7))
    assert reset_options(spec.choose_task(None), spec.choose_protocol("")) == {}


def test_images_of_a_dict_are_cameras_by_their_names():
    env = Plain()
    image = env.observation_space
    joints = gymnasium.spaces.Box(-1.0, 1.0, (7,), np.float32)
    env.observation_space = gymnasium.spaces.Dict({"wrist": image, "proprioception": joints})
    assert spec_of(env, "two").cameras == (CameraSpec("wrist", 48, 48),)


def test_an_unknown_task_and_protocol_are_named_with_what_there_is():
    env, plain = ToyEnv(), spec_of(Plain(), "plain")
    spec = spec_of(env, "toy")
    with pytest.raises(InputError, match='unknown task "D"; toy has A, B, C'):
        check_tasks(env, ["A", "D"], spec)
    with pytest.raises(InputError, match='unknown protocol "wild"; toy has paper, varied'):
        spec.choose_protocol("wild")
    with pytest.raises(InputError, match='unknown protocol "varied"; plain has none'):
        plain.choose_protocol("varied")


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("tasks", "A", r"it: tasks is 'A'; it must be different names"),
        ("protocols", ["a", "a"], "it: protocols is"),
        ("default_tasks", ("Z",), 'it: default_tasks has "Z", which tasks lacks'),
        ("episode_steps", {"A": 0}, r"it: episode_steps is \{'A': 0\}; it must be"),
        ("goals", ("smell",), 'it: goals has "smell"; there are image, language, latent'),
        ("primitives", "reach", "it: primitives is 'reach'; it must be different names"),
        ("cameras", {"camera": 48}, "it: cameras is"),
        ("instructions", {"A": " "}, r"it: instructions is \{'A': ' '\}; it must be"),
        ("paraphrases", {"A": "go"}, r"it: paraphrases is \{'A': 'go'\}; it must be"),
        ("action_names", ("dx", "dy"), "it names 2 numbers of an action; it takes 5"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_named(attribute, value, message):
    env = ToyEnv()
    setattr(env, attribute, value)
    with pytest.raises(InputError, match=message):
        spec_of(env, "it")


def test_paraphrases_take_turns_and_are_held_out():
    env = ToyEnv()
    assert (spec_of(env, "toy").instructions, spec_of(env, "toy").paraphrases) == ({}, {})
    env.instructions = {"A": "push the square", "B": "fetch it"}
    env.paraphrases = {"A": ["shove the square", "move the square along"]}
    spec = spec_of(env, "toy")
    assert [spec.paraphrase("A", n) for n in (0, 1, 2)] == [
        *env.paraphrases["A"],
        "shove the square",
    ]
    with pytest.raises(InputError, match='toy declares no paraphrases of task "B"'):
        spec.paraphrase("B", 0)
    env.paraphrases = {"A": ["fetch it"]}
    with pytest.raises(
        InputError, match='the paraphrase "fetch it" of task "A" is an instruction'
    ):
        spec_of(env, "toy")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (32, 32)}, 'images of camera "camera" of env are 32 x 32; it needs 48 x 48'),
        ({"actions": 7}, r"env takes 7 numbers as action \(a0, .*; it gives 5 \(dx"),
    ],
)
def test_an_agent_of_another_environment_is_told_in_one_kind_of_error(changes, message):
    with pytest.raises(SpecError, match=message):
        spec_of(Plain(**changes), "env").check_agent(AGENT)


def test_names_of_actions_and_kinds_of_goals_count_where_they_are_declared():
    env = ToyEnv()
    spec_of(env, "env").check_agent(AGENT)
    env.action_names = ("x", "y", "z", "turn", "grip")
    with pytest.raises(SpecError, match=r"\(x, y, z, turn, grip\); it gives 5 \(dx"):
        spec_of(env, "env").check_agent(AGENT)
    env = ToyEnv()
    env.goals = ("language",)
    with pytest.raises(SpecError, match="gives goals of kind language; it takes image, latent"):
        spec_of(env, "env").check_agent(AGENT)


class LongC(ToyEnv):
    """The toy whose tasks end after 9 steps, C after 12; A is what runs by default."""

    default_tasks = ("A", "C")
    episode_steps: ClassVar = {"A": 9, "C": 12}

    def reset(self, *, seed=None, options=None):
        self.max_steps = self.episode_steps.get((options or {}).get("task"), 9)
        return super().reset(seed=seed, options=options)


def test_default_tasks_run_for_the_steps_that_each_of_them_declares(tmp_path):
    tiny_checkpoint(tmp_path / "tiny")
    common = {"checkpoint": tmp_path / "tiny", "env": f"{__name__}:LongC", "method": "model_free"}
    result = evaluate(EvaluationConfig(**common, episodes=1), num_envs=0, progress=False)
    steps = {task: figures["runs"][0]["steps"] for task, figures in result["tasks"].items()}
    assert (steps, result["max_steps"]) == ({"A": 9, "C": 12}, 12)


def test_one_task_without_a_name_is_evaluated_and_practised(tmp_path):
    tiny_checkpoint(tmp_path / "tiny")
    common = {"checkpoint": tmp_path / "tiny", "env": f"{__name__}:Unnamed", "max_steps": 3}
    config = EvaluationConfig(**common, method="model_free", episodes=1)
    result = evaluate(config, num_envs=0, progress=False)
    assert (list(result["tasks"]), result["protocol"]) == ([""], "")
    asked = PracticeConfig(
        **common,
        method="model_free",
        epochs=1,
        episodes=1,
        evaluation_episodes=1,
        reuse_plans=False,
    )
    practice = InProcessPractice(asked, tmp_path / "run")
    practice.run(progress=False)
    practice.close()
    assert [path.name for path in (tmp_path / "run" / "finetuned").iterdir()] == [
        "task.safetensors"
    ]


def test_defaults_are_the_environments_first(tmp_path):
    tiny_checkpoint(tmp_path / "tiny")
    config = EvaluationConfig(
        checkpoint=tmp_path / "tiny", env=TOY, method="model_free", episodes=1, max_steps=2
    )
    result = evaluate(config, num_envs=0, progress=False)
    assert (list(result["tasks"]), result["protocol"]) == (["A", "B", "C"], "paper")
