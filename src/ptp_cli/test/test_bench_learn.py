# SPDX-License-Identifier: Apache-2.0
"""Peers of the benchmark: an environment of their own, and one clear line without a network."""

import importlib.util
import subprocess
import zipfile

import numpy
import pytest

from ptp_cli.bench.bench_learn import cache_folder, peer_python
from ptp_cli.main import main
from ptp_core.tiny_networks import tiny_checkpoint


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """pip finds packages in a folder alone; the folder."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "wheels").mkdir()
    return tmp_path / "wheels"


def wheel(folder, answer):
    """A package of one module."""
    name = "neighbour-1.0"
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as archive:
        archive.writestr("neighbour.py", f"ANSWER = {answer}\n")
        info = "Metadata-Version: 2.1\nName: neighbour\nVersion: 1.0\nRequires-Dist: numpy\n"
        archive.writestr(f"{name}.dist-info/METADATA", info)
        archive.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{name}.dist-info/RECORD", "")


def say(python, code):
    return subprocess.check_output([python, "-I", "-c", code], text=True).strip()


def test_a_peer_is_installed_once_beside_our_packages(no_network):
    wheel(no_network, 42)
    python = peer_python("neighbour==1.0")
    seen = say(python, "import neighbour, numpy; print(neighbour.ANSWER, numpy.__version__)")
    assert seen == f"42 {numpy.__version__}"  # our numpy: it was not installed again
    assert python.is_relative_to(cache_folder())
    (no_network / "neighbour-1.0-py3-none-any.whl").unlink()
    assert peer_python("neighbour==1.0") == python
    assert importlib.util.find_spec("neighbour") is None  # ours does not have it


def test_an_interrupted_installation_begins_anew(no_network):
    wheel(no_network, 1)
    python = peer_python("neighbour==1.0")
    folder = python.parents[1]
    (folder / "complete").unlink()
    wheel(no_network, 2)
    assert say(peer_python("neighbour==1.0"), "import neighbour; print(neighbour.ANSWER)") == "2"


def test_without_a_network_the_group_is_named_in_one_line(no_network, tmp_path, capsys):
    tiny_checkpoint(tmp_path / "tiny")
    out = tmp_path / "figures.json"
    arguments = ["--quick", "--only", "peers", "--checkpoint", tmp_path / "tiny", "--out", out]
    assert main(["bench", *map(str, arguments)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("ptp bench: peers: d3rlpy") for line in lines)
    assert "ptp bench: not measured: peers" in lines
    assert not out.exists()
