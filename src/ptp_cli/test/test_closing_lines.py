# SPDX-License-Identifier: Apache-2.0
"""The last lines of a command name its results and a command that a shell can run."""

import shlex

from ptp_cli.closing_lines import print_results
from ptp_cli.commands.stack import _print_records
from ptp_cli.main import make_parser


def test_a_folder_with_a_space_is_quoted(tmp_path, capsys):
    folder = tmp_path / "my runs"
    print_results(folder, "ptp", "report", folder)
    results, following = capsys.readouterr().out.splitlines()
    assert results == f"results: {folder}"
    assert shlex.split(following.removeprefix("next: ")) == ["ptp", "report", str(folder)]


def test_results_may_be_the_end(capsys):
    print_results("out/page.html")
    assert capsys.readouterr().out == "results: out/page.html\n"


def test_a_stack_that_records_says_where_and_how_to_go_on(capsys):
    _print_records("teleop", {"record": "out/mine"})
    _print_records("practice", {"output": "out/practice"})
    _print_records("sim", {"output": ""})
    lines = capsys.readouterr().out.splitlines()
    assert lines[::2] == ["results: out/mine", "results: out/practice"]
    for line in lines[1::2]:
        words = shlex.split(line.removeprefix("next: "))
        assert make_parser().parse_args(words[1:]).command == words[1]
