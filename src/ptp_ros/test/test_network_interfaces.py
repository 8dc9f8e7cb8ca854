# SPDX-License-Identifier: Apache-2.0
"""Which peers a node that starts now will not find."""

from ptp_ros.network_interfaces import PEERS, unheard_peers


def test_without_peers_there_is_nothing_to_say(monkeypatch):
    monkeypatch.delenv(PEERS, raising=False)
    assert unheard_peers() == []
    monkeypatch.setenv(PEERS, " ; ")
    assert unheard_peers() == []


def test_a_peer_behind_a_running_interface_is_well():
    assert unheard_peers("127.0.0.1;localhost") == []


def test_an_unknown_name_is_named():
    (line,) = unheard_peers("127.0.0.1;no such host")
    assert "the peer no such host is unknown" in line and PEERS in line


def test_a_peer_that_no_network_leads_to_is_named():
    (line,) = unheard_peers("255.255.255.255")  # broadcasting is refused: no route for this socket
    assert "the peer 255.255.255.255 will not be found" in line
