# SPDX-License-Identifier: Apache-2.0
"""Evaluation: what it counts, that workers and interruptions change nothing, clear errors."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from ptp_core.config import FollowerConfig
from ptp_core.errors import CheckpointError, ConfigError, InputError
from ptp_core.planners.plan_library import PlanLibrary
from ptp_core.planners.planner import Plan
from ptp_core.rollout import evaluation
from ptp_core.rollout.episode_results import (
    EpisodeResult,
    PartialResults,
    episode_seeds,
    is_idle,
    summarise,
)
from ptp_core.rollout.evaluation import EvaluationConfig, evaluate
from ptp_core.tiny_networks import tiny_baseline_folders, tiny_checkpoint
from ptp_core.toy_env import ToyEnv
from ptp_core.training.checkpoint import load_checkpoint

TIMES = ("plan_seconds", "steps_per_second", "control_latency_ms")

RESULT = EpisodeResult(
    success=True,
    steps=2,
    first_success=1,
    plan_seconds=0.1,
    plan_cost=3.0,
    plan_costs={"distance": 2.0, "value": 0.5, "prior": 0.5},
    subgoals_reached=1,
    subgoals_timed_out=1,
    idle_fraction=0.25,
    final_distance=1.0,
    seconds=1.0,
    latencies=np.array([0.01, 0.02]),
)


class ScriptedEnv(ToyEnv):
    """The toy, where success is true in the steps that the task lists ("3,4" for example)."""

    def __init__(self):
        super().__init__(max_steps=6)

    def reset(self, *, seed=None, options=None):
        self.wins = [int(step) for step in options["task"].split(",")]
        return super().reset(seed=seed, options={"task": "A", "protocol": "varied"})

    def _info(self):
        return {**super()._info(), "success": self._steps in self.wins}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "tiny"
    tiny_checkpoint(path)
    return path


def settings(folder, **changes):
    follower = FollowerConfig(timeout=3, distance_threshold=0.0)
    values = {"env": "ptp_core.toy_env:make_env", "tasks": ("A", "B"), "episodes": 2}
    values.update(method="ptp", follower=follower)
    values.update(protocol="varied", env_kwargs={"max_steps": 12}, checkpoint=folder)
    return EvaluationConfig(**{**values, **changes})


def run(config, **options):
    return evaluate(config, num_envs=0, progress=False, **options)


class StagedEnv(ToyEnv):
    """The toy with pictures of two stages beside the last."""

    def reset(self, *, seed=None, options=None):
        image, info = super().reset(seed=seed, options=options)
        assert options["stage_images"]
        return image, {**info, "stage_images": np.stack([image // 2, image // 3])}


def moved_past(run):
    return run["subgoals_reached"] + run["subgoals_timed_out"]


def outcome(result):
    """Everything but the times."""
    tasks = {}
    for task, figures in result["tasks"].items():
        runs = [{k: v for k, v in each.items() if k not in TIMES} for each in figures["runs"]]
        tasks[task] = {k: v for k, v in figures.items() if k not in TIMES} | {"runs": runs}
    return {**result, "tasks": tasks}


def test_the_result_has_the_documented_shape_and_is_json(folder):
    result = json.loads(json.dumps(run(settings(folder)), allow_nan=False))
    assert (result["method"], result["protocol"], result["seed"]) == ("ptp", "varied", 0)
    assert set(result["tasks"]) == {"A", "B"}
    figures = result["tasks"]["A"]
    assert figures["episodes"] == len(figures["runs"]) == 2
    assert figures["success_rate"] == np.mean([each["success"] for each in figures["runs"]])
    assert figures["plan_seconds"] > 0
    assert figures["steps_per_second"] > 0
    assert 0 < figures["control_latency_ms"]["p50"] <= figures["control_latency_ms"]["p99"]
    assert [each["episode"] for each in figures["runs"]] == [0, 1]
    assert figures["runs"][0]["steps"] == 12
    assert moved_past(figures["runs"][0]) == 3
    costs = [each["final_cost"] for each in figures["runs"]]
    assert figures["final_cost"] == pytest.approx(np.mean(costs))
    assert sum(figures["plan_costs"].values()) == pytest.approx(figures["final_cost"])
    assert sum(figures["plan_cost_shares"].values()) == pytest.approx(1.0)
    assert figures["subgoals_timed_out"] == 3 and figures["subgoals_reached"] == 0
    assert result["privileged"] == [] and result["subgoals"] == "planned"


def test_success_is_judged_on_the_last_observation(folder):
    name = f"{__name__}:ScriptedEnv"
    config = settings(folder, env=name, env_kwargs={}, tasks=("3,4", "5,6", "9"), episodes=1)
    tasks = run(config)["tasks"]
    assert [figures["successes"] for figures in tasks.values()] == [0, 1, 0]
    assert [figures["runs"][0]["first_success"] for figures in tasks.values()] == [3, 5, None]
    assert {figures["runs"][0]["steps"] for figures in tasks.values()} == {6}


def test_a_step_limit_ends_an_episode(folder):
    result = run(settings(folder, max_steps=5, tasks=("A",)))
    assert [each["steps"] for each in result["tasks"]["A"]["runs"]] == [5, 5]


def test_without_a_planner_there_is_no_plan(folder):
    result = run(settings(folder, method="model_free"))
    assert result["planner"] is None
    assert result["tasks"]["A"]["plan_seconds"] is None
    assert moved_past(result["tasks"]["A"]["runs"][0]) == 0


@pytest.mark.parametrize(("method", "reached"), [("leap", 3), ("gcp", 3)])
def test_baselines_plan_with_their_own_settings_and_no_buffer(folder, tmp_path, method, reached):
    own = tiny_baseline_folders(folder)[method]
    config = settings(own, method="", tasks=("A",))
    result = json.loads(json.dumps(run(config), allow_nan=False))
    assert result["method"] == method
    network = {"leap": "latent_vae", "gcp": "midpoints"}[method]
    files = {f"{name}.safetensors" for name in (network, "iql", "vqvae")}
    assert set(result["checkpoint_sha256"]) == files
    assert ("iterations" in result["planner"]) == (method == "leap")
    figures = result["tasks"]["A"]
    assert figures["plan_seconds"] > 0 and np.isfinite(figures["final_cost"])
    assert moved_past(figures["runs"][0]) == reached
    with pytest.raises(InputError, match=f"{method} has no plan buffer"):
        run(dataclasses.replace(config, plan_buffer=tmp_path / "plans"))
    with pytest.raises(CheckpointError, match=f"no {network}, which {method} needs; it has gener"):
        run(dataclasses.replace(config, checkpoint=folder))


def test_the_papers_ablations_plan_on_one_level(folder):
    result = run(settings(folder, method="ptp_no_hierarchy", tasks=("A",), episodes=1))
    assert result["planner"]["levels"] == 1
    with pytest.raises(ConfigError, match="no method"):
        run(settings(folder, method="dreams"))


def test_one_worker_and_two_workers_agree(folder):
    config = settings(folder)
    results = [outcome(evaluate(config, num_envs=num_envs, progress=False)) for num_envs in (1, 2)]
    assert results[0] == results[1]


def test_another_seed_gives_other_episodes(folder):
    first, second = (outcome(run(settings(folder, seed=seed))) for seed in (0, 1))
    assert first["tasks"] != second["tasks"]


def test_an_interrupted_evaluation_goes_on_where_it_stopped(folder, tmp_path, monkeypatch):
    config, output = settings(folder), tmp_path / "out.json"
    partial = tmp_path / "out.json.partial"
    expected = outcome(run(config))
    ran = []
    original = evaluation._Runner.run

    def interrupted(self, key, cancelled=None):
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(key)
        return original(self, key, cancelled)

    monkeypatch.setattr(evaluation._Runner, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(config, output=output)
    with open(partial, "ab") as file:
        file.write(b'{"task": "B", "episo')  # a kill in the middle of a line
    ran.clear()
    assert outcome(run(config, output=output)) == expected
    assert ran == [("B", 0), ("B", 1)]
    assert not partial.exists()
    assert outcome(json.loads(output.read_text())) == expected


def test_unfinished_results_of_other_settings_are_not_mixed_in(folder, tmp_path):
    output, partial = tmp_path / "out.json", tmp_path / "out.json.partial"
    PartialResults(partial, settings(folder).settings())
    with pytest.raises(InputError, match='another "seed"'):
        run(settings(folder, seed=5), output=output)
    partial.write_text("{]\n")
    with pytest.raises(InputError, match="damaged"):
        run(settings(folder), output=output)


def test_unfinished_results_of_an_earlier_program_are_named_as_such(folder, tmp_path):
    output, partial = tmp_path / "out.json", tmp_path / "out.json.partial"
    store = PartialResults(partial, settings(folder).settings())
    store.add(("A", 0), RESULT)
    first, row = partial.read_text().splitlines()
    values = json.loads(row)
    del values["plan_costs"], values["idle_fraction"]
    partial.write_text(f"{first}\n{json.dumps(values)}\n")
    message = "another version of this program, without idle_fraction, plan_costs: finish them"
    with pytest.raises(InputError, match=message):
        run(settings(folder), output=output)


def test_a_plan_buffer_grows_over_the_episodes_and_is_kept(folder, tmp_path):
    path = tmp_path / "plans.safetensors"
    config = settings(folder, plan_buffer=path)
    run(config)
    buffers = evaluation._Runner(config).agent.buffers
    assert [len(buffer) for buffer in buffers] == [4, 8, 16]
    with pytest.raises(InputError, match="one environment"):
        evaluate(config, num_envs=2, progress=False)


def test_an_environment_that_refuses_its_options_is_named_as_the_cause(folder, monkeypatch):
    def refuse(self, **_):
        raise ValueError("unknown protocol")

    monkeypatch.setattr(ToyEnv, "reset", refuse)
    with pytest.raises(InputError, match=r"cannot be reset with .*varied.*unknown protocol"):
        run(settings(folder))


def test_a_missing_checkpoint_or_environment_is_one_clear_error(folder, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        run(settings(tmp_path / "none"))
    with pytest.raises(InputError, match=r"nowhere:env"):
        run(settings(folder, env="nowhere:env"))
    with pytest.raises(InputError, match="unknown task"):
        run(settings(folder, tasks=("Z",)))
    with pytest.raises(InputError, match=r"cannot be made.*grasp"):
        run(settings(folder, env_kwargs={"grasp": "firm"}))
    with pytest.raises(InputError, match="at least 1"):
        run(dataclasses.replace(settings(folder), episodes=0))


def test_plans_of_a_library_are_reused_and_the_file_stays_as_it_is(folder, tmp_path):
    path = tmp_path / "plans.safetensors"
    config = settings(folder, reuse_plans=path)
    runner = evaluation._Runner(dataclasses.replace(config, reuse_plans=None))
    task = config.tasks[0]
    seed = episode_seeds(config.seed, task, 0).env
    image, info = runner.env.reset(seed=seed, options={"task": task, "protocol": "paper"})
    pictures = torch.from_numpy(np.stack([image, info["goal_image"]]))
    vqvae = runner.agent.vqvae
    library = PlanLibrary(load_checkpoint(folder).encoder_id, path)
    codes = torch.zeros(8, 144, dtype=torch.long)
    plan = Plan(codes, vqvae.lookup(codes), 7.5, {}, 0.1)
    stored = library.add(plan, *vqvae.lookup(vqvae.encode(pictures)))
    for _ in range(9):
        library.judge(stored, True)
    before = path.read_bytes()
    figures = run(config)
    assert figures["tasks"][task]["runs"][0]["final_cost"] == 7.5
    assert path.read_bytes() == before and figures["reuse_plans_sha256"]
    with pytest.raises(InputError, match="no such file"):
        run(settings(folder, reuse_plans=tmp_path / "none"))
    with pytest.raises(InputError, match="not several"):
        run(settings(folder, reuse_plans=path, plan_buffer=tmp_path / "buffer"))


def test_a_plan_library_is_for_every_method_that_plans(folder, tmp_path):
    own, path = tiny_baseline_folders(folder), tmp_path / "plans.safetensors"
    PlanLibrary(load_checkpoint(folder).encoder_id).save(path)
    for name in ("ptp", "ptp_single_subgoal", "ptp_no_hierarchy", "leap", "gcp"):
        config = settings(own.get(name, folder), method=name, reuse_plans=path)
        result = run(dataclasses.replace(config, tasks=("A",), episodes=1, max_steps=2))
        assert result["privileged"] == [evaluation.LIBRARY_SIGNAL]
    for name in ("model_free", "gcbc"):
        with pytest.raises(InputError, match=f"{name} does not plan, so there are no plans"):
            run(settings(own.get(name, folder), method=name, reuse_plans=path))


def test_the_controls_are_recorded_and_refuse_what_only_plans_have(folder, tmp_path):
    drawn = run(settings(folder, subgoals="random", tasks=("A",), episodes=1))
    assert (drawn["subgoals"], drawn["planner"]["samples"], drawn["privileged"]) == (
        "random",
        1,
        [],
    )
    name = f"{__name__}:StagedEnv"
    true = run(settings(folder, subgoals="oracle", env=name, tasks=("A",), episodes=1))
    assert (true["subgoals"], true["planner"]) == ("oracle", None)
    assert true["privileged"] == [evaluation.ORACLE_SIGNAL]
    assert moved_past(true["tasks"]["A"]["runs"][0]) == 3
    with pytest.raises(InputError, match="oracle subgoals are not planned: use them without"):
        run(settings(folder, subgoals="oracle", plan_buffer=tmp_path / "plans"))


def test_gcbc_acts_with_its_own_policy(folder, tmp_path):
    own = tiny_baseline_folders(folder, seed=4)["gcbc"]
    results = [
        run(settings(where, method=name, tasks=("A",), episodes=1))
        for name, where in (("model_free", folder), ("gcbc", own))
    ]
    distances = [each["tasks"]["A"]["final_distance"] for each in results]
    assert distances[0] != distances[1]
    assert results[1]["planner"] is None and results[1]["tasks"]["A"]["plan_costs"] is None
    with pytest.raises(InputError, match="gcbc has its own policy"):
        run(settings(own, method="gcbc", finetuned=tmp_path))


@pytest.mark.parametrize(
    ("motion", "idle"),
    [
        ((0.14, -0.14, 0.14, -0.14), True),
        ((0.0, 0.0, -0.15, 0.0), False),
        ((0.0, 0.0, 0.0, 0.2), False),
    ],
)
def test_next_to_no_motion_is_little_of_each(motion, idle):
    assert is_idle(np.array(motion, np.float32)) == idle


def test_the_summary_tells_what_plans_cost_and_how_much_of_the_time_nothing_moved():
    reused = dataclasses.replace(RESULT, plan_costs=None, idle_fraction=0.75, subgoals_reached=3)
    figures = summarise([(0, 11, RESULT), (1, 12, reused)])
    assert figures["plan_costs"] == {"distance": 2.0, "value": 0.5, "prior": 0.5}
    assert figures["plan_cost_shares"] == pytest.approx(
        {"distance": 2 / 3, "value": 1 / 6, "prior": 1 / 6}
    )
    assert (figures["idle_fraction"], figures["subgoals_reached"]) == (0.5, 2.0)
    assert figures["subgoals_timed_out"] == 1.0
    assert [each["idle_fraction"] for each in figures["runs"]] == [0.25, 0.75]
    assert summarise([(0, 1, reused)])["plan_cost_shares"] is None
