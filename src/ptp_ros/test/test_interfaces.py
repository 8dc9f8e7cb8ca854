# SPDX-License-Identifier: Apache-2.0
"""Nodes listen on loopback, and on what leads to the peers that are named."""

import re
import subprocess
import sys

import pytest

from ptp_core.errors import ConfigError
from ptp_ros.middleware import (
    PEERS,
    PROFILES,
    RANGE,
    default_profile,
    limit,
    own_addresses,
)


def addresses(environ):
    with open(environ[PROFILES], encoding="utf-8") as file:
        return re.findall("<address>(.*?)</address>", file.read())


@pytest.fixture
def environ(tmp_path):
    return {"XDG_CACHE_HOME": str(tmp_path)}


def test_without_peers_nodes_use_the_loopback_interface_alone(environ):
    limit(environ)
    assert environ[RANGE] == "LOCALHOST"
    assert environ[PROFILES] == str(default_profile())
    assert addresses(environ) == ["127.0.0.1"]


def test_with_peers_they_use_what_leads_there_and_nothing_once_there_are_none(environ, tmp_path):
    environ[PEERS] = "127.0.0.2; no.such.host.invalid"
    limit(environ)
    assert own_addresses(environ[PEERS]) == ["127.0.0.1"] == addresses(environ)
    wide = tmp_path / "wide.xml"  # as a process inherits it from one that has peers
    wide.write_text(default_profile().read_text().replace("127.0.0.1", "10.9.8.7"))
    environ |= {PROFILES: str(wide), PEERS: ""}
    limit(environ)
    assert environ[PROFILES] != str(wide) and addresses(environ) == ["127.0.0.1"]
    first = environ[PROFILES]
    limit(environ)
    assert environ[PROFILES] == first


def test_a_profile_of_the_user_stays_and_one_that_is_missing_is_refused(environ, tmp_path):
    own = tmp_path / "own.xml"
    own.write_text("<dds/>")
    environ |= {PROFILES: str(own), RANGE: "SUBNET"}
    limit(environ)
    assert (environ[PROFILES], environ[RANGE]) == (str(own), "SUBNET")
    environ[PROFILES] = str(tmp_path / "gone.xml")
    with pytest.raises(ConfigError, match=r"gone\.xml cannot be read"):
        limit(environ)


def test_shells_get_the_path(monkeypatch):
    monkeypatch.delenv(PEERS, raising=False)
    monkeypatch.delenv(PROFILES, raising=False)
    command = [sys.executable, "-m", "ptp_ros.middleware"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"{default_profile()}\n"
