# SPDX-License-Identifier: Apache-2.0
"""`ptp practice` takes a preset, single settings on top of it, and names what is called anew."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ptp_cli.commands.practice import practice_settings
from ptp_cli.main import main, make_parser
from ptp_core.config import DataConfig
from ptp_core.data.collect_demonstrations import collect
from ptp_core.practice.practice_settings import LEARNING_USE, preset
from ptp_core.processes import on_a_leash
from ptp_core.tiny_networks import tiny_checkpoint, tiny_config

PATIENCE = 120.0  # s; only a failing test waits this long


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s for {what}"
        time.sleep(0.01)


def settings(*words):
    args = make_parser().parse_args(["practice", "--out", "run", *words])
    return practice_settings(args)


def test_ours_is_the_default_and_single_settings_go_on_top_of_a_preset():
    assert settings() == vars(preset("ours"))
    assert settings("--preset", "paper") == vars(preset("paper"))
    words = ("--preset", "paper", "--utd-ratio", "0.5", "--reuse-plans")
    words += ("--success-signal", "simulator")
    expected = preset("paper", utd_ratio=0.5, reuse_plans=True, success_signal="simulator")
    assert settings(*words) == vars(expected)


def test_a_method_without_plans_reuses_none():
    assert not settings("--method", "model_free")["reuse_plans"]
    assert settings("--method", "model_free", "--reuse-plans")["reuse_plans"]  # refused later


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("practice", "--proven"), "ptp practice: --proven is now --reuse-plans"),
        (("practice", "--explore"), "ptp practice: --explore is now --actions sample"),
        (("practice", "--worlds", "2"), "ptp practice: --worlds is now --num-envs"),
        (
            ("practice", "--updates-per-step", "0"),
            "ptp practice: --updates-per-step is now --utd-ratio",
        ),
        (("evaluate", "--workers", "2"), "ptp evaluate: --workers is now --num-envs"),
        (("collect", "--workers", "2"), "ptp collect: --workers is now --num-envs"),
        (("results", "--workers", "2"), "ptp results: --workers is now --num-envs"),
        (("evaluate", "--proven", "plans"), "ptp evaluate: --proven is now --reuse-plans"),
    ],
)
def test_an_old_option_names_the_new_one(words, line, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(list(words))
    assert capsys.readouterr().err == f"{line}\n"


def test_a_run_says_which_signal_it_had(tmp_path, capsys):
    tiny_checkpoint(tmp_path / "tiny", config=tiny_config(batch_size=8))
    toy = ("--env", "ptp_core.toy_env:make_env", "--env-arg", "max_steps=4", "--max-steps", "4")
    short = ("--epochs", "1", "--episodes", "1", "--evaluation-episodes", "1", "--num-envs", "0")
    words = (*toy, *short, "--checkpoint", str(tmp_path / "tiny"), "--method", "model_free")
    run = tmp_path / "run"
    assert main(["practice", *words, "--out", str(run), "--preset", "ours"]) == 0
    for name in ("settings.json", "result.json"):
        found = json.loads((run / name).read_text())
        assert (found["success_signal"], found["privileged"]) == ("simulator", [LEARNING_USE])
    assert main(["practice", *words, "--out", str(tmp_path / "no"), "--reuse-plans"]) == 2
    assert "model_free does not plan, so there are no plans to reuse" in capsys.readouterr().err


def test_encoding_the_demonstrations_shows_its_progress(tmp_path, capsys):
    """It takes minutes for ten thousand of them."""
    tiny_checkpoint(tmp_path / "tiny", config=tiny_config(batch_size=8))
    env = "ptp_core.toy_env:make_env"
    collect(DataConfig(env=env, trajectories=2, steps=4, num_envs=1), tmp_path / "data")
    capsys.readouterr()
    words = ("--env", env, "--env-arg", "max_steps=4", "--max-steps", "4", "--epochs", "1")
    words += ("--episodes", "1", "--evaluation-episodes", "1", "--num-envs", "0")
    words += ("--checkpoint", str(tmp_path / "tiny"), "--demonstrations", str(tmp_path / "data"))
    assert main(["practice", *words, "--out", str(tmp_path / "run")]) == 0
    assert "encode demonstrations: 8/8 image" in capsys.readouterr().err


def test_a_second_practice_in_a_folder_is_refused_and_the_first_ends_well(tmp_path, capsys):
    tiny_checkpoint(tmp_path / "tiny", config=tiny_config(batch_size=8))
    toy = ("--env", "ptp_core.toy_env:make_env", "--env-arg", "max_steps=4", "--max-steps", "4")
    short = ("--epochs", "3", "--episodes", "1", "--evaluation-episodes", "1", "--num-envs", "0")
    run = tmp_path / "run"
    words = ["practice", *toy, *short, "--checkpoint", str(tmp_path / "tiny"), "--out", str(run)]
    words += ["--method", "model_free"]
    first = subprocess.Popen([sys.executable, "-m", "ptp_cli", *words], **on_a_leash())
    try:
        wait_for(lambda: list(run.glob("*/*")) or first.poll() is not None, "the first epoch")
        os.kill(first.pid, signal.SIGSTOP)  # at work, wherever it is
        # A write that is under way goes on until all threads have stopped.
        ended = os.waitid(os.P_PID, first.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert ended.si_code == os.CLD_STOPPED
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        assert main(words) == 2
        refusal = f"ptp practice: {run}: another process is writing here: wait for it or stop it\n"
        assert capsys.readouterr().err == refusal
        assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        os.kill(first.pid, signal.SIGCONT)
        assert first.wait(PATIENCE) == 0
    finally:
        first.kill()
        first.wait()
    assert len(json.loads((run / "result.json").read_text())["epochs"]) == 3
    assert main(words) == 0  # the folder is free again, and nothing is left to do
