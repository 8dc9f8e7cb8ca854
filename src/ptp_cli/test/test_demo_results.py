# SPDX-License-Identifier: Apache-2.0
"""ptp results with tiny networks in the toy environment, and what it says of its figures."""

import csv
import json
import os
import re
import shutil
import signal

import pytest

from ptp_cli.commands.evaluate import evaluation_config
from ptp_cli.main import main, make_parser
from ptp_cli.results.results_evaluations import (
    ResultsConfig,
    difference,
    measure,
    wanted_evaluations,
)
from ptp_cli.results.results_tables import cost_shares, success
from ptp_cli.results.results_text import as_html
from ptp_core.config import FollowerConfig, load_config, to_dict
from ptp_core.rollout.evaluation import evaluate
from ptp_core.tiny_networks import tiny_baseline_folders, tiny_checkpoint
from ptp_core.toy_env import ToyEnv

FILE = """
varied:
  - {{name: whole, method: ptp, pictures: film, note: "Three levels, see `docs`."}}
  - {{name: free, method: model_free, episodes: {free}}}
  - {{name: unbuffered, method: ptp_no_buffer, same_as: whole}}
paper:
  - {{name: whole, method: ptp, episodes: 1, subgoal_steps: {steps}}}
tasks: [A]
episodes: 2
subgoal_steps: 3
seed: 7
options: {{checkpoint: {checkpoint}, env: "ptp_core.toy_env:make_env", env_arg: {{max_steps: 6}}}}
"""


def ptp(*words):
    """Run a command line; return its exit status."""
    return main([str(word) for word in words])


def measure_here(path, out, *, redo=False):
    """What `ptp results` runs, in this process; (what failed, the lines that it said)."""
    said = []
    wanted = wanted_evaluations(load_config(path, cls=ResultsConfig), out)
    failed = measure(wanted, num_envs=0, redo=redo, progress=False, say=said.append)
    return failed, said


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "tiny"
    tiny_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def made(checkpoint, tmp_path_factory):
    """A folder with every evaluation of the file."""
    root = tmp_path_factory.mktemp("made")
    file = root / "results.yaml"
    file.write_text(FILE.format(checkpoint=checkpoint, free=1, steps=3))
    failed, said = measure_here(file, root / "out")
    assert failed == [] and len(said) == 3
    return root / "out"


@pytest.fixture
def out(made, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(made, tmp_path / "out")


@pytest.fixture
def write(checkpoint, tmp_path):
    """Writes the file of evaluations; its path."""

    def written(*changes, free=1, steps=3):
        text = FILE.format(checkpoint=checkpoint, free=free, steps=steps)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "results.yaml"
        path.write_text(text)
        return path

    return written


def measured(out):
    """Evaluations in a folder, by protocol and row."""
    files = sorted(out.glob("evaluations/*/*.json"))
    return {f"{path.parent.name}/{path.stem}": json.loads(path.read_text()) for path in files}


def test_each_row_has_the_checkpoint_of_its_method(checkpoint, write, tmp_path):
    base = shutil.copytree(checkpoint, tmp_path / "models" / "tiny")
    folders = tiny_baseline_folders(base)
    changes = (str(checkpoint), str(base)), ("free, method: model_free", "free, method: leap")

    def asked(*more):
        config = load_config(write(*changes, *more), cls=ResultsConfig)
        wanted = wanted_evaluations(config, tmp_path)
        return {each.row.name: each.config.checkpoint for each in wanted}

    assert asked() == {"whole": base, "free": folders["leap"]}
    other = folders["leap"].rename(tmp_path / "models" / "mine")
    assert asked(("tasks: [A]", f"tasks: [A]\ncheckpoints: {{leap: {other}}}"))["free"] == other


def test_every_row_is_measured_and_shown(write, out):
    assert ptp("results", write(), "--out", out, "--page-only") == 0
    found = measured(out)
    assert set(found) == {"paper/whole", "varied/free", "varied/whole"}
    assert {name: values["seed"] for name, values in found.items()} == dict.fromkeys(found, 7)
    assert found["varied/whole"]["tasks"]["A"]["episodes"] == 2
    assert found["varied/free"]["tasks"]["A"]["episodes"] == 1
    readme, page = ((out / name).read_text() for name in ("README.md", "index.html"))
    assert readme.index("Protocol `varied`") < readme.index("Protocol `paper`")
    figures = found["varied/whole"]["tasks"]["A"]
    cell = success(figures["successes"], figures["episodes"])
    assert f"| `whole` | `ptp` | planned | 3 | {cell} |" in readme
    assert "| `free` | `model_free` | none |" in readme
    assert "| `unbuffered` | `ptp_no_buffer` | planned | 3 | as `whole` |" in readme
    assert "<code>docs</code>" in page and "* `whole`: Three levels, see `docs`." in readme
    assert "Not on this page yet" not in readme and "not on this page yet" not in page
    sources = re.findall(r'<(?:img|video)[^>]* src="([^"]{,30})', page)
    # A chart a protocol, a plan and a film.
    assert len(sources) == 2 + 2 and all(source.startswith("data:") for source in sources)
    with open(out / "evaluations.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["protocol"], line["row"]) for line in lines] == [
        *(("varied", "whole"), ("varied", "free"), ("paper", "whole"))
    ]


def test_the_command_beside_a_row_measures_it(write, out):
    assert ptp("results", write(), "--out", out, "--page-only", "--no-pictures") == 0
    (command,) = re.findall(r"^ptp (evaluate .*varied/free.json)$", read(out), flags=re.MULTILINE)
    before = measured(out)["varied/free"]["tasks"]["A"]["runs"]
    (out / "evaluations" / "varied" / "free.json").unlink()
    args = make_parser().parse_args(command.split())
    evaluate(evaluation_config(args), num_envs=0, output=args.json, progress=False)
    assert measured(out)["varied/free"]["tasks"]["A"]["runs"] == before
    assert ptp("results", write(), "--out", out, "--page-only", "--no-pictures") == 0
    assert "Not on this page yet" not in read(out)


def read(out):
    return (out / "README.md").read_text()


def test_what_is_missing_is_named_and_only_that_is_run(write, out, tmp_path):
    path, empty = write(), tmp_path / "empty"
    assert ptp("results", path, "--out", empty, "--page-only", "--no-pictures") == 0
    assert measured(empty) == {}
    for name in ("varied/whole", "varied/free", "paper/whole"):
        assert f"* {name}: not measured yet" in read(empty)
    (out / "evaluations" / "varied" / "free.json").unlink()
    kept = [(p, p.stat().st_mtime_ns) for p in sorted(out.glob("evaluations/*/*.json"))]
    failed, (line,) = measure_here(path, out)
    assert failed == [] and line.startswith("varied/free (2 of 3): ptp evaluate --method model")
    assert all(path.stat().st_mtime_ns == then for path, then in kept)


def test_other_settings_are_named_and_replaced_on_request(write, out):
    before = measured(out)
    path = write(free=2, steps=2)
    failed, said = measure_here(path, out)
    assert failed == [] and len(said) == 2
    assert said[0].startswith("varied/free: ")
    assert "episodes.A is 1, not 2; --redo replaces it" in said[0]
    assert "follower.timeout is 3, not 2; --redo replaces it" in said[1]
    assert measured(out) == before
    assert ptp("results", path, "--out", out, "--page-only", "--no-pictures") == 0
    assert "* paper/whole: measured with other settings: follower.timeout is 3" in read(out)
    assert "| `whole` | `ptp` | planned | 2 | other settings |" in read(out)
    measure_here(path, out, redo=True)
    after = measured(out)
    assert after["paper/whole"]["follower"]["timeout"] == 2
    assert after["varied/free"]["tasks"]["A"]["episodes"] == 2
    assert after["varied/whole"] == before["varied/whole"]


class InterruptedEnv(ToyEnv):
    """The toy, where somebody presses Ctrl-C as the second episode begins."""

    pressed = 0

    def reset(self, **options):
        type(self).pressed += 1
        if self.pressed == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return super().reset(**options)


def test_ctrl_c_keeps_finished_episodes(write, tmp_path):
    out, path = (
        tmp_path / "out",
        write(("ptp_core.toy_env:make_env", f"{__name__}:InterruptedEnv")),
    )
    with pytest.raises(KeyboardInterrupt):
        measure_here(path, out)
    assert measured(out) == {}
    partial = out / "evaluations" / "varied" / "whole.json.partial"
    settings, first = partial.read_text().splitlines()
    assert (json.loads(first)["task"], json.loads(first)["episode"]) == ("A", 0)
    marked = json.dumps({**json.loads(first), "final_distance": 1234.5})
    partial.write_text(f"{settings}\n{marked}\n")
    assert measure_here(path, out)[0] == []
    runs = measured(out)["varied/whole"]["tasks"]["A"]["runs"]
    assert [run["final_distance"] == 1234.5 for run in runs] == [True, False]


def test_an_evaluation_that_fails_stops_no_other(write, tmp_path):
    out = tmp_path / "out"
    folder = out / "evaluations" / "varied"
    folder.mkdir(parents=True)
    (folder / "whole.json.partial").write_text('{"seed": 8}\n')
    failed, said = measure_here(write(), out)
    assert failed == ["varied/whole"]
    assert any(line.startswith("varied/whole failed: ") for line in said)
    assert set(measured(out)) == {"varied/free", "paper/whole"}
    assert measure_here(write(), out, redo=True)[0] == []
    assert set(measured(out)) == {"varied/free", "paper/whole", "varied/whole"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("method: model_free", "method: magic"), 'no method "magic"'),
        (("same_as: whole", "same_as: other"), 'same_as "other"'),
        (("name: free", "name: whole"), 'varied has two rows "whole"'),
        (("episodes: 1, subgoal", "episode: 1, subgoal"), 'unknown key "paper.episode"'),
        (("options: {", "options: {speed: 3, "), "unrecognized arguments: --speed=3"),
        (("options: {", "options: {seed: 3, "), "options.seed is not an option"),
        (("name: free", "name: a/b"), 'name "a/b"'),
        (("pictures: film", "pictures: true"), '"varied.pictures" must be one of'),
    ],
)
def test_a_wrong_file_is_one_line_before_anything_runs(write, tmp_path, capsys, change, said):
    out = tmp_path / "out"
    assert ptp("results", write(change), "--out", out) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not out.exists()


def test_a_difference_names_the_setting():
    have = {"a": 1, "b": {"c": [1, 2], "d": None}}
    assert difference(have, have) == ""
    assert difference({"a": 2, **{"b": have["b"]}}, have) == "a is 2, not 1"
    assert difference({**have, "b": {"c": [1], "d": None}}, have) == "b.c is [1], not [1, 2]"
    assert difference({"a": 1}, have).startswith("b is not told")


def test_a_setting_of_the_follower_that_is_newer_than_a_file_had_its_default_then():
    asked = to_dict(FollowerConfig(timeout=30))
    have = {name: asked[name] for name in ("timeout", "distance_threshold", "sample_actions")}
    assert difference({"follower": have}, {"follower": asked}) == ""
    later = {"follower": asked, "seed": 2}
    assert difference({"follower": have, "seed": 1}, later) == "seed is 1, not 2"
    held = to_dict(FollowerConfig(timeout=30, hold=12))
    assert difference({"follower": have}, {"follower": held}) == "follower.hold is 1, not 12"
    assert difference({**have, "e": 5}, have) == "e is 5, which nothing asks for"


def test_cells_say_what_the_figures_are():
    assert success(23, 50) == "46 % (33 to 60)"
    assert cost_shares({"distance": 0.75, "value": 0.25, "prior": 0.0}) == ["75 %", "25 %", "0 %"]
    assert cost_shares(None) == cost_shares({}) == ["\N{EN DASH}"] * 3
    assert as_html("`a<b` [c](d.md)") == '<code>a&lt;b</code> <a href="d.md">c</a>'
