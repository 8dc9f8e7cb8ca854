# SPDX-License-Identifier: Apache-2.0
"""Upgrade messages of recordings of format 1 to the current types.

Format 1 has one image, 144 indices and five action dimensions. Its bags contain their message
definitions, so this module only keeps the hashes by which their types are recognised.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ptp_core.data.trajectory import CAMERA
from ptp_core.episodes.message_definitions import Definitions

FORMAT_1_ACTIONS = ("dx", "dy", "dz", "dyaw", "gripper")
FORMAT_1_HASHES = {  # type -> its hash in format 1; other types did not change
    OBSERVATION: "RIHS01_d673fa20ce49bab4de16abb28c5e3388b3caf81a14a63dff9a0cb1eb4a764798",
    LATENT: "RIHS01_3203dde9e05481e45872a43335c98787c518aac838be057a94a60c233e4a8129",
    STEP_INFO: "RIHS01_530d25b2386393aaf753db3c5115368d42537f11833259dbec18e86e40dea6b1",
    PLAN: "RIHS01_60aeced8f52770bbb0724e96cbe99bbd07696884dd5ba24281f5bf638fc69853",
    STEP_RECORD: "RIHS01_620209b08d9c8ed683597351b770630073c293746ea25383830e1a1e54b7ccdb",
}


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
