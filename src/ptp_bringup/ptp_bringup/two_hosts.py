# SPDX-License-Identifier: Apache-2.0
"""Two simulated hosts with a network cable on one machine, by Linux network namespaces.

Each host has its own network, shared memory and System V IPC, so that the cable is the only
connection between them. Needs no ROS. It needs root, or unprivileged user namespaces, which most
distributions allow.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

from ptp_core.errors import ConfigError

CABLE = "cable"  # name of the interface on both hosts
PREFIX = 24  # bits of the network
START = 10.0  # s in which a host must start
SETUP = "mount -t tmpfs tmpfs /dev/shm && ip link set lo up && echo ready && exec cat"
# Fast DDS does not use an interface that is not running (IFF_RUNNING). The kernel updates this
# flag up to a second after the cable is plugged in or out.
RUNS = """
import fcntl, socket, struct, sys, time
name, deadline = sys.argv[1].encode(), time.monotonic() + float(sys.argv[2])
wanted = sys.argv[3] == "runs"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    while time.monotonic() < deadline:
        answer = fcntl.ioctl(any_socket, 0x8913, struct.pack("16sH14x", name, 0))
        if bool(struct.unpack("16sH14x", answer)[1] & 0x40) == wanted:
            sys.exit(0)
        time.sleep(0.02)
sys.exit(1)
"""


class NoNamespacesError(ConfigError):
    """This user cannot make network namespaces on this machine."""


@dataclass(frozen=True)
class Host:
    """One end of the cable. ``prefix`` in front of a command runs it on this host."""

    name: str
    address: str
    prefix: tuple[str, ...]

    def run(self, *command: str) -> None:
        """Run a short command on this host. Raises NoNamespacesError with its error output."""
        _checked([*self.prefix, *command])


class Cable:
    """Context manager: two hosts, ``robot`` and ``far``, connected. Both end with the block."""

    def __init__(self, robot: str = "10.77.0.1", far: str = "10.77.0.2") -> None:
        self._addresses = (robot, far)
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Cable:
        for tool in ("unshare", "nsenter", "ip", "mount"):
            if not shutil.which(tool):
                raise NoNamespacesError(
                    f"{tool} is missing: sudo apt install util-linux iproute2 mount"
                )
        with self._exit:
            user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
            first = self._hold(["unshare", *user, "--net", "--mount", "--ipc"])
            inside = ["nsenter", "--target", str(first)]
            inside += ["--user", "--preserve-credentials"] if user else []
            second = self._hold([*inside, "unshare", "--net", "--mount", "--ipc"])
            self.robot, self.far = (
                Host(
                    name,
                    address,
                    (
                        *("nsenter", "--target", str(pid), *inside[3:]),
                        *("--net", "--mount", "--ipc", f"--wd={os.getcwd()}"),
                    ),
                )
                for name, address, pid in zip(
                    ("robot", "far"), self._addresses, (first, second), strict=True
                )
            )
            ends = [CABLE, "type", "veth", "peer", "name", CABLE, "netns", str(second)]
            self.robot.run("ip", "link", "add", *ends)
            for host in (self.robot, self.far):
                host.run("ip", "address", "add", f"{host.address}/{PREFIX}", "dev", CABLE)
                host.run("ip", "link", "set", CABLE, "up")
            self._await()
            self._exit = self._exit.pop_all()
        return self

    def __exit__(self, *error) -> None:
        self._exit.close()

    def cut(self) -> None:
        """Unplug the cable: the hosts are disconnected."""
        self.robot.run("ip", "link", "set", CABLE, "down")
        self._await("stands")

    def restore(self) -> None:
        """Plug the cable in again."""
        self.robot.run("ip", "link", "set", CABLE, "up")
        self._await()

    def _await(self, wanted: str = "runs") -> None:
        """Wait until the interfaces of both hosts are in this state."""
        for host in (self.robot, self.far):
            host.run(sys.executable, "-I", "-S", "-c", RUNS, CABLE, str(START), wanted)

    def _hold(self, command: list[str]) -> int:
        """Start a process that keeps the namespaces until the block ends; its process id."""
        holder = subprocess.Popen(
            [*command, "sh", "-c", SETUP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._exit.callback(_end, holder)
        if holder.stdout.readline() != "ready\n":
            holder.stdin.close()
            raise _refused(holder.stderr.read())
        return holder.pid


def _end(holder: subprocess.Popen) -> None:
    for stream in (holder.stdin, holder.stdout, holder.stderr):
        stream.close()
    try:
        holder.wait(START)
    except subprocess.TimeoutExpired:
        holder.kill()
        holder.wait()


def _checked(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode:
        raise _refused(result.stderr or f"`{' '.join(command)}` failed")


def _refused(text: str) -> NoNamespacesError:
    reason = " ".join(text.split()) or "no reason given"
    return NoNamespacesError(
        f"network namespaces cannot be made here ({reason}): run it as root, or allow user "
        "namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu), or use two "
        "machines (docs/two_machines.md)"
    )
