# SPDX-License-Identifier: Apache-2.0
"""Packages tell the truth to rosdep, bloom and pip, and to people who cite or contribute."""

import ast
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml
from catkin_pkg.package import parse_package

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent for path in (ROOT / "src").glob("*/package.xml"))
PYTHON_PACKAGES = [package for package in PACKAGES if (package / "setup.py").is_file()]
KEYS = yaml.safe_load((ROOT / "test" / "data" / "rosdep_keys.yaml").read_text())
FROM_PIP = {"pillow": "PIL", "pyyaml": "yaml", "opencv-python-headless": "cv2"}  # import names
# tensorboard is what torch.utils.tensorboard imports.
INDIRECT = {"tensorboard"}
FROM_ROS = {"ptp_interfaces"}  # built by colcon, unknown to pip


def said(package):
    """What setup() is told, as literals; other values are left out."""
    (call,) = (
        node
        for node in ast.walk(ast.parse((package / "setup.py").read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
    )
    found = {}
    for word in call.keywords:
        try:
            found[word.arg] = ast.literal_eval(word.value)
        except ValueError:
            continue
    return found


def imported(package):
    """Top names that a package imports."""
    found = set()
    for path in (package / package.name).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.partition(".")[0])
    return found


@pytest.fixture(scope="module")
def version():
    return ET.parse(PACKAGES[0] / "package.xml").getroot().findtext("version")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_the_manifest_is_what_bloom_takes(package):
    warnings = []
    manifest = parse_package(package, warnings=warnings)
    manifest.validate(warnings=warnings)
    assert warnings == []
    assert [url.type for url in manifest.urls] == ["website"]
    assert manifest.licenses[0].file == "LICENSE"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_brings_licence_and_changes(package, version):
    assert (package / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    lines = (package / "CHANGELOG.rst").read_text().splitlines()
    assert lines[1] == f"Changelog for package {package.name}"
    newest = next(line for line in lines if re.match(r"\d+\.\d+\.\d+ \(", line))
    assert newest.split()[0] == version


def test_rosdep_knows_every_key():
    own = {package.name for package in PACKAGES}
    used = set()
    for package in PACKAGES:
        manifest = ET.parse(package / "package.xml").getroot()
        used |= {element.text for element in manifest if element.tag.endswith("depend")}
    assert used - own == {*KEYS["ros"], *KEYS["system"]}


@pytest.mark.parametrize("package", PYTHON_PACKAGES, ids=lambda path: path.name)
def test_pip_is_told_what_the_manifest_says(package, version):
    manifest = parse_package(package)
    told = said(package)
    (maintainer,) = manifest.maintainers
    assert told["maintainer"] == maintainer.name
    assert told["maintainer_email"] == maintainer.email
    assert told["description"] == manifest.description
    assert told["license"] == manifest.licenses[0]
    assert told["url"] == manifest.urls[0].url
    assert told["version"] == version
    assert told["python_requires"] == ">=3.10"


@pytest.mark.parametrize("package", PYTHON_PACKAGES, ids=lambda path: path.name)
def test_pip_installs_what_is_imported_and_nothing_else(package, version):
    required = said(package).get("install_requires", [])
    ours = {name for name in required if name.startswith("ptp_")}
    others = {FROM_PIP.get(name, name) for name in required} - ours - INDIRECT
    lock = (ROOT / "requirements.lock").read_text()
    locked = {FROM_PIP.get(name, name) for name in re.findall(r"^([\w.-]+)==", lock, re.M)}
    uses = imported(package) - {package.name}
    assert others == uses & ({*locked, "torch"} - {"setuptools"})
    imports_of_ours = {name for name in uses if name.startswith("ptp_")} - FROM_ROS
    # ptp_bringup starts nodes of packages that it does not import.
    started = {"ptp_nodes", "ptp_sim"} if package.name == "ptp_bringup" else set()
    assert ours == {f"{name}=={version}" for name in imports_of_ours | started}


def test_the_citation_and_the_notes_name_this_version(version):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == version
    notes = (ROOT / "docs" / "release_notes.md").read_text()
    newest = re.search(r"^## (\S+) \((\S+)\)$", notes, re.MULTILINE)
    assert newest.groups() == (version, citation["date-released"])


def test_workflows_run_targets_of_the_makefile():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    runs = []
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            assert job["timeout-minutes"] > 0
            runs += [step["run"] for step in job["steps"] if "run" in step]
    assert {run.split()[0] for run in runs} == {"make"}
    used = {run.split()[1] for run in runs}
    assert {"lint", "test", "docs"} <= used <= targets
