# SPDX-License-Identifier: Apache-2.0
"""What docker/ says, checked against the repository: no image can be built in a test."""

import json
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from ptp_bringup.declarations import words
from ptp_bringup.stacks import all_stacks

STACKS = all_stacks()
ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
VARIABLE = re.compile(r"\$\{(\w+)(?::?-((?:[^{}]|\{[^}]*\})*))?\}")
APT = re.compile(r"[a-z0-9][a-z0-9.+-]+")


def instructions(kind):
    """Arguments of each instruction of a kind, lines joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.M))
    return [line.split(None, 1)[1] for line in text.splitlines() if line.startswith(f"{kind} ")]


def filled(text):
    """A value of compose.yaml with the defaults of its variables."""
    return VARIABLE.sub(lambda match: match[2] or "", text)


def example():
    """Name and value of each line of example.env."""
    lines = (DOCKER / "example.env").read_text().splitlines()
    found = [re.match(r"(\w+)=(\S*)", line) for line in lines if line and line[0] != "#"]
    return {match[1]: match[2] for match in found}


def test_everything_that_is_copied_exists():
    copied = [line.split() for line in instructions("COPY")]
    sources = [word for line in copied for word in line[:-1] if not word.startswith("--")]
    assert len(sources) >= 4
    for source in sources:
        assert (ROOT / source).exists(), source
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {word.split("/")[0] for word in sources} & set(ignored)


@pytest.mark.parametrize(
    "path",
    [
        "keystore/private/ca.key.pem",
        "config/sros2/keystore/enclaves/ptp/policy/key.pem",
        "keystore_robot/public/ca.cert.pem",
        "sub/permissions.p7s",
    ],
)
def test_keys_reach_neither_the_repository_nor_the_image(path):
    found = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT)
    assert found.returncode == 0
    patterns = [line for line in (ROOT / ".dockerignore").read_text().split() if line[:3] == "**/"]
    assert any(fnmatch(part, pattern[3:]) for part in path.split("/") for pattern in patterns)
    # And they are made elsewhere.
    text = (ROOT / "docs" / "security.md").read_text()
    (made,) = re.findall(r"generate_artifacts -k (\S+)", text)
    (variable,) = re.findall(rf"{made[1:]}=(\S+)", text)
    assert made[0] == "$" and variable.startswith("~/")
    for service in SERVICES.values():
        assert any(filled(str(volume)).startswith("~/") for volume in service["volumes"])


def test_the_base_image_is_named_by_its_digest():
    (base,) = [line for line in instructions("ARG") if line.startswith("BASE=")]
    assert re.fullmatch(r"BASE=ros:jazzy-ros-base-noble@sha256:[0-9a-f]{64}", base)
    assert example()["PTP_BASE"] == base.removeprefix("BASE=")
    assert instructions("FROM")[0].startswith("${BASE} ")
    for service in SERVICES.values():
        assert filled(service["build"]["args"]["BASE"]) == base.removeprefix("BASE=")


def test_every_package_is_installed_by_its_hash_from_one_index():
    for path in sorted(ROOT.glob("requirements*.lock")):
        text = path.read_text()
        entries = re.findall(r"^[\w.-]+==[^\n]*(?:\n +--hash\S+(?: \\)?)*", text, flags=re.M)
        assert entries and all("--hash=sha256:" in entry for entry in entries), path
        assert "index-url" not in text and "find-links" not in text
    pins = {line for line in (ROOT / "requirements-torch.in").read_text().split() if "==" in line}
    for name in ("cpu", "cuda"):
        lock = (ROOT / f"requirements-torch-{name}.lock").read_text()
        (pin,) = re.findall(r"^torch==[\d.]+", lock, flags=re.M)
        assert {pin} == pins
    # Wheels of PyTorch's index: four Pythons on two kinds of processors.
    assert len(re.findall("--hash", (ROOT / "requirements-torch-cpu.lock").read_text())) == 8
    for path in ("tools/workspace.py", "docker/Dockerfile", "Makefile", "README.md", "docs"):
        files = [ROOT / path] if (ROOT / path).is_file() else (ROOT / path).glob("*.md")
        for file in files:
            text = file.read_text()
            assert "extra-index-url" not in text
            # Nothing but an empty one, which shuts out those of pip's own settings.
            assert text.count("EXTRA_INDEX_URL") == text.count('"PIP_EXTRA_INDEX_URL": ""')


def test_the_image_runs_the_scripts_that_make_runs():
    makefile = (ROOT / "Makefile").read_text()
    (setup,) = re.findall(r"^setup:.*\n\t@(\S+)", makefile, flags=re.M)
    runs = instructions("RUN")
    assert [line for line in runs if f"{setup} --packages" in line]
    assert [line for line in runs if line.endswith("make setup")]
    assert all("pip install" not in line and "colcon" not in line for line in runs)
    assert os.access(ROOT / setup, os.X_OK)
    # The flag, which needs neither network nor sources once the packages are there.
    text = (ROOT / "tools" / "workspace.py").read_text()
    assert '"--packages" in sys.argv' in text and "*sys.argv[1:]" in text


def test_the_entry_point_is_ours_and_may_be_executed():
    (line,) = instructions("ENTRYPOINT")
    (workdir,) = {word for word in instructions("WORKDIR") if word.startswith("/opt")}
    path = ROOT / Path(json.loads(line)[0]).relative_to(workdir)
    assert os.access(path, os.X_OK)
    assert f"{workdir}/.venv/ptp_env.sh" in path.read_text()
    assert ".venv/ptp_env.sh" in (ROOT / "tools" / "workspace.py").read_text()


# Keys of rosdep that pip installs: the image has these from requirements.lock, as python3- ones.
FROM_PIP = {"mcap-ros2-support", "roslibpy-pip"}


def test_the_image_has_the_packages_that_ours_depend_on():
    lines = (DOCKER / "packages.txt").read_text().splitlines()
    installed = {line for line in lines if re.match("[a-z]", line)}
    assert all(APT.fullmatch(name) for name in installed)
    assert len(installed) == sum(bool(re.match("[a-z]", line)) for line in lines)
    needed, ours = set(), set()
    for path in (ROOT / "src").glob("*/package.xml"):
        manifest = ET.parse(path).getroot()
        ours.add(manifest.findtext("name"))
        needed |= {e.text for e in manifest if e.tag.endswith("depend")}
    needed = {name for name in needed - ours - FROM_PIP if not name.startswith("python3-")}
    assert len(needed) > 20
    missing = {
        name
        for name in needed - installed  # of Debian, or of ROS
        if f"ros-jazzy-{name.replace('_', '-')}" not in installed
    }
    assert missing == set()
    # Where none of our files names them, they are started by name.
    for stack in STACKS.values():
        for node in stack.nodes:
            if not node.package.startswith("ptp_"):
                assert f"ros-jazzy-{node.package.replace('_', '-')}" in installed, node.name


def test_what_setup_looks_for_on_the_machine_is_installed():
    source = (ROOT / "tools" / "workspace.py").read_text()
    wanted = set(re.findall(r'missing\.append\(\("[^"]*", "([^"]+)"\)\)', source))
    installed = (DOCKER / "packages.txt").read_text().split()
    assert {"g++", "python3-venv"} <= wanted and '", "cmake")' in source
    assert "cmake" in installed
    assert wanted - {"gcc"} <= set(installed)  # g++ brings gcc


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_what_exists(name):
    service = SERVICES[name]
    command = shlex.split(filled(service["command"]))
    if command[:2] == ["ros2", "launch"]:
        package, launch, *arguments = command[2:]
        assert package == "ptp_bringup" and (ROOT / "launch" / launch).is_file()
        given = dict(word.split(":=", 1) for word in arguments)
        stack = STACKS[launch.removesuffix(".launch.py")]
        started = {process.node.name for process in stack.processes(given)}
        assert started
        if name == "gpu":
            assert started == set(words(example()["PTP_FAR"]))
    else:
        assert f"ros-jazzy-{command[0]}" in (DOCKER / "packages.txt").read_text().split()
        paths = [Path(word) for word in command if word.startswith("/opt/ptp/")]
        assert paths and all((ROOT / path.relative_to("/opt/ptp")).is_file() for path in paths)
    build = service["build"]
    context = (DOCKER / build["context"]).resolve()
    assert context == ROOT and (context / build["dockerfile"]).is_file()
    stages = [line.split()[-1] for line in instructions("FROM")]
    assert build["target"] in stages
    assert set(build["args"]) <= {line.split("=")[0] for line in instructions("ARG")}


def test_robot_and_far_side_together_are_the_whole_stack():
    def started(name):
        _, _, _, launch, *arguments = shlex.split(filled(SERVICES[name]["command"]))
        given = dict(word.split(":=", 1) for word in arguments)
        stack = STACKS[launch.removesuffix(".launch.py")]
        return [process.node.name for process in stack.processes(given)], stack

    (robot, stack), (far, _) = started("robot"), started("gpu")
    assert not set(robot) & set(far)
    assert sorted(robot + far) == sorted(process.node.name for process in stack.processes({}))


@pytest.mark.parametrize("name", SERVICES)
def test_containers_talk_like_processes_of_one_machine(name):
    service = SERVICES[name]
    assert service["network_mode"] == "host"
    # Fast DDS keeps shared memory here, and ours is swept by process id.
    assert service["ipc"] == service["pid"] == "host"
    environment = service["environment"]
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert filled(environment["ROS_STATIC_PEERS"]) == ""


def test_the_example_names_every_variable_with_its_default():
    text = (DOCKER / "compose.yaml").read_text()
    used = {match[1]: match[2] for match in VARIABLE.finditer(text) if match[1][:4] == "PTP_"}
    assert used == example()


def test_the_devcontainer_builds_a_stage_that_exists():
    path = ROOT / ".devcontainer" / "devcontainer.json"
    content = json.loads(path.read_text())
    build = content["build"]
    assert (path.parent / build["dockerfile"]).resolve() == DOCKER / "Dockerfile"
    assert (path.parent / build["context"]).resolve() == ROOT
    assert build["target"] in [line.split()[-1] for line in instructions("FROM")]
    command = shlex.split(content["postCreateCommand"])
    assert command[-1].endswith("make setup") and "/opt/ros/jazzy/setup" in command[-1]


LINTERS = {
    "hadolint": (["hadolint", "--config", "docker/hadolint.yaml"], DOCKER / "Dockerfile"),
    "shellcheck": (["shellcheck"], DOCKER / "entrypoint.sh"),
    "compose": (
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"],
        DOCKER / "compose.yaml",
    ),
}
FAULTS = {
    "hadolint": ("WORKDIR /opt/ptp", "WORKDIR opt/ptp"),
    "shellcheck": ('exec "$@"', "exec $@"),
    "compose": ("network_mode: host", "network_mod: host"),
}


@pytest.mark.parametrize("name", LINTERS)
def test_the_linter_is_content_and_would_see_a_fault(name, tmp_path):
    command, path = LINTERS[name]
    found = subprocess.run([*command, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    before, after = FAULTS[name]
    assert before in path.read_text()
    bad = tmp_path / path.name
    bad.write_text(path.read_text().replace(before, after))
    found = subprocess.run([*command, str(bad)], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode != 0


def test_make_lint_runs_the_linters():
    text = (ROOT / "Makefile").read_text()
    lint = text[text.index("\nlint:") : text.index("\nclean:")]
    for word in ("shellcheck", "hadolint", "check-jsonschema"):
        assert word in lint
        assert re.search(rf"^{word}[\w-]*\b", (ROOT / "requirements.in").read_text(), flags=re.M)
