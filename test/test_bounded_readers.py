# SPDX-License-Identifier: Apache-2.0
"""Files and texts of others are read through the readers that have bounds."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from ptp_cli.options import env_arguments
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.errors import CheckpointError, DatasetError, InputError
from ptp_core.planners.plan_buffer import PlanBuffer, load_buffers
from ptp_core.planners.plan_library import PlanLibrary, signal_of
from ptp_core.practice.rollout_worker import WEIGHTS, load_state
from ptp_core.rollout.episode_results import PartialResults
from ptp_nodes.camera.camera_device import Frame

ROOT = Path(__file__).resolve().parents[1]
# Readers without bounds; ptp_core.data has file_limits, array_limits and hdf5_guard.
UNBOUNDED = re.compile(
    r"json\.load\(|json\.loads\([^()]*(\([^()]*\))?[^()]*\.read"
    r"|yaml\.(safe_|full_|unsafe_)?load\(|(ElementTree|ET)\.parse\(|cv2\.imread\(|np\.load\("
    r"|np\.fromfile\(|pickle|torch\.load\("
    r"|(load_file|safe_open)\((?!at_most\()|csv\.(Dict)?[rR]eader\((?!io\.StringIO\()"
    r"|h5py\.File\((?!.*, .w.\))"
)
# What reads files of this program's own making alone, or has its bounds around the call.
KNOWN = {
    "src/ptp_core/ptp_core/data/array_limits.py": "np.load(",
    "src/ptp_core/ptp_core/data/file_limits.py": "yaml.load(",
    "src/ptp_core/ptp_core/data/hdf5_check.py": "h5py.File(",
    "src/ptp_core/ptp_core/data/hdf5_guard.py": "h5py.File(",
}


def unbounded(text):
    """Calls of such readers, beside comments and texts."""
    lines = [line.split("#")[0] for line in text.splitlines()]
    return [found[0] for line in lines if (found := UNBOUNDED.search(line)) and '"""' not in line]


def test_no_other_file_is_read_without_bounds():
    found = {
        str(path.relative_to(ROOT)): calls
        for path in sorted(ROOT.glob("src/*/ptp_*/**/*.py"))
        if (calls := unbounded(path.read_text(encoding="utf-8")))
    }
    assert {path: call for path, calls in found.items() for call in calls} == KNOWN


@pytest.mark.parametrize(
    "line",
    [
        "values = json.load(file)",
        'values = json.loads(path.read_text("utf-8"))',
        "values = json.loads(Path(folder, NAME).read_bytes())",
        "yaml.safe_load(text)",
        "cv2.imread(str(path))",
        "torch.load(path)",
        "load_file(path)",
        "with safe_open(path, framework='numpy') as file:",
        "rows = list(csv.DictReader(file))",
        "with h5py.File(path) as file:",
    ],
)
def test_the_rule_sees_what_it_forbids(line):
    assert unbounded(line)


def test_results_without_end_are_not_read_whole(tmp_path):
    path = tmp_path / "x.partial"
    with path.open("wb") as file:
        file.truncate(600 * 2**20)  # takes no room on the disk
    with pytest.raises(InputError, match=r"is refused \(it has more than 512 MiB"):
        PartialResults(path, {})
    path.write_text("[" * 10_000 + "\n")
    with pytest.raises(InputError, match="is damaged"):
        PartialResults(path, {})


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (EncodedDataset.load, DatasetError),
        (lambda path: PlanLibrary("e" * 64).load(path), CheckpointError),
        (signal_of, CheckpointError),
        (lambda path: load_buffers(path, [PlanBuffer(4, 2, 3)]), CheckpointError),
        (
            lambda path: load_state(SimpleNamespace(learned=nn.Linear(1, 1)), path.parent),
            CheckpointError,
        ),
    ],
    ids=["codes", "plans", "signal", "buffers", "weights"],
)
def test_safetensors_without_end_are_not_read_whole(tmp_path, read, error):
    path = tmp_path / WEIGHTS
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(error, match=r"it has more than (4|64) GiB"):
        read(path)


@pytest.mark.parametrize("value", ["[&a [x, x], *a]", "2024-99-99", "{", "[" * 10_000])
def test_an_argument_of_an_environment_is_plain_yaml(value):
    with pytest.raises(InputError, match="--env-arg size: not valid YAML"):
        env_arguments([f"size={value}"])


def test_a_frame_that_declares_more_pixels_than_a_camera_has_is_damaged():
    header = b"\xff\xd8\xff\xc0\x00\x11\x08" + b"\xff\xff" * 2 + b"\x03" + b"\x01\x22\x00" * 3
    with pytest.raises(InputError, match="is damaged"):
        _ = Frame(header + bytes(100) + b"\xff\xd9", 0.0).pixels
