# SPDX-License-Identifier: Apache-2.0
"""The ptp command as a user meets it: help, errors, Ctrl-C and pipes."""

import importlib
import os
import pkgutil
import socket
import subprocess
import sys

import pytest

from ptp_cli import __version__, commands, main, options
from ptp_cli.commands import diagnosis
from ptp_core.errors import ConfigError

PIPES = {"capture_output": True, "text": True}


def test_help_lists_every_command_with_a_line_of_its_own(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["--help"])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for name in main.COMMANDS:
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert len(line.split()) > 3, f"{name} has no help: {line!r}"


def test_every_command_explains_itself(capsys):
    for name in main.COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main.main([name, "--help"])
        assert stop.value.code == 0
        assert f"usage: ptp {name}" in capsys.readouterr().out


def test_every_command_of_the_modules_is_in_the_table():
    defined = set()
    for found in pkgutil.iter_modules(commands.__path__):
        module = importlib.import_module(f"{commands.__name__}.{found.name}")
        defined |= {name.removeprefix("add_") for name in vars(module) if name.startswith("add_")}
    shared = {name.removeprefix("add_") for name in vars(options) if name.startswith("add_")}
    assert {name.replace("-", "_") for name in main.COMMANDS} == defined - shared


def test_help_loads_nothing_heavy():
    heavy = "{'torch', 'numpy', 'cv2', 'pybullet', 'rclpy', 'gymnasium'}"
    program = f"""
import sys
from ptp_cli.main import make_parser
make_parser().format_help()
print(*({heavy} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("\n", "")


def test_no_command_is_an_error_that_shows_the_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main([])
    assert stop.value.code == 2
    assert "usage: ptp" in capsys.readouterr().err


def test_version_names_what_a_report_needs(capsys):
    assert main.main(["version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"ptp {__version__}"
    assert any(line.startswith("torch ") for line in lines)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ConfigError("seed: must be a whole number"), 2, "seed: must be a whole number"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_stops_a_command_is_one_line(monkeypatch, capsys, error, status, message):
    def stopped(args):
        raise error

    monkeypatch.setitem(main.COMMANDS, "version", (diagnosis.add_version, stopped))
    assert main.main(["version"]) == status
    assert capsys.readouterr().err == f"ptp version: {message}\n"


def test_ctrl_c_before_a_command_is_known_is_one_line(monkeypatch, capsys):
    def stopped(subparsers):
        raise KeyboardInterrupt

    monkeypatch.setitem(main.COMMANDS, "version", (stopped, diagnosis.run_version))
    assert main.main(["version"]) == 130
    assert capsys.readouterr().err == "ptp: interrupted\n"


def test_a_closed_pipe_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "ptp_cli", "version"]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.parametrize("words", [("--minutes", "0"), ("--every", "-1"), ("--max-steps", "0")])
def test_a_soak_of_no_length_is_refused(words, capsys):
    assert main.main(["soak", *words]) == 2
    assert f"{words[0]} is {words[1]}; it must be above 0" in capsys.readouterr().err


def test_a_fake_sawyer_is_told_what_to_do_on_its_input():
    command = [sys.executable, "-m", "ptp_cli", "fake-sawyer", "--port"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        taken = subprocess.run([*command, str(port)], **PIPES)
    assert taken.returncode == 2
    assert "end what uses it, or name another with --port" in taken.stderr
    result = subprocess.run([*command, str(port)], input="show\nquit\n", **PIPES)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"ws://127.0.0.1:{port}" in result.stdout
    assert "motors off" in result.stdout
    refused = subprocess.run([*command, "80"], **PIPES)
    assert (refused.returncode, refused.stdout) == (2, "")


def test_fake_controllers_are_told_what_to_do_on_their_input():
    command = [sys.executable, "-m", "ptp_cli", "fake-controllers", "--motors"]
    typed = "show\nrefuse_enable\nquit\n"
    result = subprocess.run(command, input=typed, timeout=100, **PIPES)
    assert (result.returncode, result.stderr) == (0, "")
    assert "motors off" in result.stdout
    assert "refuse_enable: the motors do not come on" in result.stdout


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["evaluate", "--tasks", "", "--episodes", "1"], "--tasks"),
        (["evaluate", "--method", " "], "--method"),
        (["evaluate", "--checkpoint="], "--checkpoint"),
        (["goal", "show", ""], "show"),
        (["up", ""], "up"),
        ([""], "ptp"),
    ],
)
def test_an_empty_word_is_named_by_what_stands_before_it(words, where, capsys):
    assert main.main(words) == 2
    line = f"ptp: what follows {where} is empty (a shell variable that is not set?): fill it in, "
    assert capsys.readouterr().err == f"{line}or leave it out\n"
