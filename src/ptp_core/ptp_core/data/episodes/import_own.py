# SPDX-License-Identifier: Apache-2.0
"""Our own episodes as candidates for a data set: pictures that the policy saw, actions taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptp_core.data.episodes import definitions as kinds
from ptp_core.data.episodes.assemble import assemble
from ptp_core.data.episodes.audit import AUDIT_FILE
from ptp_core.data.episodes.bag_reader import (
    check_definitions,
    custom_data,
    open_bag,
    read_rows,
)
from ptp_core.data.episodes.candidate import Candidate
from ptp_core.data.episodes.definitions import Definitions
from ptp_core.data.episodes.episode import EpisodeInfo
from ptp_core.data.episodes.store import read_json

MISSING = "an observation, state or step is missing"
NO_PICTURE = "its picture is missing"


def is_own(folder: Path) -> bool:
    """Whether the bag in ``folder`` is an episode of ours."""
    return bool(custom_data(folder))


def read_own(folder: Path, definitions: Definitions, label: str) -> Candidate:
    """Candidate of one of our bags, whose label is ``label``.

    The steps are those of the live path: the same assembly from the same messages.
    """
    text = custom_data(folder)
    info = EpisodeInfo.from_text(text, str(folder))
    pictures: dict[int, np.ndarray] = {}
    with open_bag(folder) as reader:
        check_definitions(reader, definitions, folder)
        episode, _ = assemble(info, read_rows(reader), text.get("end_reason", ""))
        wanted = set(episode.observation_seqs[:-1].tolist())
        observations = [c for c in reader.connections if c.msgtype == kinds.OBSERVATION]
        for connection, _, data in reader.messages(observations):
            message = reader.deserialize(data, connection.msgtype)
            if message.seq in wanted:
                picture = _picture(message.image)
                if picture is not None:
                    pictures[message.seq] = picture
    # One camera has one size: a picture of another one is damaged.
    shape = next(iter(pictures.values())).shape if pictures else (0, 0, 3)
    images = np.zeros((episode.count, *shape), np.uint8)
    refused: list[str | None] = []
    for step, seq in enumerate(episode.observation_seqs[:-1].tolist()):
        picture = pictures.get(seq)
        if picture is not None and picture.shape != shape:
            picture = None
        if picture is not None:
            images[step] = picture
        reason = NO_PICTURE if picture is None else None
        refused.append(MISSING if episode.breaks[step] else reason)
    return Candidate(
        name=folder.name,
        images=images,
        actions=episode.actions,
        refused=refused,
        attributes={
            "primitive": info.task or "demonstration",
            "success": label == "success",
            "label": label,
            "episode_id": info.episode_id,
            "session_id": info.session_id,
            "interventions": episode.interventions,
        },
        figures=_figures(folder, label),
        translation=info.translation,
        rotation=info.rotation,
    )


def _picture(image) -> np.ndarray | None:
    shape = (image.height, image.width, 3)
    if image.encoding != "rgb8" or not len(image.data) or len(image.data) != np.prod(shape):
        return None
    return image.data.reshape(shape)


def _figures(folder: Path, label: str) -> dict:
    """Rate, gaps and age of the pictures as the recorder audited them."""
    path = folder / AUDIT_FILE
    audit = read_json(path, "no audit") if path.exists() else {"topics": {}}
    found = [t for t in audit["topics"].values() if t["type"] == kinds.OBSERVATION]
    topic = found[0] if found else {}
    return {
        "label": label,
        "seconds": audit.get("seconds"),
        "image_rate_hz": topic.get("rate_hz"),
        "longest_image_gap_s": topic.get("longest_gap_s"),
        "lost_images": topic.get("lost"),
        "image_age_s": topic.get("age_s"),
    }
