# SPDX-License-Identifier: Apache-2.0
"""ptp bench: what the file of figures holds, and what survives an interruption."""

import json
import math
import re
from pathlib import Path

import pytest

from ptp_cli.bench import bench_control, bench_sim
from ptp_cli.bench.bench_report import AUTHORS, TARGETS, BenchReport
from ptp_cli.machine import machine
from ptp_cli.main import main
from ptp_core.errors import InputError, PtpError
from ptp_core.tiny_networks import tiny_checkpoint

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments):
    """Run `ptp bench`; return its exit status."""
    return main(["bench", "--quick", *map(str, arguments)])


@pytest.fixture
def out(tmp_path):
    return tmp_path / "new" / "figures.json"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_checkpoint(folder)
    return folder


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_quick_figures_of_the_simulator_are_flat_and_finite(out, capsys):
    assert run("--only", "sim", "ik", "--out", out) == 0
    figures = read(out)
    assert {type(value) for value in figures.values()} <= {str, int, float, bool}
    assert all(math.isfinite(value) for value in figures.values() if not isinstance(value, str))
    positive = ("sim_steps_per_s", "sim_steps_per_s_2_envs", "sim_reset_ms", "ik_median_ms")
    positive += ("sim_reset_varied_ms", "sim_step_physics_ms", "sim_render_ms", "ik_p99_ms")
    assert all(figures[name] > 0 for name in positive)
    assert figures["sim_steps_per_s_target"] == ">= 250"
    assert figures["sim_steps_per_s_met"] is (figures["sim_steps_per_s"] >= 250)
    assert figures["sim_reset_ms_met"] is (figures["sim_reset_ms"] <= 50)
    assert figures["sim_quick"] is True
    assert figures["ik_residual_worst_mm_met"] is True
    assert figures["ik_joint_margin_rad_met"] is True
    assert 0 < figures["ik_cycle_median_ms"] <= figures["ik_cycle_p99_ms"]
    assert figures["machine_cores"] >= 1
    # A goal image of its own is rolled out by the expert: over a hundred steps.
    assert figures["sim_reset_varied_ms"] > figures["sim_reset_paper_ms"]
    assert not undocumented(figures)
    printed = capsys.readouterr().out
    assert "sim_steps_per_s" in printed
    assert str(out) in printed


def test_an_interruption_keeps_finished_groups(out, monkeypatch, capsys):
    def interrupted(settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_sim, "measure_sim", interrupted)
    assert run("--only", "ik", "sim", "--out", out) == 130
    assert read(out)["ik_solves"] > 0
    assert "sim_date" not in read(out)
    assert capsys.readouterr().err.endswith(f"stopped; in {out}: ik\n")


def test_a_group_measured_again_replaces_its_figures_alone(out):
    first = BenchReport(out, machine())
    first.put("ik", {"ik_median_ms": 1.0, "ik_old": 2}, {"quick": False})
    first.put("sim", {"sim_render_ms": 3.0}, {})
    BenchReport(out, machine()).put("ik", {"ik_median_ms": 0.5}, {"quick": False})
    figures = read(out)
    assert (figures["ik_median_ms"], figures["sim_render_ms"]) == (0.5, 3.0)
    assert "ik_old" not in figures


def test_figures_of_another_machine_are_not_mixed_in(out):
    BenchReport(out, {**machine(), "machine_cpu": "abacus"}).put("sim", {"sim_render_ms": 3.0}, {})
    BenchReport(out, machine()).put("ik", {"ik_median_ms": 0.5}, {})
    assert "sim_render_ms" not in read(out)


def test_the_authors_figures_stand_beside_full_measurements_only(out):
    report = BenchReport(out, machine())
    assert "plan_paper_s_authors" in report.put("plan", {"plan_paper_s": 1.0}, {"quick": False})
    assert "plan_paper_s_authors" not in report.put("plan", {"plan_paper_s": 1.0}, {"quick": True})


def test_a_figure_that_is_not_finite_is_refused(out):
    report = BenchReport(out, machine())
    with pytest.raises(PtpError, match="ik_median_ms came out as nan"):
        report.put("ik", {"ik_median_ms": math.nan}, {})
    with pytest.raises(ValueError, match="sim_render_ms"):
        report.put("ik", {"sim_render_ms": 1.0}, {})
    assert not out.exists()


def test_a_group_that_fails_does_not_stop_the_others(out, monkeypatch, capsys):
    def failing(settings):
        raise InputError("the camera is on fire")

    monkeypatch.setattr(bench_sim, "measure_sim", failing)
    monkeypatch.setattr(bench_control, "measure_ik", lambda settings: {"ik_median_ms": 0.5})
    assert run("--only", "sim", "ik", "--out", out) == 1
    assert read(out)["ik_median_ms"] == 0.5
    assert "ptp bench: sim: the camera is on fire\n" in capsys.readouterr().err


def test_an_unknown_group_is_one_clear_line(out, capsys):
    assert run("--only", "sim", "simm", "--out", out) == 2
    line = capsys.readouterr().err
    assert line.startswith('ptp bench: --only: there is no group "simm"; there are sim, ')
    assert line.count("\n") == 1
    assert not out.exists()


def test_a_file_of_something_else_is_not_overwritten(out, capsys):
    out.parent.mkdir()
    out.write_text("a letter")
    assert run("--only", "ik", "--out", out) == 2
    assert "not a file of figures" in capsys.readouterr().err
    assert out.read_text() == "a letter"


def test_a_missing_checkpoint_is_named(out, tmp_path, capsys):
    assert run("--only", "policy", "--checkpoint", tmp_path, "--out", out) == 1
    assert "no checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("group", ["policy", "plan", "learn"])
def test_quick_figures_of_networks(group, out, checkpoint):
    assert run("--only", group, "--checkpoint", checkpoint, "--out", out) == 0
    figures = read(out)
    expected = {
        "policy": ("encode_ms", "act_ms"),
        "plan": ("plan_paper_s", "plan_best_s", "plan_paper_networks_s", "plan_best_time_share"),
        "learn": ("iql_updates_per_s", "vqvae_images_per_s", "replay_sample_ms"),
    }[group]
    assert all(figures[name] > 0 for name in expected)
    if group == "plan":
        assert {"plan_paper_cost", "plan_fast_cost", "plan_warm_cost_ratio"} <= set(figures)
        limit = figures["plan_warm_cost_ratio"]
        assert figures["plan_warm_cost_ratio_met"] is (limit <= 1.05)
    assert not undocumented(figures)


def test_the_guide_explains_every_target():
    assert not undocumented({*TARGETS, *AUTHORS})


def undocumented(names):
    """Names that docs/benchmarks.md lacks; <n> there is one word or number, <figure> any name."""
    guide = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    explained = [
        re.sub(r"<\w+>", "[a-z0-9]+", name.replace("<figure>", ".+"))
        for name in re.findall(r"`([a-z0-9_<>]+)`", guide)
    ]
    return [name for name in names if not any(re.fullmatch(e, name) for e in explained)]
