# SPDX-License-Identifier: Apache-2.0
"""ptp report on real runs of tiny networks in the toy environment."""

import csv
import dataclasses
import json
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from ptp_cli.commands.practice import practice_settings
from ptp_cli.main import main, make_parser
from ptp_cli.report.gather_runs import gather
from ptp_cli.report.repeat_commands import practice_command
from ptp_cli.report.report_figures import evaluation_curves, practice_curves, table
from ptp_cli.report.report_pictures import evaluation_pictures
from ptp_core.errors import InputError
from ptp_core.practice.practice_runner import InProcessPractice
from ptp_core.practice.practice_settings import PracticeConfig, preset
from ptp_core.practice.run_folder import read_run
from ptp_core.rollout.episode_results import pooled_interval
from ptp_core.rollout.evaluation import EvaluationConfig, evaluate
from ptp_core.rollout.past_evaluation import PastEvaluation
from ptp_core.tiny_networks import tiny_checkpoint, tiny_config

STEPS, EPOCHS = 8, 3
METHODS, SEEDS = ("ptp", "model_free"), (0, 1)


def ptp(*words):
    """Run a command line; return its exit status."""
    return main([str(word) for word in words])


def practise(folder, checkpoint, **changes):
    values = {"env": "ptp_core.toy_env:make_env", "env_kwargs": {"max_steps": STEPS}}
    values |= {"epochs": EPOCHS, "episodes": 2, "max_steps": STEPS, "evaluate_every": 2}
    values |= {"protocol": "varied", "checkpoint": checkpoint, "evaluation_episodes": 2}
    values |= dataclasses.asdict(preset("paper"))
    practice = InProcessPractice(PracticeConfig(**values | changes), folder)
    try:
        practice.run(progress=False)
    finally:
        practice.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two methods with two seeds each on task A, in the folders of a sweep."""
    root = tmp_path_factory.mktemp("runs")
    tiny_checkpoint(root / "tiny", config=tiny_config(batch_size=8))
    for method in METHODS:
        for seed in SEEDS:
            folder = root / "sweep" / method / "A" / f"seed_{seed}"
            practise(folder, root / "tiny", method=method, seed=seed)
    about = {"methods": METHODS, "tasks": ["A"], "seeds": SEEDS, "protocol": "varied"}
    about |= {"options": {}, "epochs": EPOCHS, "source": "config/sweep/toy.yaml"}
    (root / "sweep" / "sweep.json").write_text(json.dumps(about))
    return root


@pytest.fixture
def runs(made, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(made / "sweep", tmp_path / "sweep")
    return tmp_path / "sweep"


def change_successes(folder, counts):
    """Let the evaluations of a run have these successes of two episodes, in their order."""
    left = list(counts)
    result = json.loads((folder / "result.json").read_text())
    for path, metrics in zip(
        sorted(folder.glob("epochs/*/metrics.json")), result["epochs"], strict=True
    ):
        if "evaluation" in metrics:
            metrics["evaluation"]["successes"] = left.pop(0)
        path.write_text(json.dumps(metrics))
    (last,) = left
    result["evaluations"][-1]["successes"] = last
    (folder / "result.json").write_text(json.dumps(result))


def lines(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_holds_everything(made, tmp_path, capsys):
    out = tmp_path / "report"
    assert ptp("report", made / "sweep", "-o", out) == 0
    assert "index.html" in capsys.readouterr().out
    page = (out / "index.html").read_text()
    sources = re.findall(r'<(?:img|video)[^>]* src="([^"]{,30})', page)
    assert len(sources) == 2 + 2 + 2  # curves, strips, films
    assert all(source.startswith("data:") for source in sources)
    assert "PTP, seed 0" in page and "model-free, seed 0" in page
    assert "ptp sweep config/sweep/toy.yaml" in page
    assert "not complete" not in page and "left out" not in page
    assert "53.3" not in page and "84.9" not in page  # not the paper's scenes
    for name in ("curves.png", "practice.png"):
        assert cv2.imread(str(out / name)).std() > 5
    films = sorted(out.glob("pictures/*/*.webm"))
    assert [path.parent.name for path in films] == ["model_free_seed_0", "ptp_seed_0"]
    frames = cv2.VideoCapture(str(films[1]))
    assert frames.get(cv2.CAP_PROP_FRAME_COUNT) > STEPS / 2
    strips = [cv2.imread(str(path)) for path in sorted(out.glob("pictures/*/*_plan.png"))]
    assert strips[0].shape[1] < strips[1].shape[1]  # goal alone, and eight subgoals


def test_settings_and_result_are_enough_of_a_run(runs, tmp_path):
    whole = read_run(runs / "ptp" / "A" / "seed_0")
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("settings.json", "result.json"):
        shutil.copy(whole.folder / name, kept)
    run = read_run(kept)
    assert (run.epochs, run.evaluations) == (whole.epochs, whole.evaluations) and run.finished
    assert ptp("report", kept, "--no-pictures", "-o", tmp_path / "report") == 0
    result = json.loads((kept / "result.json").read_text())
    result["epochs"][1]["epoch"] = 7
    (kept / "result.json").write_text(json.dumps(result))
    with pytest.raises(InputError, match=r"result\.json: damaged"):
        read_run(kept)


def test_pictures_of_the_same_networks_stay(runs, tmp_path):
    out = tmp_path / "report"
    assert ptp("report", runs, "-o", out) == 0
    films = sorted(out.glob("pictures/*/*.webm"))
    before = [path.stat().st_mtime_ns for path in films]
    manifest = runs / "ptp" / "A" / "seed_0" / "checkpoint" / "manifest.json"
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "metrics": {"other": 1}}))
    assert ptp("report", runs, "-o", out) == 0
    same = [path.stat().st_mtime_ns == then for path, then in zip(films, before, strict=True)]
    assert same == [True, False]  # model_free, ptp


def be_of_protocol_paper(runs, **changes):
    """Let all runs be those of fixed scenes."""
    for path in runs.glob("*/A/*/settings.json"):
        values = {**json.loads(path.read_text()), "protocol": "paper", **changes}
        path.write_text(json.dumps(values))


def test_numbers_are_means_over_seeds_beside_the_papers(runs, tmp_path):
    be_of_protocol_paper(runs)
    change_successes(runs / "ptp" / "A" / "seed_0", [0, 1, 2])
    change_successes(runs / "ptp" / "A" / "seed_1", [1, 1, 1])
    assert ptp("report", runs, "-o", tmp_path / "report", "--no-pictures") == 0
    offline, online, *_ = lines(tmp_path / "report" / "summary.csv")
    assert (offline["method"], offline["phase"], offline["epoch"]) == ("ptp", "offline", "0")
    assert (offline["rate"], offline["paper"]) == ("0.2500", "0.5330")
    assert (online["epoch"], online["rate"], online["paper"]) == ("3", "0.7500", "0.8490")
    low, high = pooled_interval([2, 1], [2, 2])
    assert (online["low_95"], online["high_95"]) == (f"{low:.4f}", f"{high:.4f}")
    assert (online["successes"], online["episodes"], online["seeds"]) == ("3", "4", "0 1")
    free = [row for row in lines(tmp_path / "report" / "summary.csv") if row["paper"] == ""]
    assert {row["method"] for row in free} == {"model_free"}
    raw = lines(tmp_path / "report" / "runs.csv")
    assert len(raw) == len(METHODS) * len(SEEDS) * (3 + EPOCHS)


def test_practice_is_shown_as_a_trailing_mean(runs):
    folder = runs / "model_free" / "A" / "seed_0"
    template = json.loads((folder / "epochs" / "000001" / "metrics.json").read_text())
    for number in range(14):  # every success rate is one from the fourth epoch on
        path = folder / "epochs" / f"{number:06d}" / "metrics.json"
        path.parent.mkdir(exist_ok=True)
        rate = float(number >= 3)
        path.write_text(
            json.dumps({**template, "epoch": number + 1, "practice_success_rate": rate})
        )
    points = practice_curves(gather([str(folder)]))["A", "model_free"]
    rates = [point.rate for point in points]
    assert rates[:4] == [0.0, 0.0, 0.0, 0.25]
    assert np.allclose(rates[9:], [0.7, 0.8, 0.9, 1.0, 1.0])


def test_what_is_not_finished_is_shown_as_such(runs, tmp_path, capsys):
    (runs / "ptp" / "A" / "seed_1" / "result.json").unlink()
    shutil.rmtree(runs / "ptp" / "A" / "seed_1" / "epochs" / "000002")
    shutil.rmtree(runs / "model_free" / "A" / "seed_1")
    metrics = runs / "model_free" / "A" / "seed_0" / "epochs" / "000001" / "metrics.json"
    metrics.write_text("{")
    assert ptp("report", runs, "-o", tmp_path / "report", "--no-pictures") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("left out: ") and str(metrics) in line
    page = (tmp_path / "report" / "index.html").read_text()
    assert str(metrics) in page
    assert "1 under way, 1 not begun" in " ".join(page.split())
    rows = {row["method"]: row for row in lines(tmp_path / "report" / "summary.csv")}
    assert rows["ptp"]["state"] == "1 of 2 runs finished; others at epoch 2"
    assert rows["ptp"]["epoch"] == "3"
    assert "model_free" not in rows
    found = gather([str(runs)])
    (free,) = (row for row in table(found, evaluation_curves(found)) if row.method != "ptp")
    assert (free.state, free.online) == ("0 of 1 runs finished", None)


def test_without_pictures_no_simulator_is_needed(runs, tmp_path):
    for path in runs.glob("*/A/*/settings.json"):
        path.write_text(path.read_text().replace("ptp_core.toy_env", "ptp_sim.env"))
    program = """
import sys
from ptp_cli.main import main
main(sys.argv[1:])
print({"pybullet", "ptp_sim", "torch"} & set(sys.modules))
"""
    words = ["report", runs, "-o", tmp_path / "report", "--no-pictures"]
    command = [sys.executable, "-c", program, *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "set()", result.stderr
    assert not (tmp_path / "report" / "pictures").exists()


def evaluated(made, folder):
    """A file of `ptp evaluate` in the toy environment."""
    path = folder / "figures.json"
    config = EvaluationConfig(
        checkpoint=made / "tiny",
        env="ptp_core.toy_env:make_env",
        env_kwargs={"max_steps": STEPS},
        tasks=("A",),
        method="ptp",
        episodes=2,
        max_steps=STEPS,
    )
    evaluate(config, num_envs=0, output=path, progress=False)
    return path


def test_files_of_evaluations_have_pictures_of_their_networks_alone(made, tmp_path):
    path = evaluated(made, tmp_path)
    out = tmp_path / "report"
    assert ptp("report", path, "--checkpoint", made / "tiny", "-o", out) == 0
    assert [strip.parent.name for strip in out.glob("pictures/*/*_plan.png")] == ["ptp_seed_0"]
    assert len(list(out.glob("pictures/*/*.webm"))) == 1
    assert "No picture: " not in (out / "index.html").read_text()
    assert ptp("report", path, "-o", tmp_path / "other") == 0
    page = (tmp_path / "other" / "index.html").read_text()
    assert "made with another" in page
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "reuse_plans_sha256": "ab"}))
    assert ptp("report", path, "--checkpoint", made / "tiny", "-o", tmp_path / "reuse_plans") == 0
    assert "made with reuse_plans_sha256" in (tmp_path / "reuse_plans" / "index.html").read_text()


@pytest.mark.parametrize("name", ["os:system", "mine:make_env", None, ["os:system"]])
def test_what_a_file_names_as_environment_is_not_run(made, tmp_path, monkeypatch, name):
    mark = tmp_path / "ran"
    (tmp_path / "mine.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    path = evaluated(made, tmp_path)
    values = json.loads(path.read_text())
    given = {"command": f"touch {mark}"} if name == "os:system" else values["env_kwargs"]
    path.write_text(json.dumps({**values, "env": name, "env_kwargs": given}))
    words = ["report", path, "--checkpoint", made / "tiny", "-o", tmp_path / "report"]
    assert ptp(*words) == 0
    assert not mark.exists()
    assert "name it with --env, too" in (tmp_path / "report" / "index.html").read_text()
    if name == "mine:make_env":
        assert ptp(*words, "--env", name) == 0
        assert mark.exists()


def test_arguments_that_no_environment_takes_are_a_reason_and_no_crash(made, tmp_path):
    path = evaluated(made, tmp_path)
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "env_kwargs": {"no": "such"}}))
    out = tmp_path / "report"
    assert ptp("report", path, "--checkpoint", made / "tiny", "-o", out) == 0
    assert "cannot be made" in (out / "index.html").read_text()


def test_a_run_without_networks_has_a_reason_in_the_place_of_its_picture(runs, tmp_path):
    shutil.rmtree(runs / "ptp" / "A" / "seed_0" / "checkpoint")
    assert ptp("report", runs / "ptp" / "A" / "seed_0", "-o", tmp_path / "report") == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "No picture: " in page and "checkpoint" in page


def test_offline_figures_come_from_evaluations(made, tmp_path, capsys):
    json_file, other = tmp_path / "ptp.json", tmp_path / "other.json"
    tiny_checkpoint(tmp_path / "early", seed=1, config=tiny_config(batch_size=8))
    for folder, path in ((made / "tiny", json_file), (tmp_path / "early", other)):
        config = EvaluationConfig(
            checkpoint=folder,
            env="ptp_core.toy_env:make_env",
            tasks=("A",),
            method="ptp",
            episodes=2,
            protocol="varied",
            seed=9,
            max_steps=STEPS,
        )
        evaluate(config, num_envs=0, output=path, progress=False)
    run = made / "sweep" / "ptp" / "A" / "seed_0"
    found = gather([str(run), str(json_file), f"{other}@-50"])
    points = evaluation_curves(found)["A", "ptp"]
    assert [point.epoch for point in points] == [-50, 0, 2, 3]
    assert (points[1].seeds, points[1].episodes) == ((0, 9), 4)
    words = ("report", run, json_file, other, "-o", tmp_path / "report", "--no-pictures")
    assert ptp(*words) == 0
    assert f"{other}: other networks than practice began with" in capsys.readouterr().err
    alone = gather([str(json_file)])
    assert evaluation_curves(alone)["A", "ptp"][0].episodes == 2
    assert ptp("report", json_file, "-o", tmp_path / "alone") == 0


def test_what_does_not_fit_is_named_and_left_out(made, runs, tmp_path):
    one = made / "sweep" / "ptp" / "A" / "seed_0"
    same, fixed = runs / "ptp" / "A" / "seed_0", tmp_path / "fixed"
    practise(fixed, made / "tiny", protocol="paper", epochs=1, seed=4)
    text = tmp_path / "text.json"
    text.write_text('{"tasks": {}')
    sources = [one, one, same, fixed, text, tmp_path / "none.json"]
    found = gather([str(source) for source in sources])
    assert [run.folder for run in found.runs] == [one]
    assert len(found.complaints) == 4
    for part in ("the same method, task and seed", "no figures", "cannot be read", "protocol"):
        assert sum(part in line for line in found.complaints) == 1
    with pytest.raises(InputError, match="no run of ptp practice"):
        gather([str(made / "tiny")])


def test_commands_do_the_runs_again(made, tmp_path):
    run = read_run(made / "sweep" / "ptp" / "A" / "seed_1")
    words = practice_command(run).split()
    args = make_parser().parse_args(words[1:])
    assert (args.method, args.task, args.seed, args.epochs) == ("ptp", "A", 1, EPOCHS)
    assert (args.protocol, args.max_steps, args.episodes) == ("varied", STEPS, 2)
    assert args.subgoal_steps == run.settings["follower"]["timeout"]
    assert (args.env, args.env_arg) == ("ptp_core.toy_env:make_env", [f"max_steps={STEPS}"])
    assert "--preset paper" in practice_command(run)
    settings = practice_settings(args)
    assert settings == {name: run.settings[name] for name in settings}


def test_commands_do_runs_of_earlier_releases_again(made):
    run = read_run(made / "sweep" / "ptp" / "A" / "seed_1")
    earlier = {**run.settings, "explore": False, "reuse_plans": True, "utd_ratio": 0.0}
    del earlier["success_signal"], earlier["actions"]
    command = practice_command(dataclasses.replace(run, settings=earlier))
    settings = practice_settings(make_parser().parse_args(command.split()[1:]))
    assert settings == {
        **{"actions": "mean", "learn_from": "all", "reuse_plans": True},
        **{"utd_ratio": 0.0, "learning_rate": 3e-4, "success_signal": "simulator"},
    }


def test_a_damaged_picture_is_told(made, tmp_path):
    past = PastEvaluation.of_run(read_run(made / "sweep" / "ptp" / "A" / "seed_0"))
    about = tmp_path / "pictures" / "ptp_seed_0" / "task_A.json"
    about.parent.mkdir(parents=True)
    about.write_text("{")
    found = evaluation_pictures(past, tmp_path)
    assert f"{about}: damaged" in found.why_not and found.strip is None


def test_pictures_of_variants_are_kept_apart(made, tmp_path):
    past = PastEvaluation.of_run(read_run(made / "sweep" / "ptp" / "A" / "seed_0"))
    found = evaluation_pictures(past, tmp_path, tries=1, name="learning/ptp")
    assert (found.method, found.why_not) == ("learning/ptp", "")
    assert found.strip.startswith("pictures/learning/ptp_seed_0/")
    assert (tmp_path / found.strip).is_file()
