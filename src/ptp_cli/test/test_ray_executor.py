# SPDX-License-Identifier: Apache-2.0
"""A Ray of this machine takes work from this machine alone."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ptp_cli.sweep.executors import ONE_MACHINE, RayExecutor, init_arguments
from ptp_cli.sweep.sweep_config import load_sweep

FILE = Path(__file__).resolve().parents[3] / "config" / "sweep" / "quick.yaml"
CONFIG = load_sweep(FILE)
LISTENS = "0A"  # state of a socket in /proc/net/tcp
LOOPBACKS = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def test_a_ray_of_this_machine_is_told_to_listen_on_loopback_and_without_its_dashboard():
    arguments = init_arguments("local", CONFIG, 3)
    assert arguments["_node_ip_address"] == "127.0.0.1"
    assert arguments["include_dashboard"] is False
    assert arguments["num_cpus"] == 3 * CONFIG.cores
    assert "num_cpus" not in init_arguments("local", CONFIG, None)


def test_a_cluster_is_joined_as_it_is():
    for address in ("auto", "10.0.0.7:6379", "ray://head:10001"):
        arguments = init_arguments(address, CONFIG, 3)
        assert arguments == {"address": address, "log_to_driver": False, "logging_level": "ERROR"}


@pytest.mark.parametrize(("address", "said"), [("local", "0"), ("auto", "None")])
def test_the_variable_is_set_before_ray_is_imported(tmp_path, address, said):
    # Ray reads it once. This package stands in its place and says what it would have read.
    text = f"import os, sys\nprint(os.environ.get({ONE_MACHINE!r}), flush=True)\nsys.exit()\n"
    (tmp_path / "ray.py").write_text(text)
    script = tmp_path / "start.py"
    script.write_text(
        "from pathlib import Path\n"
        "from ptp_cli.sweep.executors import RayExecutor\n"
        "from ptp_cli.sweep.sweep_config import load_sweep\n"
        f"RayExecutor({address!r}, load_sweep(Path({str(FILE)!r})))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != ONE_MACHINE}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == [said], done.stderr


def descendants(pid):
    """This process and all below it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has ended
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def listening(pids):
    """Addresses, as the kernel writes them, on which these processes take connections."""
    owned = set()
    for pid in pids:
        try:
            links = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        owned |= {found[1] for link in links if (found := re.match(r"socket:\[(\d+)\]", link))}
    addresses = []
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == LISTENS and fields[9] in owned:
                addresses.append(fields[1].split(":")[0])
    return addresses


if importlib.util.find_spec("ray") is not None:

    def test_every_process_of_a_real_one_listens_on_loopback_alone():
        executor = RayExecutor("local", CONFIG, 1)
        try:
            found = listening(descendants(os.getpid()))
        finally:
            executor.close()
        assert found and set(found) <= LOOPBACKS
