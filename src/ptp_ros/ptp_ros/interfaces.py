# SPDX-License-Identifier: Apache-2.0
"""Which network interfaces nodes use: loopback, and those that lead to named peers.

ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST limits whom a node announces itself to; its sockets would
still take what anybody sends. The profile of Fast DDS (`config/dds/fastdds.xml`) limits the
sockets. Needs no ROS.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import MutableMapping
from pathlib import Path

from ptp_core.data.files import write_atomically
from ptp_core.errors import ConfigError
from ptp_ros.peers import PEERS, own_addresses

RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"
LOOPBACK = "127.0.0.1"
OURS = "<transport_id>ptp_udp</transport_id>"  # in our profile; those of users are left alone
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
    """Set what keeps the nodes of this environment to themselves and their peers.

    Call it before ``rclpy.init``. What the user has set stays: another discovery range, a profile
    of his own. Raises ConfigError and StorageError.
    """
    environ = os.environ if environ is None else environ
    environ.setdefault(RANGE, "LOCALHOST")
    path = Path(environ.get(PROFILES) or default_profile())
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        # Fast DDS would go on without a profile, and listen on every interface.
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
    """The profile with these addresses of this machine as the only ones that nodes use."""
    lines = "".join(f"\n          <address>{address}</address>" for address in addresses)
    return ALLOWED.sub(lambda match: match[1] + lines + match[3], profile)


def _kept(text: str, environ: MutableMapping[str, str]) -> Path:
    """The file that holds ``text``, named after it: nodes that start at once share it."""
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


def main() -> None:
    """Print the profile for this environment, for shells (`.venv/ptp_env.sh`)."""
    limit()
    print(os.environ[PROFILES])


if __name__ == "__main__":
    main()
