# SPDX-License-Identifier: Apache-2.0
"""The plug-ins for other projects: their metadata, and what it names."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "plugins"
PLUGINS = sorted(path.parent for path in FOLDER.glob("*/pyproject.toml"))
names = pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)


def project(plugin):
    return tomllib.loads((plugin / "pyproject.toml").read_text())


def defined(path):
    """Names that a module defines or imports at its top."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign):
            targets = [part for target in node.targets for part in ast.walk(target)]
            found |= {part.id for part in targets if isinstance(part, ast.Name)}
        elif hasattr(node, "name"):
            found.add(node.name)
    return found


def test_there_are_three():
    assert [plugin.name for plugin in PLUGINS] == [
        "lerobot_env_ptp",
        "lerobot_robot_ptp",
        "rosetta_codecs_ptp",
    ]
    assert (FOLDER / "COLCON_IGNORE").is_file()


@names
def test_its_metadata_is_whole_and_its_packages_are_there(plugin):
    content = project(plugin)
    about = content["project"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", about["version"])
    assert about["license"] == {"text": "Apache-2.0"} and about["description"]
    assert (plugin / about["readme"]).is_file() and list((plugin / "test").glob("test_*.py"))
    for package in content["tool"]["setuptools"]["packages"]:
        assert (plugin / package / "__init__.py").is_file()


@names
def test_lerobot_finds_it_by_its_name(plugin):
    """LeRobot 0.6 imports distributions of such names, letter for letter."""
    if plugin.name.startswith("lerobot_"):
        name = project(plugin)["project"]["name"]
        assert name == plugin.name and re.match("lerobot_(env|robot)_", name)
        assert (plugin / name / "__init__.py").is_file()


@names
def test_its_entry_points_name_modules_that_are_there(plugin):
    groups = project(plugin)["project"].get("entry-points", {})
    for module in (value for group in groups.values() for value in group.values()):
        assert plugin.joinpath(*module.split(".")).with_suffix(".py").is_file()
    assert bool(groups) == (plugin.name == "rosetta_codecs_ptp")


@names
def test_what_its_modules_import_of_their_own_is_defined(plugin):
    for path in (plugin / plugin.name).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom):
                continue
            top, _, rest = (node.module or "").partition(".")
            if top == plugin.name and rest:
                there = defined(plugin / top / f"{rest}.py")
                assert {alias.name for alias in node.names} <= there, path


@pytest.mark.process
@names
def test_its_wheel_holds_its_modules(plugin, tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    source = tmp_path / "source"
    subprocess.run(["cp", "-r", plugin, source], check=True)
    done = subprocess.run(
        [*command, "--ignore-requires-python", "-w", tmp_path, source],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True
    ).stdout
    for path in (plugin / plugin.name).rglob("*.*"):
        if "__pycache__" not in path.parts:
            assert str(path.relative_to(plugin)) in listing
