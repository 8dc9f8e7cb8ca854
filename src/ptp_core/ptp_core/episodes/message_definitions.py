# SPDX-License-Identifier: Apache-2.0
"""Message definitions for bags: text, hash, and decoding of CDR bytes.

The standard types are rosbags' definitions of ROS 2 Jazzy. Ours are read from the installed
interface package, so that a bag contains the definitions that the nodes used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore

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


def _find(prefixes: Iterable[Path]) -> Path:
    for prefix in prefixes:
        folder = prefix / "share" / PACKAGE / "msg"
        if folder.is_dir():
            return folder
    raise EpisodeError(
        f"the message definitions of {PACKAGE} are not found on AMENT_PREFIX_PATH: "
        "build the workspace and source its set-up file"
    )
