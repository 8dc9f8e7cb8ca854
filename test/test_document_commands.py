# SPDX-License-Identifier: Apache-2.0
"""Commands that the documents show are commands of today."""

import re
import shlex
from pathlib import Path

import pytest

from ptp_bringup.stacks import parse, stack_named
from ptp_cli.main import COMMANDS, make_parser
from ptp_core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "docs/tutorials/*.md", "models/*.md")
    for path in ROOT.glob(pattern)
)


def command_lines(text):
    """Words behind `ptp` of each command in a block of bash; ``$`` and placeholders left out."""
    for block in re.findall(r"^ *```bash\n(.*?)^ *```", text, flags=re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            for part in _split(words):
                if part and part[0] in ("ptp", ".venv/bin/ptp") and "..." not in part:
                    yield part[1:]


def _split(words):
    """Words of each command of a line: ``a && b``, ``a & b`` and ``a; b`` are two."""
    part = []
    for word in words:
        if word in ("&&", "&", "|", ";"):
            yield part
            part = []
        else:
            part.append(word)
    yield part


def fault(words):
    """What is wrong with a command line; empty if nothing is."""
    if not words or words[0].startswith("-") or words[0] == "COMMAND":
        return ""
    if words[0] not in COMMANDS:
        return f"no command {words[0]}"
    try:
        args = make_parser().parse_args(words)
        if words[0] in ("up", "doctor") and args.arguments:
            stack = args.stack or "real"
            stack_named(stack).values(parse(args.arguments))
    except SystemExit as stop:
        return "" if stop.code == 0 else "refused by the parser"
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_are_understood(path):
    found = {" ".join(w): fault(w) for w in command_lines(path.read_text(encoding="utf-8"))}
    assert {line: wrong for line, wrong in found.items() if wrong} == {}


def test_the_check_sees_commands_and_what_is_wrong_with_them():
    text = "```bash\nptp up sim task:=B && .venv/bin/ptp evaluate \\\n  --seed 1  # x\nmake\n```\n"
    assert list(command_lines(text)) == [["up", "sim", "task:=B"], ["evaluate", "--seed", "1"]]
    assert fault(["evaluate", "--sed", "1"]) == "refused by the parser"
    assert fault(["up", "sim", "tsk:=B"]).startswith("sim has no argument")
    assert fault(["practise"]) == "no command practise"
    tutorial = (ROOT / "docs" / "tutorials" / "practise_a_task.md").read_text(encoding="utf-8")
    assert len(list(command_lines(tutorial))) > 8
