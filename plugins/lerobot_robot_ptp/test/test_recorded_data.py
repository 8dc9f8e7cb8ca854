# SPDX-License-Identifier: Apache-2.0
"""The mapping for what lerobot-record records of the arm. No LeRobot."""

import json
from pathlib import Path

import numpy as np
import pytest

from lerobot_robot_ptp.action_units import FEATURES
from ptp_cli.main import main
from ptp_core.data.dataset import Dataset
from ptp_core.data.demo_file import write_file
from ptp_core.exchange.exchange_testing import DESCRIPTION, demonstration

pytest.importorskip("pyarrow")
pytest.importorskip("av")

MAPPING = Path(__file__).resolve().parents[3] / "config" / "import" / "ptp_arm.yaml"


def test_recorded_actions_come_back_as_they_were(tmp_path):
    demos = [demonstration(n, steps=20) for n in range(2)]
    write_file(tmp_path / "data.h5", DESCRIPTION, demos)
    folder = tmp_path / "out"
    assert main(["export", "lerobot", str(tmp_path / "data.h5"), "-o", str(folder)]) == 0
    (folder / "meta" / "ptp.json").unlink()  # lerobot-record writes none
    info = json.loads((folder / "meta" / "info.json").read_text())
    info["features"]["action"]["names"] = list(FEATURES)
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    back = tmp_path / "back.h5"
    assert (
        main(["import", "lerobot", str(folder), "-o", str(back), "--mapping", str(MAPPING)]) == 0
    )
    for demo, found in zip(demos, Dataset(back), strict=True):
        assert np.allclose(found.actions, demo.actions, atol=1e-5)
        assert np.array_equal(found.proprioception, demo.proprioception)
