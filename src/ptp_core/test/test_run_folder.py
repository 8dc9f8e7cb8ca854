# SPDX-License-Identifier: Apache-2.0
"""What a run's folder tells afterwards: how far it is, its figures, its last evaluation again.

Files of earlier versions are read with the names that methods have today.
"""

import dataclasses
import json

import pytest

from ptp_core.data.collect_demonstrations import environment_factory
from ptp_core.errors import InputError
from ptp_core.practice.practice_runner import InProcessPractice
from ptp_core.practice.practice_settings import PracticeConfig, preset
from ptp_core.practice.run_folder import count_epochs, is_run, read_run, with_todays_name
from ptp_core.rollout.episode_results import pooled_interval, wilson_interval
from ptp_core.rollout.evaluation import EvaluationReplay
from ptp_core.rollout.past_evaluation import PastEvaluation
from ptp_core.tiny_networks import tiny_checkpoint, tiny_config

EPISODES, STEPS = 12, 8
COIN = """
from ptp_core.toy_env import ToyEnv

class CoinEnv(ToyEnv):
    '''Whether an episode succeeds depends on every action, as a coin's fall does.'''

    def _info(self):
        return {**super()._info(), "success": int(self._hand.sum() * 1e4) % 2 == 0}

def make_env(max_steps=400):
    return CoinEnv(max_steps=max_steps)
"""


@pytest.fixture
def practise(tmp_path, monkeypatch):
    """Practise a method for two epochs where success is a matter of luck."""
    (tmp_path / "coin_env.py").write_text(COIN)
    monkeypatch.syspath_prepend(tmp_path)

    def run(precision="float32", **changes):
        tiny_checkpoint(tmp_path / "tiny", config=tiny_config(batch_size=8), precision=precision)
        values = {"env": "coin_env:make_env", "env_kwargs": {"max_steps": STEPS}, "epochs": 2}
        values |= {"episodes": 1, "max_steps": STEPS, "evaluation_episodes": EPISODES}
        values |= {"protocol": "varied", "checkpoint": tmp_path / "tiny", "seed": 5}
        values |= dataclasses.asdict(preset("paper"))
        practice = InProcessPractice(PracticeConfig(**values | changes), tmp_path / "run")
        try:
            return practice.run(progress=False)
        finally:
            practice.close()

    return run


@pytest.mark.parametrize(
    "changes", [{"precision": "float16"}, {"method": "model_free"}, {"reuse_plans": True}]
)
def test_the_last_evaluation_can_be_done_again(practise, tmp_path, changes):
    practise(**changes)
    run = read_run(tmp_path / "run")
    assert run.finished
    again = EvaluationReplay(PastEvaluation.of_run(run))
    plans = []
    env = environment_factory("coin_env:make_env")(max_steps=STEPS)
    successes = [
        again.episode(env, number, on_plan=plans.append).success for number in range(EPISODES)
    ]
    assert sum(successes) == run.evaluations[-1]["successes"]
    assert 0 < sum(successes) < EPISODES  # else the line above says little
    assert len(plans) == (EPISODES if again.plans else 0)
    assert again.plans == ("method" not in changes)


def test_a_folder_tells_how_far_a_run_is(practise, tmp_path):
    folder = tmp_path / "run"
    assert not is_run(folder)
    result = practise()
    run = read_run(folder)
    assert is_run(folder)
    assert (run.epochs, run.evaluations) == (result["epochs"], result["evaluations"])
    assert count_epochs(folder) == count_epochs(folder, known=1) == 2
    (folder / "result.json").unlink()
    unfinished = read_run(folder)
    assert not unfinished.finished
    assert unfinished.evaluations == result["evaluations"][:-1]
    with pytest.raises(InputError, match="not finished"):
        PastEvaluation.of_run(unfinished)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("settings.json", "{"),
        ("settings.json", "{}"),
        ("epochs/000001/metrics.json", "[]"),
        ("epochs/000001/metrics.json", '{"epoch": 7, "practice_success_rate": 0.0}'),
        (
            "epochs/000001/metrics.json",
            '{"epoch": 2, "practice_success_rate": 0.0, "evaluation": {"episodes": 1, '
            '"successes": 2}}',
        ),
    ],
)
def test_damage_is_named(practise, tmp_path, name, text):
    practise(epochs=2, evaluation_episodes=1)
    (tmp_path / "run" / name).write_text(text)
    with pytest.raises(InputError, match=f"{name}: damaged"):
        read_run(tmp_path / "run")


def test_seeds_that_differ_by_more_than_chance_widen_the_interval():
    assert pooled_interval([25, 25, 25], [50, 50, 50]) == wilson_interval(75, 150)
    assert pooled_interval([30], [50]) == wilson_interval(30, 50)
    low, high = pooled_interval([5, 25, 45], [50, 50, 50])
    narrow = wilson_interval(75, 150)
    assert low < narrow[0] - 0.1 and high > narrow[1] + 0.1
    assert pooled_interval([0, 0], [50, 50]) == wilson_interval(0, 100)


@pytest.mark.parametrize(
    ("method", "planner", "today"),
    [
        ("ptp", {"levels": 1}, "ptp_single_subgoal"),
        ("ptp", {"levels": 3}, "ptp"),
        ("ptp", None, "ptp"),
        ("ptp_single_subgoal", {"levels": 1}, "ptp_single_subgoal"),
        ("ptp_no_hierarchy", {"levels": 1}, "ptp_no_hierarchy"),
        ("gcp", {"depth": 3}, "gcp"),
    ],
)
def test_only_ptp_with_one_level_has_another_name_today(method, planner, today):
    written = {"method": method, "planner": planner, "seed": 4}
    assert with_todays_name(written) == {**written, "method": today}
    assert written["method"] == method


def test_settings_have_the_names_of_today():
    written = {"method": "gcp", "updates_per_step": 0.25, "learning_rate": 3e-5}
    today = {"method": "gcp", "utd_ratio": 0.25, "learning_rate": 3e-5}
    assert with_todays_name(written) == with_todays_name(today) == today


def test_a_run_is_read_under_the_name_of_today(tmp_path):
    settings = {"method": "ptp", "planner": {"levels": 1}, "task": "A", "seed": 0}
    settings["protocol"] = "paper"
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    assert read_run(tmp_path).settings["method"] == "ptp_single_subgoal"
