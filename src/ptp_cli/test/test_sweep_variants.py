# SPDX-License-Identifier: Apache-2.0
"""Variants of a sweep: what its file may say, the order of its runs and their folders."""

import io
import json
from pathlib import Path

import pytest
import yaml

from ptp_cli.main import main
from ptp_cli.sweep.sweep_config import (
    as_declared,
    load_sweep,
    read_about,
    remember,
    run_name,
    runs_of,
    same_variants,
)
from ptp_cli.sweep.sweep_display import LiveTable
from ptp_cli.sweep.sweep_schedule import rows_of
from ptp_core.errors import CheckpointError, ConfigError, InputError
from ptp_core.tiny_networks import tiny_checkpoint, tiny_config

VARIANTS = {
    "learning": {"reuse_plans": False},
    "none": {"utd_ratio": 0, "reuse_plans": False},
    "plans": {"utd_ratio": 0, "reuse-plans": True},
    "both": {},
}
CONTROLS = {"learning": "none", "plans": "none", "both": "plans"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    tiny_checkpoint(folder, config=tiny_config(batch_size=8))
    return folder


@pytest.fixture
def write(checkpoint, tmp_path):
    """Write the file of a sweep with variants."""

    def file(options=None, **changes):
        values = {"methods": ["ptp", "model_free"], "tasks": ["A"], "seeds": [3, 4]}
        values |= {"variants": VARIANTS, "controls": CONTROLS}
        known = {"env": "ptp_core.toy_env:make_env", "env_arg": {"max_steps": 8}}
        known |= {"checkpoint": str(checkpoint), "max_steps": 8, "episodes": 1, "epochs": 1}
        known |= {"evaluation_episodes": 1, **(options or {})}
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump({**values, **changes, "options": known}, sort_keys=False))
        return path

    return file


def ptp(*words):
    """Run a command line; return its exit status."""
    return main([str(word) for word in words])


def test_variants_of_one_seed_practise_one_after_the_other(write, tmp_path):
    runs = runs_of(load_sweep(write()), tmp_path)
    assert [run.name for run in runs[:6]] == [
        "learning/ptp/A/seed_3",
        "none/ptp/A/seed_3",
        "plans/ptp/A/seed_3",
        "both/ptp/A/seed_3",
        "learning/model_free/A/seed_3",
        "none/model_free/A/seed_3",
    ]
    assert {run.seed for run in runs[6:]} == {4}
    assert all(run.folder == tmp_path / run.name for run in runs)
    words = {run.variant: run.words for run in runs[:4]}
    assert {"--utd-ratio=0", "--reuse-plans"} < set(words["plans"])
    assert {"--utd-ratio=0", "--no-reuse-plans"} < set(words["none"])
    assert not any(word.startswith("--utd-ratio") for word in words["both"])


def test_a_method_without_plans_runs_once_what_differs_in_their_reuse(write):
    same = same_variants(load_sweep(write()))
    assert same == {"model_free": {"plans": "none", "both": "learning"}}
    # `both` leaves the preset's reuse of plans, so saying it changes nothing.
    spelled = {**VARIANTS, "preset": {"preset": "ours", "reuse_plans": True}}
    assert same_variants(load_sweep(write(variants=spelled)))["ptp"] == {"preset": "both"}


def test_without_variants_folders_are_those_of_methods(write, tmp_path):
    runs = runs_of(load_sweep(write(variants={}, controls={})), tmp_path)
    assert [run.name for run in runs[:2]] == ["ptp/A/seed_3", "model_free/A/seed_3"]
    assert run_name("ptp", "A", 3) == "ptp/A/seed_3"


def test_a_variant_may_name_a_checkpoint_and_epochs_of_its_own(checkpoint, write, tmp_path):
    longer = {"epochs": 7, "checkpoint": str(checkpoint)}
    file = write(
        methods=["ptp"],
        variants={"one": {}, "longer": longer},
        controls={},
        checkpoints={"ptp": str(checkpoint.parent / "." / "tiny")},
    )
    config = load_sweep(file)
    assert config.controls == {"longer": "one"}
    assert [run.epochs for run in runs_of(config, tmp_path)] == [1, 7, 1, 7]
    elsewhere = load_sweep(write(variants={"one": {}, "two": {"checkpoint": "nowhere"}},
                                 controls={}, checkpoints={"ptp": str(checkpoint)}))  # fmt: skip
    with pytest.raises(CheckpointError, match="nowhere"):
        runs_of(elsewhere, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": {"one": {"epoch": 3}}}, 'unknown key "variants.one.epoch"; there are'),
        ({"variants": {"one": {"seed": 3}}}, "variants.one.seed is not an option"),
        ({"variants": {"one": {"utd_ratio": "all"}}}, "variants.one.utd_ratio is 'all'"),
        ({"variants": {"one": {"utd_ratio": -1}}}, "utd_ratio is -1"),
        ({"variants": {"one": None}}, "variants.one is None; it must be a mapping"),
        ({"variants": {"": {}}}, "variants has the name ''; a name is letters"),
        ({"variants": {"a/b": {}}}, "variants has the name 'a/b'"),
        ({"variants": {"..": {}}}, "variants has the name '..'"),
        ({"variants": {False: {}}}, "variants has the name False"),
        ({"variants": ["one"]}, '"variants" must be a mapping'),
        ({"variants": {"one": {"env": "mine:make"}}}, "variants.one.env: all variants practise"),
        (
            {"variants": {"a": {"utd_ratio": 0}, "b": {"utd-ratio": 0.0}}},
            "the variants a and b are the same: drop one",
        ),
        ({"variants": {"a": {}, "b": {"epochs": 1}}}, "the variants a and b are the same"),
        ({"controls": {"both": "nothing"}}, "controls names the variant 'nothing'; there are lea"),
        ({"controls": {"both": "both"}}, "controls.both is both itself"),
        ({"variants": {}, "controls": CONTROLS}, "controls names the variant 'learning'; there"),
    ],
)
def test_mistakes_are_one_line_before_anything_runs(write, tmp_path, changes, message, capsys):
    if "variants" in changes:
        changes = {"controls": {}, **changes}
    assert ptp("sweep", write(**changes), "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("ptp sweep: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_keeps_variants_with_other_options_apart(write, tmp_path):
    remember(load_sweep(write()), tmp_path / "out", "tiny.yaml", 1)
    about = read_about(tmp_path / "out")
    assert (list(about["variants"]), about["controls"]) == (list(VARIANTS), CONTROLS)
    assert about["same_variants"] == {"model_free": {"plans": "none", "both": "learning"}}
    fewer = {name: VARIANTS[name] for name in ("learning", "none")} | {"more": {"utd_ratio": 1}}
    fewer["none"] = {**fewer["none"], "epochs": 9}
    remember(load_sweep(write(variants=fewer, controls={})), tmp_path / "out", "tiny.yaml", 1)
    other = load_sweep(write(variants={**fewer, "more": {"utd_ratio": 2}}, controls={}))
    with pytest.raises(InputError, match=r'"utd_ratio": 1} for the variant more, not .*: 2}'):
        remember(other, tmp_path / "out", "tiny.yaml", 1)
    with pytest.raises(InputError, match="holds a sweep with variants: name another folder"):
        remember(load_sweep(write(variants={}, controls={})), tmp_path / "out", "tiny.yaml", 1)
    values = json.loads((tmp_path / "out" / "sweep.json").read_text())
    (tmp_path / "out" / "sweep.json").write_text(json.dumps({**values, "variants": ["one"]}))
    with pytest.raises(InputError, match=r"sweep\.json: damaged"):
        read_about(tmp_path / "out")


def test_the_terminal_names_variants(write, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    rows = rows_of(runs_of(load_sweep(write()), tmp_path))
    text = io.StringIO()
    with LiveTable(text, 2) as display:
        display.show(rows, 0.0)
    assert "learning/ptp" in text.getvalue() and "none/model_free" in text.getvalue()


def finish(run):
    """Write what a finished run of one epoch leaves."""
    evaluations = [{"epoch": epoch, "episodes": 1, "successes": 1} for epoch in (0, 1)]
    metrics = {"epoch": 1, "practice_success_rate": 1.0, "evaluation": evaluations[0]}
    result = {"epochs": [metrics], "evaluations": evaluations, "updates": 1}
    settings = {"method": run.method, "task": run.task, "seed": run.seed, "protocol": "paper"}
    epoch = run.folder / "epochs" / "000000"
    epoch.mkdir(parents=True)
    (epoch / "metrics.json").write_text(json.dumps(metrics))
    (run.folder / "result.json").write_text(json.dumps(result))
    (run.folder / "settings.json").write_text(json.dumps(settings))


def test_finished_variants_are_not_run_again(write, tmp_path, capsys):
    file, out = write(), tmp_path / "out"
    runs = runs_of(as_declared(load_sweep(file)), out)
    for run in runs[1:]:
        finish(run)
    states = {row.run.name: row.state for row in rows_of(runs)}
    assert states.pop("learning/ptp/A/seed_3") == "waiting"
    assert set(states.values()) == {"finished"}
    finish(runs[0])
    assert ptp("sweep", file, "--out", out) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "model_free: plans is the same as none, both is the same as learning: not run twice",
        "12 runs are finished",
        f"results: {out}",
        f"next: ptp report {out}",
    ]


def test_the_shipped_controls_differ_in_one_option_each():
    folder = Path(__file__).resolve().parents[3] / "config" / "sweep"
    config = load_sweep(folder / "controls.yaml")
    assert config.controls == CONTROLS
    options = {name: {**config.options, **values} for name, values in config.variants.items()}
    for variant, control in config.controls.items():
        one, other = options[variant], options[control]
        assert len([key for key in one if one[key] != other[key]]) == 1
    assert [options[name]["utd_ratio"] for name in ("none", "plans")] == [0, 0]
    assert [options[name]["reuse_plans"] for name in ("plans", "both")] == [True, True]
    with pytest.raises(ConfigError, match="cannot be read"):
        load_sweep(folder / "control.yaml")
