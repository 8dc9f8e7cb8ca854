# SPDX-License-Identifier: Apache-2.0
"""`ptp diagnose` as a user calls it, on the toy environment: all parts, lacking ones, Ctrl-C."""

import json
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest

from ptp_cli.commands import diagnose
from ptp_cli.main import main
from ptp_core.config import DataConfig
from ptp_core.data.collect_demonstrations import collect
from ptp_core.tiny_networks import tiny_checkpoint, tiny_networks
from ptp_core.toy_env import ToyEnv
from ptp_core.training.checkpoint import save_checkpoint

ENV = f"{__name__}:StagedToy"
PLAIN = "ptp_core.toy_env:make_env"


class StagedToy(ToyEnv):
    """The toy, which also gives images of its stages, its scene and the parts of its goal."""

    def reset(self, *, seed=None, options=None):
        image, info = super().reset(seed=seed, options=options)
        info["scene"] = {"hand_x": self._hand[0], "block_x": self._block[0], "table_x": 0.0}
        if options.get("stage_images"):
            info["stage_images"] = np.stack([image // 2])
        return image, info

    def _info(self):
        info = super()._info()
        return {**info, "parts": {"block": info["success"]}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("diagnose")
    tiny_checkpoint(made / "checkpoint")
    config = DataConfig(env=ENV, trajectories=25, steps=12, num_envs=1)
    collect(config, made / "data", progress=False)
    return made


def words(folder, *more, env=ENV):
    given = ("--checkpoint", folder / "checkpoint", "--env", env, "--episodes", 1)
    return [str(word) for word in ("diagnose", *given, "--max-steps", 4, *more)]


def test_all_parts_give_tables_and_one_file(folder, tmp_path, capsys):
    out = tmp_path / "new" / "figures.json"
    more = ("--data", folder / "data", "--tasks", "A", "B", "--protocol", "varied", "--out", out)
    assert main(words(folder, *more, "--seed", 3)) == 0
    result = json.loads(out.read_text())
    assert result["finished"]
    assert result["without"] == {
        "plans": "ptp_single_subgoal plans no latents from an instruction",
        "legs": "ptp_single_subgoal plans no legs",
    }
    assert (result["seed"], result["episodes"], result["protocol"]) == (3, 1, "varied")
    assert set(result["checkpoint_sha256"]) >= {"iql.safetensors", "vqvae.safetensors"}
    assert result["version"] and result["git_commit"] and result["machine"]["machine_torch"]
    assert len(result["privileged"]) == 3
    assert set(result["oracle"]["A"]) == {"oracle", "planned"}
    assert result["oracle"]["B"]["planned"]["runs"][0]["steps"] == 4
    assert set(result["primitives"]) == {"reach", "carry"}
    assert set(result["probes"]["numbers"]) == {"hand_x", "block_x"}
    assert result["probes"]["unchanging"] == ["table_x"]
    assert result["critic"]["trajectories"] == 3  # a tenth is held out
    printed = capsys.readouterr().out
    for line in (
        "oracle: subgoals from the environment",
        "primitives: each alone",
        "probes: median / 90 % error on 5 frames, trained on 20",
        "critic: on 3 held-out trajectories",
        "Q(expert) > Q(flipped gripper)",
        "AWR weights",
        "privileged: oracle subgoals",
        "these do not change in the data: table_x",
    ):
        assert line in printed, line


def test_the_command_in_the_file_repeats_the_figures(folder, tmp_path, capsys):
    outs = tmp_path / "a.json", tmp_path / "b.json"
    more = ("--only", "primitives", "--method", "model_free", "--env-arg", "max_steps=300")
    assert main(words(folder, *more, "--out", outs[0], env=PLAIN)) == 0
    first = json.loads(outs[0].read_text())
    again = shlex.split(first["command"])
    assert again.pop(0) == "ptp" and again[-1] == str(outs[0])
    assert main([*again[:-1], str(outs[1])]) == 0
    second = json.loads(outs[1].read_text())
    assert first["env_kwargs"] == second["env_kwargs"] == {"max_steps": 300}
    for result in (first, second):
        for row in result["primitives"].values():
            del row["steps_per_second"], row["control_latency_ms"]
    assert first["primitives"] == second["primitives"]


def test_a_part_that_lacks_something_says_so_and_the_others_run(folder, tmp_path, capsys):
    out = tmp_path / "figures.json"
    assert main(words(folder, "--tasks", "A", "--out", out, env=PLAIN)) == 0
    result = json.loads(out.read_text())
    assert set(result["without"]) == {"oracle", "probes", "critic", "plans", "legs"}
    assert "primitives" in result and "oracle" not in result
    printed = capsys.readouterr().out.splitlines()
    assert "oracle: ToyEnv gives no images of its stages" in "\n".join(printed)
    assert "critic: needs demonstrations: name their folder with --data" in printed


def test_legs_are_two_tables(tmp_path, capsys):
    made = tiny_networks(diffusion=True)
    kept = {"spec": made.spec, "encoder": made.encoder}
    save_checkpoint(tmp_path / "checkpoint", made.parts, made.config, {}, **kept)
    out = tmp_path / "figures.json"
    more = ("--only", "legs", "--method", "ptp_legs", "--tasks", "A", "B", "--out", out)
    assert main(words(tmp_path, *more)) == 0
    result = json.loads(out.read_text())
    assert set(result["legs"]) == {"A", "B"} and len(result["legs"]["A"]["legs"]) == 2
    assert result["privileged"] == [
        "legs: networks are judged by images of the ends of the scripted plan's stages"
    ]
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in printed if line[:2] in ("A ", "B ")] == [
        *(["A", "1"], ["A", "2"], ["B", "1"], ["B", "2"], ["A", "1"], ["B", "1"])
    ]


def test_nothing_that_could_run_is_a_failure(folder, capsys):
    assert main(words(folder, "--only", "probes")) == 2
    assert "probes: needs demonstrations" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--tasks", "Z"), 'unknown task "Z"'),
        (("--protocol", "wild"), 'unknown protocol "wild"'),
        (("--episodes", 0), "episodes is 0"),
        (("--data", "nowhere"), "nowhere: no such folder or file"),
        (("--method", "gcp"), "which gcp needs"),
    ],
)
def test_wrong_options_are_one_line_before_any_work(folder, capsys, more, message):
    assert main(words(folder, *more)) == 2
    line = capsys.readouterr().err
    assert message in line and line.startswith("ptp diagnose: ") and line.count("\n") == 1


def test_ctrl_c_keeps_what_is_done(folder, tmp_path):
    out = tmp_path / "figures.json"
    arguments = words(folder, "--only", "critic", "primitives", "--data", folder / "data")
    arguments += ["--episodes", "100000", "--out", str(out), "--env", PLAIN]
    process = subprocess.Popen(
        [sys.executable, "-m", "ptp_cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:  # progress: a line every few seconds
        if line.startswith("primitives: ") and not line.startswith("primitives: 0/"):
            break
        assert process.poll() is None, line
    process.send_signal(signal.SIGINT)
    printed, rest = process.communicate(timeout=100)
    assert process.returncode == 130, rest
    assert "stopped in the part primitives" in rest
    assert "critic: on 3 held-out trajectories" in printed
    result = json.loads(out.read_text())
    assert (result["finished"], result["interrupted"]) == (False, "primitives")
    assert result["critic"]["steps"] > 0 and result["primitives"]["reach"]["episodes"] > 0


def test_totals_pool_the_episodes():
    rows = [{"successes": 3, "episodes": 4}, {"successes": 1, "episodes": 4}]
    assert diagnose._total(rows)[:3] == ("4/8", "50.0%", "21.5% to 78.5%")
