# SPDX-License-Identifier: Apache-2.0
"""lerobot's own loader reads an export; only where there is an environment with lerobot.

PTP_TEST_LEROBOT names the Python of that environment: lerobot cannot be in ours.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ptp_core.data.demo_file import write_file
from ptp_core.exchange.exchange_testing import DESCRIPTION, demonstration
from ptp_core.exchange.export_lerobot import export_lerobot
from ptp_core.exchange.export_sources import ExportSources
from ptp_core.exchange.lerobot_writer import LerobotOptions

pytest.importorskip("pyarrow")
pytest.importorskip("av")

PYTHON = os.environ.get("PTP_TEST_LEROBOT", "")
pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="PTP_TEST_LEROBOT names no Python with lerobot"),
    pytest.mark.timeout(900),
]

LOAD = """
import json, sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset
data = LeRobotDataset("local/test", root=sys.argv[1])
item = data[15]
print(json.dumps({
    "frames": len(data), "episodes": data.meta.total_episodes, "task": item["task"],
    "action": item["action"].tolist(), "state": item["observation.state"].tolist(),
    "small": item["observation.images.camera"].mean((1, 2)).tolist(),
    "wide": item["observation.images.wide"].mean((1, 2)).tolist(),
    "mean": data.meta.stats["action"]["mean"].tolist(),
}))
"""


def run(*command):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lerobot")
    sizes = {"camera": (48, 48), "wide": (128, 160)}
    demos = [demonstration(n, steps=12, cameras=sizes) for n in range(3)]
    write_file(folder / "data.h5", DESCRIPTION, demos)
    export_lerobot(ExportSources([folder / "data.h5"]), folder / "out", LerobotOptions(fps=1))
    return folder / "out", demos


def test_lerobot_loads_what_was_exported(exported):
    folder, demos = exported
    found = json.loads(run(PYTHON, "-c", LOAD, folder).splitlines()[-1])
    assert (found["frames"], found["episodes"]) == (36, 3)
    assert found["task"] == demos[1].metadata.instruction
    assert found["action"] == pytest.approx(demos[1].actions[3].tolist())
    assert found["state"] == pytest.approx(demos[1].proprioception[3].tolist())
    for camera, tolerance in (("small", 1e-5), ("wide", 2 / 255)):
        name = "camera" if camera == "small" else camera
        wanted = demos[1].images[name][3].mean((0, 1)) / 255
        assert found[camera] == pytest.approx(wanted, abs=tolerance)
    actions = np.concatenate([demo.actions for demo in demos])
    assert found["mean"] == pytest.approx(actions.mean(0), abs=1e-6)


def test_lerobot_doctor_finds_no_failure(exported):
    doctor = Path(PYTHON).with_name("lerobot-doctor")
    if not doctor.exists():
        pytest.skip("lerobot-doctor is not in that environment")
    assert "FAIL" not in run(doctor, "check", exported[0])
