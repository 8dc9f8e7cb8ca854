# SPDX-License-Identifier: Apache-2.0
"""The generated pages of the site name every interface, command, stack and module."""

import importlib.util
import re
from pathlib import Path

import pytest

from ptp_bringup.stacks import STACK_NAMES
from ptp_cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def pages():
    """docs/reference_pages.py, which Sphinx loads by its path."""
    path = ROOT / "docs" / "reference_pages.py"
    spec = importlib.util.spec_from_file_location("reference_pages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DEFINITIONS = {
    "msg/Part": "# One part. More of it.\nfloat64 x  # m\n",
    "msg/Whole": "# A whole: parts.\nPart[] parts\nPart[<=3] few\nstd_msgs/Header header\n",
    "srv/GetWhole": "# Get it.\nuint32 number\n---\nWhole whole\n",
}


def test_an_interface_is_shown_with_what_it_has_and_where_it_is_used(pages):
    page = pages.interfaces_page(DEFINITIONS)
    assert "| [Part](#interface-msg-part) | One part. |" in page
    part, whole, service = page.split("(interface-")[1:]
    assert "In: [Whole](#interface-msg-whole)" in part and "Has:" not in part
    assert "Has: [Part](#interface-msg-part)" in whole
    assert "In: [GetWhole](#interface-srv-getwhole)" in whole
    assert "uint32 number\n---\nWhole whole" in service and "In:" not in service


def test_every_interface_says_what_it_is(pages):
    definitions = pages.read_interfaces(pages.INTERFACES)
    files = [p for k in pages.KINDS for p in (pages.INTERFACES / k).glob(f"*.{k}")]
    assert len(definitions) == len(files) > 20
    assert [key for key, text in definitions.items() if not pages.summary(text)] == []


def test_modules_are_grouped_by_folder_and_helpers_of_tests_left_out(pages, tmp_path):
    for name in ("a/a/__init__.py", "a/a/one.py", "a/a/b/__init__.py", "a/a/b/two.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    for name in ("a/a/some_testing.py", "a/test/test_one.py", "a/setup.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    made = pages.api_pages(tmp_path)
    assert set(made) == {"a", "a.b", "index"}
    named = [re.findall(r"automodule:: (\S+)", made[name]) for name in ("a", "a.b")]
    assert named == [["a", "a.one"], ["a.b", "a.b.two"]]
    assert "a\na.b\n" in made["index"]


def test_commands_stacks_and_our_packages_have_their_place(pages, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    pages.write_pages(tmp_path)
    folder = tmp_path / "docs" / "generated"
    commands = (folder / "commands.md").read_text()
    assert re.findall(r"^## ptp (\S+)$", commands, re.MULTILINE) == list(COMMANDS)
    stacks = (folder / "stacks.md").read_text()
    assert re.findall(r"^## ptp up (\S+)$", stacks, re.MULTILINE) == list(STACK_NAMES)
    assert str(ROOT) not in commands + stacks
    assert (folder / "api" / "ptp_core.planners.md").is_file()
    assert not list((folder / "api").glob("ptp_cli*"))
