# SPDX-License-Identifier: Apache-2.0
"""Discovery between two hosts: off by default, on for a list of peers.

Where this machine lets nobody make network namespaces, what the library says of it is tested.
"""

import os
import shutil
import subprocess
import sys
import warnings

import pytest

from ptp_bringup import two_hosts
from ptp_bringup.bring_up import middleware_variables
from ptp_bringup.share_folder import shared_root
from ptp_bringup.two_hosts import Cable, NoNamespacesError
from ptp_ros.middleware import PEERS, PROFILES, RANGE

NODE = """
import sys, time, rclpy
from ptp_ros.middleware import limit
name, wanted, beyond = sys.argv[1], set(sys.argv[2].split(",")), float(sys.argv[3])
limit()
rclpy.init()
node = rclpy.create_node(name)
print("up", flush=True)
deadline = time.monotonic() + 30
while not wanted <= set(node.get_node_names()) and time.monotonic() < deadline:
    rclpy.spin_once(node, timeout_sec=0.1)
deadline = time.monotonic() + beyond
while time.monotonic() < deadline:
    rclpy.spin_once(node, timeout_sec=0.1)
print(*sorted(node.get_node_names()), flush=True)
sys.stdin.read()
"""
BEYOND = 2.5  # s: five times what a node waits between two announcements


def start(host, peer, name, wanted, beyond=0.0):
    env = {**os.environ, **middleware_variables()}
    env.pop(PEERS, None)
    if peer:
        env[PEERS] = peer.address
    node = subprocess.Popen(
        [*host.prefix, sys.executable, "-c", NODE, name, wanted, str(beyond)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
    )  # fmt: skip
    assert node.stdout.readline() == "up\n"
    return node


LISTENER = """
import sys, time, rclpy
from ptp_ros.middleware import limit
from std_msgs.msg import String
limit()
rclpy.init()
node = rclpy.create_node("arm_driver")
counts = dict.fromkeys(("near", "far"), 0)
def heard(message):
    counts[message.data] += 1
node.create_subscription(String, "arm/command", heard, 10)
print("up", flush=True)
awaited, deadline = set(sys.argv[1].split(",")), time.monotonic() + 30
while any(counts[name] < 50 for name in awaited) and time.monotonic() < deadline:
    rclpy.spin_once(node, timeout_sec=0.1)
print(counts["near"], counts["far"], flush=True)
"""
COMMANDER = """
import sys, rclpy
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node("commander")
publisher = node.create_publisher(String, "arm/command", 10)
while True:
    publisher.publish(String(data=sys.argv[1]))
    rclpy.spin_once(node, timeout_sec=0.05)
"""
OPEN = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns="http://www.eprosima.com"><profiles>
  <participant profile_name="open" is_default_profile="true"><rtps/></participant>
</profiles></dds>
"""


def commands_heard(cable, awaited, tmp_path, limits=True, **given):
    """(near, far) commands that a driver hears until 50 came from each that it awaits.

    The neighbour uses every interface that it has, and names the robot as its peer.
    """
    (tmp_path / "open.xml").write_text(OPEN)
    stranger = {
        **{**os.environ, RANGE: "LOCALHOST", PROFILES: str(tmp_path / "open.xml")},
        PEERS: cable.robot.address,
    }
    own = {name: value for name, value in os.environ.items() if name not in (PEERS, PROFILES)}
    own |= {"XDG_CACHE_HOME": str(tmp_path), **given}
    if not limits:
        own[PROFILES] = str(tmp_path / "open.xml")
    python = (sys.executable, "-c")
    programs = [
        subprocess.Popen(
            [*cable.robot.prefix, *python, LISTENER, awaited], env=own, stdout=subprocess.PIPE
        )
    ]
    try:
        assert programs[0].stdout.readline() == b"up\n"
        for host, name, env in ((cable.far, "far", stranger), (cable.robot, "near", own)):
            command = [*host.prefix, *python, COMMANDER, name]
            programs.append(subprocess.Popen(command, env=env))
        return tuple(map(int, programs[0].stdout.readline().split()))
    finally:
        for program in programs:
            program.kill()
            program.communicate()


def names_seen(cable, peers, wanted, beyond=0.0):
    """Names that a node on the far host sees, where a second one runs and one on the robot."""
    ends = {"robot": cable.far, "twin": cable.robot, "far": cable.robot}
    nodes = [
        start(
            cable.robot if name == "robot" else cable.far,
            ends[name] if peers else None,
            name,
            wanted if name == "far" else name,
            beyond if name == "far" else 0.0,
        )
        for name in ends
    ]
    try:
        return nodes[-1].stdout.readline().split()
    finally:
        for node in nodes:
            node.communicate(timeout=20)


@pytest.fixture(scope="module")
def cable():
    """Two hosts; the reason, where they cannot be made."""
    try:
        with Cable() as cable:
            yield cable
    except NoNamespacesError as error:
        warnings.warn(f"not tried between two hosts: {error}", stacklevel=1)
        yield str(error)


@pytest.mark.process
def test_by_default_nobody_beyond_this_host_is_found(cable):
    assert middleware_variables()["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    if isinstance(cable, str):
        assert "use two machines" in cable
        return
    assert names_seen(cable, False, "far,twin", BEYOND) == ["far", "twin"]


@pytest.mark.process
def test_a_neighbour_that_names_this_host_delivers_no_command(cable, tmp_path):
    if isinstance(cable, str):
        assert "use two machines" in cable or "is missing" in cable
        return
    near, far = commands_heard(cable, "near,far", tmp_path, limits=False)
    assert near >= 50 and far >= 50, "the neighbour can reach a driver that listens everywhere"
    near, far = commands_heard(cable, "near", tmp_path)
    assert near >= 50 and far == 0


@pytest.mark.process
def test_a_named_peer_delivers_commands_and_another_network_does_not(cable, tmp_path):
    if isinstance(cable, str):
        assert "use two machines" in cable or "is missing" in cable
        return
    near, far = commands_heard(cable, "near,far", tmp_path, **{PEERS: cable.far.address})
    assert near >= 50 and far >= 50
    cable.robot.run("ip", "address", "add", "10.78.0.1/24", "dev", "lo")  # another network
    near, far = commands_heard(cable, "near", tmp_path, **{PEERS: "10.78.0.2"})
    assert near >= 50 and far == 0


@pytest.mark.process
def test_the_firewall_lets_named_peers_in_alone(cable, tmp_path):
    if isinstance(cable, str) or not shutil.which("nft"):
        reason = cable if isinstance(cable, str) else "nft is missing (nftables)"
        warnings.warn(f"the firewall was not tried: {reason}", stacklevel=1)
        return
    text = (shared_root() / "config" / "dds" / "peers.nft").read_text()
    assert "{ 192.168.7.2 }" in text
    given = {PEERS: cable.far.address}
    for peer, awaited in ((cable.far.address, "near,far"), ("10.77.0.9", "near")):
        rules = tmp_path / "peers.nft"
        rules.write_text(text.replace("192.168.7.2", peer))
        cable.robot.run("nft", "-f", str(rules))
        try:
            near, far = commands_heard(cable, awaited, tmp_path, **given)
        finally:
            cable.robot.run("nft", "delete", "table", "inet", "ptp")
        assert (
            near >= 50 and (far >= 50) == ("far" in awaited) and (far == 0) == (awaited == "near")
        )


@pytest.mark.process
def test_peers_that_name_each_other_are_found_through_the_cable(cable):
    if isinstance(cable, str):
        assert "cannot be made here" in cable or "is missing" in cable
        return
    assert names_seen(cable, True, "far,robot,twin") == ["far", "robot", "twin"]


@pytest.mark.process
def test_a_node_that_starts_without_the_cable_says_so(cable):
    if isinstance(cable, str):
        assert "run it as root" in cable or "is missing" in cable
        return
    code = f"from ptp_ros.middleware import *; print(unheard_peers({cable.robot.address!r}))"
    command = [*cable.far.prefix, sys.executable, "-c", code]
    cable.cut()
    cut = subprocess.run(command, capture_output=True, text=True).stdout
    cable.restore()
    mended = subprocess.run(command, capture_output=True, text=True).stdout
    assert f"{cable.robot.address} will not be found: the interface cable does not run" in cut
    assert mended == "[]\n"


AGAIN = """
import sys
from rclpy.node import Node
from ptp_ros.node_main import run

class Learner(Node):
    may_begin_again = sys.argv[1] == "True"

def create():
    node = Learner("learner")
    print("up", flush=True)
    return node

sys.exit(run(create))
"""


@pytest.mark.process
@pytest.mark.parametrize("may", [True, False])
def test_a_node_that_started_without_the_cable_begins_again_if_it_may(cable, may):
    if isinstance(cable, str):
        assert "use two machines" in cable or "is missing" in cable
        return
    env = {**os.environ, **middleware_variables(), "ROS_STATIC_PEERS": cable.robot.address}
    command = [*cable.far.prefix, sys.executable, "-c", AGAIN, str(may)]
    cable.cut()
    node = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    try:
        assert node.stdout.readline() == "up\n"
        assert "cable does not run" in node.stderr.readline()
        cable.restore()
        assert "a peer is there" in node.stderr.readline()
        if not may:
            node.terminate()
        assert node.wait(20) == (75 if may else 0)
    finally:
        cable.restore()
        node.kill()
        node.communicate()


def test_a_kernel_that_forbids_them_is_quoted_with_what_helps(tmp_path, monkeypatch):
    for tool in ("nsenter", "ip", "mount"):
        (tmp_path / tool).symlink_to("/bin/true")
    unshare = tmp_path / "unshare"
    unshare.write_text("#!/bin/sh\necho unshare: Operation not permitted >&2\nexit 1\n")
    unshare.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoNamespacesError) as caught, Cable():
        pass
    assert "Operation not permitted" in str(caught.value) and "as root" in str(caught.value)
    unshare.unlink()
    with pytest.raises(NoNamespacesError, match="unshare is missing: sudo apt install"), Cable():
        pass


def test_what_waits_for_an_interface_gives_up_in_the_end():
    command = [sys.executable, "-I", "-S", "-c", two_hosts.RUNS]
    assert subprocess.run([*command, "lo", "1", "runs"]).returncode == 0
    assert subprocess.run([*command, "lo", "0.1", "stands"]).returncode == 1
    assert subprocess.run([*command, "lo", "0", "runs"]).returncode == 1
