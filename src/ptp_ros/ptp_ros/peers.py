# SPDX-License-Identifier: Apache-2.0
"""Whether the peers that discovery is told of can be reached. Needs no ROS (Linux).

Fast DDS takes the network interfaces that run when a node starts and looks no more. A node that
was started while its cable was out is not found from the other machine when it is back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct

PEERS = "ROS_STATIC_PEERS"  # addresses or names, semicolons between them
PORT = 7400  # any: nothing is sent
IFF_RUNNING = 0x40
SIOCGIFFLAGS, SIOCGIFADDR = 0x8913, 0x8915
REQUEST = "16sH14x"  # struct ifreq: name, flags
ADDRESS = "16s4x4s16x"  # struct ifreq: name, IPv4 address


def unheard_peers(peers: str | None = None) -> list[str]:
    """One line for each peer that a node started now will not find; ``peers``: as `PEERS`."""
    given = os.environ.get(PEERS, "") if peers is None else peers
    return [line for peer in _names(given) if (line := _trouble(peer))]


def own_addresses(peers: str) -> list[str]:
    """This machine's addresses (IPv4) that lead to the peers; one without a way there has none."""
    found = []
    for peer in _names(peers):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
            contextlib.suppress(OSError),
        ):
            sock.connect((peer, PORT))
            found.append(sock.getsockname()[0])
    return list(dict.fromkeys(found))


def _names(peers: str) -> list[str]:
    return [peer.strip() for peer in peers.split(";") if peer.strip()]


def _trouble(peer: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((peer, PORT))
        except socket.gaierror as error:
            return f"the peer {peer} is unknown ({error.strerror}): check {PEERS}"
        except OSError as error:
            return _advice(peer, f"no network leads there ({error.strerror})")
        ours = sock.getsockname()[0]
        name = _interface(sock, ours)
        if name is None or _request(sock, SIOCGIFFLAGS, name, REQUEST)[1] & IFF_RUNNING:
            return ""
        return _advice(peer, f"the interface {name} does not run: cable out or switched off")


def _advice(peer: str, reason: str) -> str:
    return f"the peer {peer} will not be found: {reason}. Start this node again when it is there"


def _interface(sock: socket.socket, address: str) -> str | None:
    """Name of the interface that has an IPv4 address."""
    wanted = socket.inet_aton(address)
    for _, name in socket.if_nameindex():
        try:
            if _request(sock, SIOCGIFADDR, name, ADDRESS)[1] == wanted:
                return name
        except OSError:
            continue  # it has none
    return None


def _request(sock: socket.socket, number: int, name: str, form: str) -> tuple:
    asked = struct.pack("16s24x", name.encode())
    answer = fcntl.ioctl(sock, number, asked)
    return struct.unpack(form, answer[: struct.calcsize(form)])
