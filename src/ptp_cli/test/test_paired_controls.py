# SPDX-License-Identifier: Apache-2.0
"""Figures of variants and their paired differences, on result files made by hand."""

import json
import math

import pytest

from ptp_cli.main import main
from ptp_cli.report.gather_runs import gather
from ptp_cli.report.paired_controls import (
    BeforeAfter,
    Difference,
    paired_controls,
    paired_differences,
)
from ptp_cli.sweep.sweep_config import run_name

CONTROLS = {"learning": "none", "plans": "none", "both": "plans"}
VARIANTS = {name: {} for name in ("learning", "none", "plans", "both")}
SAME = {"diffusion_bc": {"plans": "none", "both": "learning"}}
EPISODES = 50
# Successes of 50 after practice, by method, variant and task; of the seeds 0 and 1.
AFTER = {
    ("ptp_legs", "learning"): {"A": (40, 44), "B": (30, 20)},
    ("ptp_legs", "none"): {"A": (30, 30), "B": (20, 20)},
    ("ptp_legs", "plans"): {"A": (35, 35), "B": (20, 20)},
    ("ptp_legs", "both"): {"A": (45, 49), "B": (30, 20)},
    ("diffusion_bc", "learning"): {"A": (10, 10), "B": (5, 10)},
    ("diffusion_bc", "none"): {"A": (5, 5), "B": (5, 5)},
}


def write_run(folder, method, task, seed, after, before=20, epochs=1, **settings):
    """A finished run's settings and result, or an unfinished one's settings where after is None"""
    values = {"method": method, "task": task, "seed": seed, "protocol": "shifted", "episodes": 2}
    values |= {"env": "ptp_sim.env:make_env", "env_kwargs": {}, "max_steps": 400} | settings
    first = {"epoch": 0, "episodes": EPISODES, "successes": before}
    last = {"epoch": epochs, "episodes": EPISODES, "successes": after}
    metrics = [{"epoch": n, "practice_success_rate": 0.5} for n in range(1, epochs + 1)]
    metrics[0]["evaluation"] = first
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(values))
    if after is not None:
        result = {"epochs": metrics, "evaluations": [first, last], "updates": 3}
        (folder / "result.json").write_text(json.dumps(result))


@pytest.fixture
def sweep(tmp_path):
    """A finished sweep with four variants, of which diffusion_bc runs two."""
    out = tmp_path / "sweep"
    for (method, variant), tasks in AFTER.items():
        for task, counts in tasks.items():
            for seed, after in enumerate(counts):
                folder = out / run_name(method, task, seed, variant)
                write_run(folder, method, task, seed, after)
    about = {"methods": ["ptp_legs", "diffusion_bc"], "tasks": ["A", "B"], "seeds": [0, 1]}
    about |= {"protocol": "shifted", "options": {}, "epochs": 1, "source": "controls.yaml"}
    about |= {"variants": VARIANTS, "controls": CONTROLS, "same_variants": SAME}
    (out / "sweep.json").write_text(json.dumps(about))
    return out


def differences_of(sweep):
    """{(method, variant, control): row}."""
    rows = paired_controls(gather([str(sweep)])).differences
    return {(row.method, row.variant, row.control): row for row in rows}


def test_the_interval_is_that_of_a_paired_t_test():
    # Three pairs of one task: mean 0.2, standard deviation 0.1, t(2) = 4.303.
    of_tasks, mean = paired_differences({"A": [0.1, 0.2, 0.3]})
    reach = 4.303 * 0.1 / math.sqrt(3)
    assert (of_tasks["A"].low, of_tasks["A"].high) == pytest.approx((0.2 - reach, 0.2 + reach))
    assert (mean.mean, mean.low, mean.high) == pytest.approx((0.2, 0.2 - reach, 0.2 + reach))


def test_the_variance_within_tasks_is_pooled_and_tasks_weigh_the_same():
    # Sums of squares 0.02 (two degrees of freedom) and 0.005 (one): s^2 = 0.025 / 3.
    of_tasks, mean = paired_differences({"A": [0.1, 0.2, 0.3], "B": [0.0, 0.1]})
    s = math.sqrt(0.025 / 3)
    assert of_tasks["A"].high == pytest.approx(0.2 + 3.182 * s / math.sqrt(3))
    assert of_tasks["B"].high == pytest.approx(0.05 + 3.182 * s / math.sqrt(2))
    assert mean.mean == pytest.approx((0.2 + 0.05) / 2)
    assert mean.high == pytest.approx(0.125 + 3.182 * s * math.sqrt((1 / 3 + 1 / 2) / 4))
    assert (of_tasks["A"].pairs, of_tasks["B"].pairs, mean.pairs) == (3, 2, 5)


def test_pairs_without_variance_have_no_interval_and_without_all_tasks_there_is_no_mean():
    of_tasks, mean = paired_differences({"A": [0.1], "B": [0.3]})
    assert of_tasks == {"A": Difference(0.1, None, None, 1), "B": Difference(0.3, None, None, 1)}
    assert mean == Difference(pytest.approx(0.2), None, None, 2)
    assert paired_differences({"A": [0.1, 0.1], "B": []}) == (
        {"A": Difference(0.1, None, None, 2), "B": None},
        None,
    )
    of_tasks, _ = paired_differences({"A": [1.0, 0.9]})
    assert of_tasks["A"].high == 1.0


def test_runs_that_differ_in_their_variant_are_not_the_same(sweep):
    found = gather([str(sweep)])
    assert found.complaints == [] and found.missing == []
    assert len(found.runs) == 24
    controls = paired_controls(found)
    rows = {(row.method, row.variant): row for row in controls.rows}
    assert list(rows) == list(AFTER)
    row = rows["ptp_legs", "learning"]
    assert (row.runs, row.finished) == (4, 4)
    assert row.tasks == {"A": BeforeAfter(0.4, 0.84), "B": BeforeAfter(0.4, 0.5)}
    assert row.mean == BeforeAfter(0.4, pytest.approx(0.67))


def test_differences_are_those_of_each_variant_and_its_control(sweep):
    rows = differences_of(sweep)
    assert list(rows) == [
        ("ptp_legs", "learning", "none"),
        ("ptp_legs", "plans", "none"),
        ("ptp_legs", "both", "plans"),
        ("diffusion_bc", "learning", "none"),
    ]
    learning = rows["ptp_legs", "learning", "none"]
    # Pairs: A 0.20 and 0.28, B 0.20 and 0.00, so s^2 = (0.0032 + 0.02) / 2 and t(2) = 4.303.
    s = math.sqrt((0.0032 + 0.02) / 2)
    assert learning.tasks["A"].mean == pytest.approx(0.24)
    assert learning.tasks["B"].mean == pytest.approx(0.10)
    assert learning.mean.mean == pytest.approx(0.17)
    assert learning.mean.low == pytest.approx(0.17 - 4.303 * s / math.sqrt(4))
    assert rows["ptp_legs", "plans", "none"].mean.mean == pytest.approx(0.05)
    assert rows["ptp_legs", "both", "plans"].tasks["A"].mean == pytest.approx(0.24)
    assert rows["diffusion_bc", "learning", "none"].tasks["B"].mean == pytest.approx(0.05)
    assert all(row.incomplete == [] for row in rows.values())


def test_a_control_that_was_not_run_is_stood_for_by_its_equal(sweep):
    about = json.loads((sweep / "sweep.json").read_text())
    about["controls"] = {"learning": "plans"}
    (sweep / "sweep.json").write_text(json.dumps(about))
    assert list(differences_of(sweep)) == [
        ("ptp_legs", "learning", "plans"),
        ("diffusion_bc", "learning", "none"),
    ]


def test_pairs_that_are_not_complete_are_named(sweep):
    legs = {seed: sweep / "none" / "ptp_legs" / "A" / f"seed_{seed}" for seed in (0, 1)}
    (legs[0] / "result.json").unlink()
    (legs[1] / "settings.json").unlink()
    write_run(sweep / "learning" / "ptp_legs" / "B" / "seed_0", "ptp_legs", "B", 0, 9, epochs=2)
    write_run(sweep / "plans" / "ptp_legs" / "B" / "seed_1", "ptp_legs", "B", 1, 9, max_steps=200)
    rows = differences_of(sweep)
    learning = rows["ptp_legs", "learning", "none"]
    assert learning.incomplete == [
        "A, seed 0: none is not finished",
        "A, seed 1: none has no run",
        "B, seed 0: 2 and 1 epochs",
    ]
    assert learning.tasks["A"] is None and learning.mean is None
    assert learning.tasks["B"] == Difference(0.0, None, None, 1)
    both = rows["ptp_legs", "both", "plans"]
    assert both.incomplete == ["B, seed 1: other episodes (max_steps)"]
    assert rows["diffusion_bc", "learning", "none"].incomplete == []
    none = paired_controls(gather([str(sweep)])).rows[1]
    assert (none.variant, none.runs, none.finished) == ("none", 4, 2)
    assert none.tasks["A"] == none.mean == BeforeAfter(None, None)


def test_folders_of_single_variants_are_paired_too(sweep):
    found = gather([str(sweep / "learning"), str(sweep / "none")])
    controls = paired_controls(found)
    assert [(row.variant, row.control) for row in controls.differences] == [
        ("learning", "none"),
        ("learning", "none"),
    ]
    assert found.complaints == []


def test_page_and_files_show_variants(sweep, tmp_path):
    out = tmp_path / "report"
    assert main(["report", str(sweep), "--no-pictures", "-o", str(out)]) == 0
    page = " ".join((out / "index.html").read_text().split())
    assert "ptp legs</td><td>learning minus none" in page
    assert "+17.0" in page and "4 of 4" in page
    assert "diffusion bc: plans is the same as none, both is the same as learning" in page
    assert "ptp legs, learning" in page and "not complete" not in page
    values = json.loads((out / "controls.json").read_text())
    first = values["differences"][0]
    assert (first["variant"], first["control"], first["mean"]["pairs"]) == ("learning", "none", 4)
    assert first["mean"]["mean"] == pytest.approx(0.17)
    assert "learning/ptp_legs" in (out / "summary.csv").read_text()
    (sweep / "none" / "diffusion_bc" / "B" / "seed_1" / "result.json").unlink()
    assert main(["report", str(sweep), "--no-pictures", "-o", str(out)]) == 0
    page = " ".join((out / "index.html").read_text().split())
    assert "diffusion bc, learning minus none: B, seed 1: none is not finished." in page


def test_without_variants_there_are_no_controls(tmp_path):
    write_run(tmp_path / "run", "ptp_legs", "A", 0, 30)
    assert paired_controls(gather([str(tmp_path / "run")])) is None
    words = ["report", str(tmp_path / "run"), "--no-pictures", "-o", str(tmp_path / "report")]
    assert main(words) == 0
    assert not (tmp_path / "report" / "controls.json").exists()
    assert "Controls" not in (tmp_path / "report" / "index.html").read_text()
