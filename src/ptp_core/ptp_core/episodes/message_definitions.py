# SPDX-License-Identifier: Apache-2.0
"""Message definitions for bags: text, hash, decoding of CDR bytes, and the upgrade of format 1.

The standard types are rosbags' definitions of ROS 2 Jazzy. Ours are read from the installed
interface package, so that a bag contains the definitions that the nodes used.

Recordings of format 1 have one image, 144 indices and five action dimensions. Their bags contain
their definitions, so only the hashes by which their types are recognised are kept here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ptp_core.data.trajectory import CAMERA
from ptp_core.errors import EpisodeError

PACKAGE = "ptp_interfaces"

IMAGE = "sensor_msgs/msg/Image"
OBSERVATION = f"{PACKAGE}/msg/Observation"
LATENT = f"{PACKAGE}/msg/Latent"
LATENT_ARRAY = f"{PACKAGE}/msg/LatentArray"
GOAL = f"{PACKAGE}/msg/Goal"
ARM_STATE = f"{PACKAGE}/msg/ArmState"
STEP_INFO = f"{PACKAGE}/msg/StepInfo"
STEP_RECORD = f"{PACKAGE}/msg/StepRecord"
PLAN = f"{PACKAGE}/msg/SubgoalPlan"
EPISODE_STATUS = f"{PACKAGE}/msg/EpisodeStatus"

FORMAT_1_ACTIONS = ("dx", "dy", "dz", "dyaw", "gripper")
FORMAT_1_HASHES = {  # type -> its hash in format 1; other types did not change
    OBSERVATION: "RIHS01_d673fa20ce49bab4de16abb28c5e3388b3caf81a14a63dff9a0cb1eb4a764798",
    LATENT: "RIHS01_3203dde9e05481e45872a43335c98787c518aac838be057a94a60c233e4a8129",
    STEP_INFO: "RIHS01_530d25b2386393aaf753db3c5115368d42537f11833259dbec18e86e40dea6b1",
    PLAN: "RIHS01_60aeced8f52770bbb0724e96cbe99bbd07696884dd5ba24281f5bf638fc69853",
    STEP_RECORD: "RIHS01_620209b08d9c8ed683597351b770630073c293746ea25383830e1a1e54b7ccdb",
}


class Definitions:
    """All message types that our bags may contain.

    Raises EpisodeError where the interface package is not installed or a definition is broken.
    """

    def __init__(self, folders: Iterable[Path] | None = None) -> None:
        self.store = get_typestore(Stores.ROS2_JAZZY)
        folder = _find(installed_prefixes() if folders is None else folders)
        types: dict[str, Any] = {}
        try:
            for path in sorted(folder.glob("*.msg")):
                name = f"{PACKAGE}/msg/{path.stem}"
                types.update(get_types_from_msg(path.read_text(encoding="utf-8"), name))
            self.store.register(types)
        except Exception as error:  # the parser raises many types
            raise EpisodeError(f"{folder}: message definitions cannot be read ({error})") from None

    def text(self, kind: str) -> str:
        """Definition of the type ``kind`` ("package/msg/Name") with its dependencies."""
        return self.store.generate_msgdef(kind, ros_version=2)[0]

    def hash(self, kind: str) -> str:
        """Type hash of REP 2016, as ``ros2 topic info -v`` shows it: "RIHS01_…"."""
        return self.store.hash_rihs01(kind)

    def decode(self, kind: str, data: bytes) -> Any:
        """Decode CDR bytes into a message of the type ``kind``; arrays are numpy."""
        try:
            return self.store.deserialize_cdr(data, kind)
        except Exception as error:  # damaged bytes raise many types
            raise EpisodeError(f"{kind}: {len(data)} bytes cannot be decoded ({error})") from None

    def encode(self, message: Any) -> bytes:
        """Encode a message of this store's types as CDR bytes."""
        return bytes(self.store.serialize_cdr(message, message.__msgtype__))


def installed_prefixes() -> list[Path]:
    """Folders that ROS 2 packages are installed in, from AMENT_PREFIX_PATH."""
    return [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]


def upgrade_format_1(kind: str, message: Any, definitions: Definitions) -> Any:
    """Convert ``message``, of the type ``kind`` in format 1, to the type of ``definitions``."""
    types = definitions.store.types

    def latent(codes: np.ndarray, *stacked: int) -> Any:
        shape = [*stacked, len(codes) // max(stacked[0], 1)] if stacked else [len(codes)]
        return types[LATENT_ARRAY](
            shape=np.array(shape if len(codes) else [], np.uint32),
            indices=np.asarray(codes, np.uint32),
            values=np.zeros(0, np.float32),
            encoder_id=message.encoder_id if len(codes) else "",
        )

    changed: dict[str, Any] = {}
    if kind == OBSERVATION:
        changed = {"cameras": [CAMERA], "images": [message.image]}
    elif kind == LATENT:
        empty = message.error_code != 0
        changed = {"latent": latent(message.codes[: 0 if empty else None])}
    elif kind == STEP_INFO:
        changed = {
            "latent": latent(message.codes),
            "target": latent(message.target_codes),
            "action_names": list(FORMAT_1_ACTIONS),
        }
    elif kind == PLAN:
        changed = {
            "start": latent(message.start_codes),
            "goal": latent(message.goal_codes),
            "subgoals": latent(message.codes, message.count),
            "images": message.pictures,
        }
    if kind in (OBSERVATION, LATENT):
        changed |= {"proprioception_names": [], "proprioception": np.zeros(0, np.float32)}
    names = [name for name, _ in definitions.store.fielddefs[kind][1]]
    kept = {name: getattr(message, name) for name in names if name not in changed}
    return types[kind](**kept, **changed)


def _find(prefixes: Iterable[Path]) -> Path:
    for prefix in prefixes:
        folder = prefix / "share" / PACKAGE / "msg"
        if folder.is_dir():
            return folder
    raise EpisodeError(
        f"the message definitions of {PACKAGE} are not found on AMENT_PREFIX_PATH: "
        "build the workspace and source its set-up file"
    )
