# SPDX-License-Identifier: Apache-2.0
"""Shells complete the command line of ptp, and real ones do where they are installed."""

import os
import shutil
import subprocess
import sys

import pytest

from ptp_cli.main import COMMANDS, main

SEPARATOR = "\v"


def candidates(line):
    """What a shell is offered at the end of ``line``: argcomplete writes it to descriptor 8."""
    reader, writer = os.pipe()
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": SEPARATOR,
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_SHELL": "fish",  # bash and zsh get the part behind the last : or = alone
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    code = f"import os; os.dup2({writer}, 8); os.dup2(2, 9); " + (
        "import sys; from ptp_cli.main import main; sys.exit(main())"
    )
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, pass_fds=[writer], check=False
    )
    os.close(writer)
    with open(reader) as file:
        return {word.partition("\t")[0] for word in file.read().split(SEPARATOR) if word}


def test_commands_stacks_and_arguments_are_offered():
    assert candidates("ptp up ") == {"sim", "teleop", "practice", "camera", "real"}
    offered = candidates("ptp up practice ")
    assert {"task:=", "preset:="} <= offered and "sim" not in offered
    assert candidates("ptp up practice preset:=o") == {"preset:=ours"}
    assert candidates("ptp up nonsense ta") == set()


def test_options_and_their_choices_are_offered():
    assert candidates("ptp pretr") == {name for name in COMMANDS if name.startswith("pretr")}
    assert "--dry-run" in candidates("ptp up sim --")
    assert "ptp_single_subgoal" in candidates("ptp evaluate --method ptp")


@pytest.fixture
def shell(tmp_path):
    """Runs code in a shell that finds `ptp`; its output."""
    ptp = tmp_path / "ptp"
    ptp.write_text(f'#!/bin/sh\nexec {sys.executable} -m ptp_cli "$@"\n')
    ptp.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}

    def run(*command):
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout

    return run


def test_bash_completes(shell):
    code = """
eval "$(ptp completion bash)"
COMP_LINE="ptp up si" COMP_POINT=9 COMP_TYPE=9 COMP_WORDS=(ptp up si) COMP_CWORD=2
_python_argcomplete ptp si up
echo "${COMPREPLY[@]}"
"""
    assert shell("bash", "--norc", "-c", code).split() == ["sim"]


if shutil.which("fish"):

    def test_fish_completes(shell):
        code = 'ptp completion fish | source; complete -C "ptp up practice preset:=p"'
        assert shell("fish", "-c", code).split() == ["preset:=paper"]


if shutil.which("zsh"):

    def test_zsh_takes_the_code(shell):
        code = 'autoload -U compinit; compinit -D; eval "$(ptp completion zsh)"; echo $_comps[ptp]'
        assert shell("zsh", "-f", "-c", code).split() == ["_python_argcomplete"]


def test_another_shell_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["completion", "tcsh"])
    assert "choose from" in capsys.readouterr().err
