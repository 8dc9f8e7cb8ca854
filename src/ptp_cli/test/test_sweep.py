# SPDX-License-Identifier: Apache-2.0
"""ptp sweep as a user calls it: tiny networks, the toy environment, real processes.

PTP_TEST_RAY=local runs the very same sweeps on a Ray of this machine (`make sweep` adds Ray).
"""

import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ptp_cli.main import main
from ptp_cli.sweep.executors import LOG
from ptp_cli.sweep.sweep_config import load_sweep, remember, runs_of
from ptp_cli.sweep.sweep_display import LiveTable, PlainLines
from ptp_cli.sweep.sweep_schedule import alone_in, free_memory, places, rows_of
from ptp_core.agents.registry import agent_names, method_named
from ptp_core.errors import ConfigError, InputError
from ptp_core.tiny_networks import tiny_baseline_folders, tiny_checkpoint, tiny_config

RAY = ["--ray", os.environ["PTP_TEST_RAY"]] if "PTP_TEST_RAY" in os.environ else []


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    tiny_checkpoint(folder, config=tiny_config(batch_size=8))
    return folder


@pytest.fixture
def write(checkpoint, tmp_path):
    """Write a sweep's file; some of its keys, and options that differ."""

    def file(**changes):
        values = {"methods": ["ptp", "model_free"], "tasks": ["A"], "seeds": [3]}
        options = {"env": "ptp_core.toy_env:make_env", "env_arg": {"max_steps": 8}}
        options |= {"checkpoint": str(checkpoint), "max-steps": 8, "episodes": 1, "epochs": 2}
        options |= {"evaluate_every": 1, "evaluation_episodes": 2} | changes.pop("options", {})
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump({**values, "options": options, **changes}))
        return path

    return file


def ptp(*words):
    """Run a command line; return its exit status."""
    return main([str(word) for word in words])


def results(out):
    """What each run has written: {method/task/seed: result}."""
    found = sorted(out.rglob("result.json"))
    return {str(path.parent.relative_to(out)): json.loads(path.read_text()) for path in found}


def test_every_method_runs_once_and_a_longer_sweep_goes_on(write, tmp_path, capsys):
    out = tmp_path / "out"
    assert ptp("sweep", write(), "--out", out, "--jobs", 2, *RAY) == 0
    printed = capsys.readouterr().out
    assert "2 of 2 runs are finished" in printed
    assert "ptp/A/seed_3: running, epoch 0/2" in printed
    first = results(out)
    assert list(first) == ["model_free/A/seed_3", "ptp/A/seed_3"]
    assert all(len(result["epochs"]) == 2 for result in first.values())
    settings = json.loads((out / "ptp" / "A" / "seed_3" / "settings.json").read_text())
    assert (settings["method"], settings["seed"], settings["max_steps"]) == ("ptp", 3, 8)
    assert settings["env_kwargs"] == {"max_steps": 8}

    logs = [path.stat().st_mtime_ns for path in sorted(out.rglob(LOG))]
    assert ptp("sweep", write(), "--out", out, *RAY) == 0
    assert "2 runs are finished" in capsys.readouterr().out
    assert [path.stat().st_mtime_ns for path in sorted(out.rglob(LOG))] == logs

    longer = write(methods=["model_free"], options={"epochs": 3})
    assert ptp("sweep", longer, "--out", out, *RAY) == 0
    went_on = results(out)["model_free/A/seed_3"]["epochs"]
    assert went_on[:2] == first["model_free/A/seed_3"]["epochs"]
    assert len(went_on) == 3
    assert ptp("sweep", write(protocol="varied"), "--out", out, *RAY) == 2
    assert 'protocol "paper", not "varied"' in capsys.readouterr().err


def test_a_run_that_fails_stops_no_other(write, tmp_path, capsys):
    out = tmp_path / "out"
    config = write(methods=["model_free"], tasks=["B", "A"])
    other = out / "model_free" / "B" / "seed_3" / "settings.json"
    other.parent.mkdir(parents=True)
    other.write_text('{"task": "C"}')
    assert ptp("sweep", config, "--out", out, "--jobs", 1, *RAY) == 1
    printed = capsys.readouterr()
    assert "model_free/B/seed_3 failed:" in printed.out
    assert "other settings" in printed.out
    assert "failed: model_free/B/seed_3 (exit status 2)" in printed.err
    assert list(results(out)) == ["model_free/A/seed_3"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_its_end_ends_the_runs_and_they_go_on(write, tmp_path, number, capsys):
    out = tmp_path / "out"
    config = write(methods=["model_free"], options={"epochs": 10_000})
    words = [sys.executable, "-m", "ptp_cli", "sweep", config, "--out", out, *RAY]
    process = subprocess.Popen(
        list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    folder = out / "model_free" / "A" / "seed_3"
    wait_for(lambda: (folder / "epochs" / "000001").is_dir(), process)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    wait_for(lambda: not practising(folder))
    if number == signal.SIGINT:
        assert process.returncode == 130, said
        assert "repeat the command to go on" in said
        assert "repeat the command to go on" in (folder / LOG).read_text()
    done = len(list((folder / "epochs").glob("??????")))
    assert ptp("sweep", write(methods=["model_free"], options={"epochs": done + 1}),
               "--out", out, *RAY) == 0  # fmt: skip
    assert len(results(out)["model_free/A/seed_3"]["epochs"]) == done + 1


def wait_for(condition, process=None, seconds=100.0):
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()[1]


def practising(folder):
    """Whether some process practises in this folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"practice" in words and str(folder).encode() in words:
            return True
    return False


def test_terminal_and_file_show_how_runs_stand(write, tmp_path):
    out = tmp_path / "out"
    runs = runs_of(load_sweep(write(tasks=["A", "B"], seeds=[3, 4])), out)
    one = runs[0].folder / "epochs" / "000000"
    one.mkdir(parents=True)
    metrics = {"epoch": 1, "practice_success_rate": 0.0}
    metrics["evaluation"] = {"epoch": 0, "episodes": 2, "successes": 1}
    (one / "metrics.json").write_text(json.dumps(metrics))
    (runs[1].folder / "epochs" / "000000").mkdir(parents=True)  # damaged: no metrics
    rows = rows_of(runs)
    rows[0].state = "running"
    rows[0].progress.begin(100.0)
    two = one.with_name("000001")
    two.mkdir()
    (two / "metrics.json").write_text(json.dumps({"epoch": 2, "practice_success_rate": 1.0}))
    rows[0].progress.look(136.0)
    rows[0].run = runs_of(load_sweep(write(options={"epochs": 5})), out)[0]
    rows[0].progress.run = rows[0].run
    shown = {}
    for kind in (LiveTable, PlainLines):
        text = io.StringIO()
        with kind(text, 2) as display:
            display.show(rows, 136.0)
        shown[kind] = text.getvalue()
    for text in shown.values():
        assert all(part in text for part in ("2/5", "1/2 at 0", "100", "01:48")), text
        assert "model_free/A/seed_3 failed" in text
        assert "metrics.json" in text
    assert "8 runs: 6 waiting, 1 running, 1 failed" in shown[LiveTable]


class Terminal(io.StringIO):
    """A text file that says it is a terminal."""

    def isatty(self):
        return True


def test_the_table_has_colours_unless_NO_COLOR_is_set(write, tmp_path, monkeypatch):  # noqa: N802
    green = "\x1b[32m"
    monkeypatch.setenv("TERM", "xterm-256color")
    rows = rows_of(runs_of(load_sweep(write()), tmp_path / "out"))
    rows[0].state = "finished"
    for variables, colourful in (({}, True), ({"NO_COLOR": "1"}, False)):
        monkeypatch.delenv("NO_COLOR", raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        text = Terminal()
        with LiveTable(text, 2) as display:
            display.show(rows, 0.0)
        assert "finished" in text.getvalue()
        assert (green in text.getvalue()) is colourful


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": ["ptp"]}, 'unknown key "method"; there are methods, tasks, seeds, protocol'),
        ({"methods": ["gcbc"]}, "gcbc learns from demonstrations alone: only evaluate it"),
        ({"methods": ["dreams"]}, f'no method "dreams"; there are {", ".join(agent_names())}'),
        ({"seeds": []}, "seeds is empty"),
        ({"tasks": ["A", "A"]}, "tasks names something twice"),
        ({"options": {"epoch": 3}}, 'unknown key "options.epoch"; there are demonstrations'),
        ({"options": {"seed": 3}}, "options.seed is not an option"),
        ({"options": {"epochs": "many"}}, "options.epochs is 'many'; it must be a whole number"),
        ({"options": {"learn_from": "none"}}, "must be one of all, successes"),
        ({"options": {"reuse_plans": 1}}, "options.reuse_plans is 1; it must be true or false"),
        ({"worlds": 2}, "worlds is now num_envs"),
        ({"tasks": ["A", "D"]}, 'unknown task "D"; ptp_core.toy_env:make_env has A, B, C'),
        ({"protocol": "wild"}, 'unknown protocol "wild"; ptp_core.toy_env:make_env has paper'),
        ({"options": {"proven": True}}, "options.proven is now reuse_plans"),
        ({"options": {"updates_per_step": 1}}, "options.updates_per_step is now utd_ratio"),
        ({"options": {"preset": "best"}}, "options.preset is 'best'; it must be one of ours"),
        ({"options": {"utd_ratio": -1.0}}, "utd_ratio is -1.0"),
        ({"options": {"epochs": 0}}, "epochs is 0"),
        ({"options": {"checkpoint": "nowhere"}}, "nowhere: no checkpoint"),
        ({"options": {"baselines": "nowhere"}}, "options.baselines is now checkpoint"),
        ({"methods": ["gcp"]}, "no midpoints, which gcp needs, and"),
        ({"methods": ["gcp"], "checkpoints": {"gcp": "nowhere"}}, "nowhere: no checkpoint"),
        ({"checkpoints": {"dreams": "nowhere"}}, 'no method "dreams"'),
    ],
)
def test_mistakes_are_one_line_before_anything_runs(write, tmp_path, changes, message, capsys):
    assert ptp("sweep", write(**changes), "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("ptp sweep: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_options_become_words_of_the_command_line(write, tmp_path):
    options = {"reuse_plans": True, "learning_rate": 1e-4, "env_arg": ["grasp=physical", "x=1"]}
    (run, *_) = runs_of(load_sweep(write(options=options)), tmp_path)
    words = {
        "--reuse-plans",
        "--learning-rate=0.0001",
        "--env-arg=grasp=physical",
        "--env-arg=x=1",
    }
    assert words < set(run.words)
    never = runs_of(load_sweep(write(options={"reuse_plans": False})), tmp_path)
    assert "--no-reuse-plans" in never[0].words
    # A method without plans has none to reuse.
    assert [run.method for run in never if "--no-reuse-plans" not in run.words] == ["model_free"]


def test_settings_of_ptps_planner_go_to_the_ptp_methods_alone(write, tmp_path):
    config = load_sweep(write(options={"planner": "paper"}))
    words = {run.method: run.words for run in runs_of(config, tmp_path)}
    assert "--planner=paper" in words["ptp"]
    assert "--planner=paper" not in words["model_free"]


def test_each_method_has_a_checkpoint_of_its_own(checkpoint, write, tmp_path, capsys):
    base = shutil.copytree(checkpoint, tmp_path / "models" / "tiny")
    folders = tiny_baseline_folders(base)

    def checkpoints_of(config):
        words = {run.method: run.words for run in runs_of(config, tmp_path / "out")}
        return {
            method: next(word for word in found if word.startswith("--checkpoint="))
            for method, found in words.items()
        }

    both = {"methods": ["ptp", "leap"], "options": {"checkpoint": str(base)}}
    beside = checkpoints_of(load_sweep(write(**both)))
    assert beside == {"ptp": f"--checkpoint={base}", "leap": f"--checkpoint={folders['leap']}"}
    elsewhere = folders["leap"].rename(tmp_path / "models" / "mine")
    named = write(**both, checkpoints={"leap": str(elsewhere)})
    assert checkpoints_of(load_sweep(named))["leap"] == f"--checkpoint={elsewhere}"
    remember(load_sweep(named), tmp_path / "out", "tiny.yaml", 2)
    other = load_sweep(write(**both, checkpoints={"leap": str(base)}))
    with pytest.raises(InputError, match=r"mine for leap, not .*tiny: name another folder"):
        remember(other, tmp_path / "out", "tiny.yaml", 2)


def test_two_sweeps_do_not_share_a_folder(write, tmp_path, capsys):
    with alone_in(tmp_path / "out"):
        assert ptp("sweep", write(), "--out", tmp_path / "out") == 2
    assert "another ptp sweep works in" in capsys.readouterr().err


def test_as_many_runs_at_once_as_cores_and_memory_allow():
    cores = len(os.sched_getaffinity(0))
    assert places(1, 1e-6) == cores
    assert places(10 * cores, 1e-6) == 1
    assert places(1, free_memory() / 2**30 / 1.5) == 1


def test_shipped_files_are_accepted(tmp_path):
    folder = Path(__file__).resolve().parents[3] / "config" / "sweep"
    paper = load_sweep(folder / "paper.yaml")
    ours = {"ptp_legs", "diffusion_bc"}  # not the paper's
    told = {name for name in agent_names() if "sentences" in method_named(name).parts}
    states = {name for name in agent_names() if "state" in method_named(name).goals}
    assert set(paper.methods) == set(agent_names()) - {"gcbc"} - ours - told - states
    assert (paper.tasks, len(paper.seeds)) == (("A", "B", "C"), 3)
    runs = runs_of(load_sweep(folder / "quick.yaml"), tmp_path)
    assert runs[0].words[:3] == ("practice", "--task", "A")
    assert {"--num-envs", "0", "--method"} < set(runs[0].words)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_sweep(folder / "none.yaml")


if importlib.util.find_spec("ray") is None:

    def test_without_ray_one_line_says_how_to_get_it(write, capsys):
        assert ptp("sweep", write(), "--ray", "auto") == 2
        error = capsys.readouterr().err
        assert "make sweep" in error and error.count("\n") == 1
