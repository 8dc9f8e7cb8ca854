# SPDX-License-Identifier: Apache-2.0
"""Fast DDS on this machine: its network interfaces, and shared memory that killed nodes left.

Nodes use loopback and the interfaces that lead to the peers in ``ROS_STATIC_PEERS``. Peers that
are unreachable are reported. Needs no rclpy (Linux, /proc).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import socket
import struct
import time
from collections.abc import MutableMapping
from pathlib import Path

from ptp_core.data.files import write_atomically
from ptp_core.errors import ConfigError

PEERS = "ROS_STATIC_PEERS"  # addresses or names, semicolons between them
PORT = 7400  # any port: nothing is sent to it
IFF_RUNNING = 0x40
SIOCGIFFLAGS, SIOCGIFADDR = 0x8913, 0x8915
REQUEST = "16sH14x"  # struct ifreq: name, flags
ADDRESS = "16s4x4s16x"  # struct ifreq: name, IPv4 address


def unheard_peers(peers: str | None = None) -> list[str]:
    """One line for each peer that a node started now cannot discover; ``peers``: as `PEERS`."""
    given = os.environ.get(PEERS, "") if peers is None else peers
    return [line for peer in _names(given) if (line := _trouble(peer))]


def own_addresses(peers: str) -> list[str]:
    """This machine's IPv4 addresses from which the peers are reachable."""
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
            continue  # the interface has no IPv4 address
    return None


def _request(sock: socket.socket, number: int, name: str, form: str) -> tuple:
    asked = struct.pack("16s24x", name.encode())
    answer = fcntl.ioctl(sock, number, asked)
    return struct.unpack(form, answer[: struct.calcsize(form)])


RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"
LOOPBACK = "127.0.0.1"
OURS = "<transport_id>ptp_udp</transport_id>"  # marks our profile; users' profiles stay unchanged
ALLOWED = re.compile(r"(<interfaceWhiteList>)(.*?)(\s*</interfaceWhiteList>)", re.DOTALL)


def default_profile() -> Path:
    """The project's profile, in the repository or installed. Raises ConfigError without one."""
    inside = Path("config", "dds", "fastdds.xml")
    repository = Path(__file__).resolve().parents[3]
    if (repository / inside).is_file():
        return repository / inside
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        return Path(get_package_share_directory("ptp_bringup")) / inside
    except PackageNotFoundError:
        raise ConfigError(
            f"{inside} is not installed: source the workspace (install/setup.bash)"
        ) from None


def limit(environ: MutableMapping[str, str] | None = None) -> None:
    """Limit the nodes of this environment to this machine and its named peers.

    Sets variables of the middleware; call it before ``rclpy.init``. Variables that the user has
    set stay: another discovery range or profile. Raises ConfigError and StorageError.
    """
    environ = os.environ if environ is None else environ
    environ.setdefault(RANGE, "LOCALHOST")
    path = Path(environ.get(PROFILES) or default_profile())
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        # Without the profile Fast DDS would listen on every interface.
        raise ConfigError(f"{PROFILES}: {path} cannot be read ({error})") from error
    environ[PROFILES] = str(path)
    if OURS not in text:
        return
    allowed = [LOOPBACK]
    allowed += [a for a in own_addresses(environ.get(PEERS, "")) if a not in allowed]
    wanted = limited(text, allowed)
    if wanted != text:
        environ[PROFILES] = str(_kept(wanted, environ))


def limited(profile: str, addresses: list[str]) -> str:
    """The profile, limited to these addresses of this machine."""
    lines = "".join(f"\n          <address>{address}</address>" for address in addresses)
    return ALLOWED.sub(lambda match: match[1] + lines + match[3], profile)


def _kept(text: str, environ: MutableMapping[str, str]) -> Path:
    """File with the content ``text``, named by its hash, so that nodes share it."""
    base = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = base / "ptp" / f"fastdds_{hashlib.sha256(text.encode()).hexdigest()[:16]}.xml"
    try:
        if path.read_text(encoding="utf-8") == text:
            return path
    except (OSError, UnicodeDecodeError):
        pass
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path.parent}: cannot be made ({error.strerror})") from error
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    return path


PROC = Path("/proc")
SHM = Path("/dev/shm")
YOUNG = 5.0  # s: a newer segment may be opened soon
SEGMENT = re.compile(r"(?:sem\.)?fast(?:rtps|dds)_\w+")


def left_behind(young: float = YOUNG) -> list[Path]:
    """Segments of Fast DDS of this user, older than ``young`` s, that no process has open."""
    if not SHM.is_dir():
        return []
    paths = [path for path in SHM.iterdir() if SEGMENT.fullmatch(path.name)]
    used: set[str] = set()
    for maps in PROC.glob("[0-9]*/maps"):
        try:
            used.update(re.findall(r"/dev/shm/(\S+)", maps.read_text()))
        except OSError:
            continue  # the process has ended, or belongs to another user
    used = {_segment(name) for name in used}
    latest = time.time() - young
    return sorted(
        path for path in paths if _segment(path.name) not in used and _ours_since(path) < latest
    )


def remove_left_behind(young: float = YOUNG) -> int:
    """Remove the segments that `left_behind` finds; returns the number of files."""
    paths = left_behind(young)
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
    return len(paths)


def _segment(name: str) -> str:
    """Name of the segment that a file belongs to; locks and semaphores have suffixes."""
    return re.sub(r"^sem\.|(_el|_sl|_mutex)$", "", name)


def _ours_since(path: Path) -> float:
    """Time of the last change of this user's file; infinity for any other file."""
    try:
        status = path.stat()
    except OSError:
        return float("inf")
    return status.st_mtime if status.st_uid == os.getuid() else float("inf")


def main() -> None:
    """Print the profile for this environment, for shells (`.venv/ptp_env.sh`)."""
    limit()
    print(os.environ[PROFILES])


if __name__ == "__main__":
    main()
