# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/results agree with the JSON files beside them, counted anew."""

import json
import re
from pathlib import Path

import pytest
import yaml

from ptp_core.rollout.episode_results import wilson_interval

ROOT = Path(__file__).resolve().parents[3]
RESULTS, MODELS = ROOT / "docs" / "results", ROOT / "models"


def share(wins, episodes):
    """How the tables write a success rate and its interval."""
    low, high = (100 * limit for limit in wilson_interval(wins, episodes))
    return f"{100 * wins / episodes:.0f} % ({low:.0f} to {high:.0f})"


def section(protocol):
    """The README's section of a protocol, as far as the table of success."""
    text = (RESULTS / "README.md").read_text()
    begin = text.index(f"## Protocol `{protocol}`")
    return text[begin : text.index("### What happened", begin)]


def rows_of(text):
    """Cells of the tables in a text, by the first cell's name."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row for row in cells}


def asked_for():
    """(protocol, row) of every evaluation in config/results.yaml that is run."""
    config = yaml.safe_load((ROOT / "config" / "results.yaml").read_text())
    rows = [(protocol, row) for protocol in ("varied", "paper") for row in config[protocol]]
    return [pytest.param(*one, id=f"{one[0]}/{one[1]['name']}") for one in rows]


@pytest.mark.parametrize(("protocol", "row"), asked_for())
def test_a_row_is_what_its_file_says_or_named_as_missing(protocol, row):
    path = RESULTS / "evaluations" / protocol / f"{row['name']}.json"
    cells = rows_of(section(protocol))[row["name"]]
    if "same_as" in row:
        assert f"as `{row['same_as']}`" in cells
        return
    if not path.is_file():
        assert (
            f"* {protocol}/{row['name']}: not measured yet" in (RESULTS / "README.md").read_text()
        )
        assert "not measured" in cells
        return
    values = json.loads(path.read_text())
    assert (values["method"], values["protocol"]) == (row["method"], protocol)
    assert values["subgoals"] == row.get("subgoals", "planned")
    for task, figures in values["tasks"].items():
        wins = sum(run["success"] for run in figures["runs"])
        episodes = len(figures["runs"])
        assert cells[4 + list(values["tasks"]).index(task)] == share(wins, episodes)
        assert str(episodes) in cells


def test_practice_is_what_its_files_say():
    text = (RESULTS / "README.md").read_text()
    table = text[text.index("## Practice") :]
    rows = [line for line in table.splitlines() if re.match(r"\| (varied|paper) \|", line)]
    found = {}
    for path in sorted((RESULTS / "practice").rglob("result.json")):
        settings = json.loads(path.with_name("settings.json").read_text())
        result = json.loads(path.read_text())
        first, *_, last = result["evaluations"]
        key = (settings["protocol"], settings["task"], settings["method"])
        key += (settings["reuse_plans"], result["updates"], len(result["epochs"]))
        found.setdefault(key, []).append((first["successes"], last["successes"]))
    assert len(rows) == len(found) > 10
    for (protocol, task, method, reuses, updates, epochs), counts in found.items():
        method = "ptp_single_subgoal" if method == "ptp" else method
        before, after = (
            100 * sum(wins) / (50 * len(counts)) for wins in zip(*counts, strict=True)
        )
        kinds = ["plan library"] * reuses + ["learning"] * (updates > 0)
        start = f"| {protocol} | `{method}` | {' and '.join(kinds)} | {task} | {epochs} | "
        (line,) = [row for row in rows if row.startswith(start)]
        assert line.startswith(f"{start}{len(counts)} | {before:.0f} % (")
        assert f" | {after:.0f} % (" in line and f" | {updates} | " in line


def test_ogbenchs_row_is_what_its_file_says():
    folder = RESULTS / "ogbench"
    for path in sorted(folder.glob("*.json")):
        values = json.loads(path.read_text())
        cells = rows_of((folder / "README.md").read_text())[values["method"]]
        counts = [[run["success"] for run in each["runs"]] for each in values["tasks"].values()]
        assert cells[1:-1] == [f"{100 * sum(runs) / len(runs):.0f} %" for runs in counts]
        wins, episodes = sum(map(sum, counts)), sum(map(len, counts))
        assert cells[-1] == share(wins, episodes)
        assert episodes == 250
        control = json.loads((folder / "untrained" / path.name).read_text())["tasks"].values()
        assert sum(each["successes"] for each in control) == 0
        assert sum(each["episodes"] for each in control) == 250


@pytest.mark.parametrize("method", ["lbp", "lbp_forward", "lbp_parallel"])
def test_errors_of_planned_latents_are_what_their_file_says(method):
    values = json.loads((MODELS / "lbp" / f"plans_{method}.json").read_text())
    assert values["method"] == method and values["plans"]["states"] == 3000
    rows = rows_of((MODELS / "README.md").read_text())
    for level in values["plans"]["levels"]:
        figures = [level["error"], level["copied"], *level["errors"]]
        cells = rows[f"{method}`, {level['steps']:.0f}"]
        assert cells[1:] == [f"{figure:.2f}" for figure in figures]


@pytest.mark.parametrize(
    ("name", "task", "row"),
    [
        ("evaluation_D", "D", "| `ptp_legs`, `varied`;"),
        ("evaluation_E", "E", "| `ptp_legs`, `varied`;"),
        ("diffusion_bc_DE", "D", "| control: `diffusion_bc`, the"),
        ("diffusion_bc_DE", "E", "| control: `diffusion_bc`, the"),
    ],
)
def test_figures_of_scenes_that_vary_are_what_their_files_say(name, task, row):
    runs = json.loads((MODELS / "varied" / f"{name}.json").read_text())["tasks"][task]["runs"]
    wins = sum(run["success"] for run in runs)
    lines = (MODELS / "README.md").read_text().splitlines()
    cells = next(line for line in lines if line.startswith(row)).strip("| ").split(" | ")
    assert cells["ABCDE".index(task) + 1] == share(wins, len(runs))


def counted(wins, episodes):
    """How the tables of LBP write a number of episodes and its interval."""
    low, high = (100 * limit for limit in wilson_interval(wins, episodes))
    return f"{wins} ({low:.0f} to {high:.0f} %)"


def long_tasks(name):
    """An evaluation of long tasks, and its counts: whole in order, at some step, at the last."""
    values = json.loads((MODELS / "lbp" / f"{name}.json").read_text())
    runs = [
        (
            run["stages_reached"] == len(task["stages"]["rates"]),
            run["first_success"] is not None,
            run["success"],
        )
        for task in values["tasks"].values()
        for run in task["runs"]
    ]
    assert len(runs) == 60
    return values, *(counted(sum(wins), 60) for wins in zip(*runs, strict=True))


@pytest.mark.parametrize("protocol", ["distractors", "backgrounds"])
def test_lbp_among_things_not_shown_is_what_its_file_says(protocol):
    values, every, _, last = long_tasks(f"evaluation_{protocol}")
    assert values["protocol"] == protocol and values["method"] == "lbp"
    score = f"{100 * values['mean_stage_score']:.1f} %"
    assert rows_of((MODELS / "README.md").read_text())[protocol][1:] == [every, score, last]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("evaluation", "`lbp`"),
        ("evaluation_without_rest", "`lbp`, `rest_hold` 0"),
        ("evaluation_forward", "`lbp_forward`"),
        ("evaluation_parallel", "`lbp_parallel`"),
        ("evaluation_glcbc", "`glcbc`"),
        ("evaluation_lcbc", "`lcbc`"),
        ("evaluation_goal_image_long", "`lbp_goal_image`"),
    ],
)
def test_the_table_of_long_tasks_is_what_its_files_say(name, row):
    values, every, once, last = long_tasks(name)
    method = row.split("`")[1]
    assert (values["method"], values["protocol"], values["seed"]) == (method, "varied", 7)
    (line,) = [
        line
        for line in (MODELS / "README.md").read_text().splitlines()
        if line.startswith(f"| {row} |") and line.count("|") == 7
    ]
    score = f"{100 * values['mean_stage_score']:.1f} %"
    assert line.strip("| ").split(" | ")[2:] == [every, score, once, last]


@pytest.mark.parametrize("method", ["lbp_goal_image", "ptp_legs"])
def test_goal_images_beside_ptp_are_what_their_files_say(method):
    if method == "ptp_legs":
        path = RESULTS / "evaluations" / "varied" / "ptp_legs.json"
    else:
        path = MODELS / "lbp" / "evaluation_goal_image_ABC.json"
    values = json.loads(path.read_text())
    assert (values["method"], values["protocol"], values["seed"]) == (method, "varied", 2026)
    said = [share(each["successes"], each["episodes"]) for each in values["tasks"].values()]
    text = (MODELS / "README.md").read_text()
    section = text[text.index("| with a goal image |") :]
    cells = next(line for line in section.splitlines() if line.startswith(f"| `{method}` |"))
    assert cells.strip("| ").split(" | ")[2:] == said


def test_the_readme_says_what_the_newer_checkpoints_reach():
    text = " ".join((ROOT / "README.md").read_text().split())
    folder, lbp = RESULTS / "evaluations" / "varied", MODELS / "lbp"

    def rates(path):
        tasks = json.loads(path.read_text())["tasks"].values()
        return [f"{100 * each['successes'] / each['episodes']:.0f}" for each in tasks]

    def wins(path):
        tasks = json.loads(path.read_text())["tasks"].values()
        return sum(each["successes"] for each in tasks)

    for name, words in (("ptp_legs", " of A, B and C"), ("diffusion_bc", ", n = 15; and")):
        first, second, third = rates(folder / f"{name}.json")
        assert f"{first}, {second} and {third} %{words}" in text
    (longer,) = rates(MODELS / "varied" / "evaluation_D.json")
    assert f"and {longer} % of D" in text
    planned, cloned = (wins(lbp / f"evaluation{name}.json") for name in ("", "_lcbc"))
    assert f"of {planned} of 60 episodes, and of {cloned} with cloning" in text
