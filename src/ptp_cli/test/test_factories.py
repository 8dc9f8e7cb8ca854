# SPDX-License-Identifier: Apache-2.0
"""What is run as a program stands on the command line; the current folder is no library."""

import os
import subprocess
import sys

import pytest

from ptp_cli.main import main
from ptp_cli.options import SHIPPED, check_factory
from ptp_cli.sweep.sweep_config import load_sweep
from ptp_core.errors import InputError


@pytest.mark.parametrize("name", [*SHIPPED, "ogbench:cube-single-play-v0"])
def test_what_is_shipped_may_be_run(name):
    check_factory(name, (), "result.json")


@pytest.mark.parametrize("name", ["os:system", "ogbenchs:x", "", None, 3, {}])
def test_anything_else_must_be_named(name):
    with pytest.raises(InputError, match=r"result\.json names the environment"):
        check_factory(name, ("mine:make_env",), "result.json")


def test_a_settings_file_names_no_program(tmp_path, capsys):
    path = tmp_path / "train.yaml"
    path.write_text("data: {env: 'os:system', env_kwargs: {command: id}}\n")
    assert main(["collect", "--config", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "if you trust it, name it with --env" in capsys.readouterr().err
    path.write_text("options: {env: 'os:system'}\n")
    with pytest.raises(InputError, match="os:system"):
        load_sweep(path)
    assert load_sweep(path, "os:system").options["env"] == "os:system"


@pytest.mark.parametrize("module", ["cv_bridge", "numpy", "sitecustomize", "rerun", "mine"])
def test_modules_of_the_current_folder_are_imported_for_env_alone(tmp_path, module):
    mark = tmp_path / "ran"
    (tmp_path / f"{module}.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    command = [sys.executable, "-m", "ptp_cli"]
    # As .venv/bin/ptp starts it.
    given = {"cwd": tmp_path, "env": {**os.environ, "PYTHONSAFEPATH": "1"}, "capture_output": True}
    listed = subprocess.run([*command, "goal", "list"], **given, text=True)
    assert (listed.returncode, listed.stdout) == (0, "0 goals in goals\n"), listed.stderr
    assert not mark.exists()
    if module == "mine":
        words = ["evaluate", "--env", "mine:make_env", "--episodes", "1"]
        subprocess.run([*command, *words], **given)
        assert mark.exists()
