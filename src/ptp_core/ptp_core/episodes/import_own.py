# SPDX-License-Identifier: Apache-2.0
"""Read our own recorded episodes for the import: the policy's observations and actions."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np

from ptp_core.episodes import message_definitions as kinds
from ptp_core.episodes.bag_reader import custom_data, messages, open_bag, read_rows
from ptp_core.episodes.episode import EpisodeInfo
from ptp_core.episodes.import_filter import Candidate
from ptp_core.episodes.message_definitions import Definitions
from ptp_core.episodes.recording_audit import AUDIT_FILE
from ptp_core.episodes.session_store import read_json
from ptp_core.episodes.transition_builder import assemble

MISSING = "an observation, state or step is missing"
NO_PICTURE = "its picture is missing"


def is_own(folder: Path) -> bool:
    """Whether the bag in ``folder`` is one of our episodes."""
    return bool(custom_data(folder))


def read_own(folder: Path, definitions: Definitions, label: str) -> Candidate:
    """Read the candidate of one of our bags, with the label ``label``.

    The steps are those that the learner received live, built by the same code from the same
    messages.
    """
    text = custom_data(folder)
    info = EpisodeInfo.from_text(text, str(folder))
    seen: dict[int, dict[str, np.ndarray]] = {}  # by observation number and camera
    with open_bag(folder) as reader:
        rows = read_rows(reader, definitions)
        episode, _ = assemble(info, rows, text.get("end_reason", ""))
        wanted = set(episode.observation_seqs[:-1].tolist())
        for _, message in messages(reader, [kinds.OBSERVATION], definitions):
            if message.seq in wanted:
                named = zip(message.cameras, message.images, strict=False)
                found = {camera: _pixels(image) for camera, image in named}
                seen[message.seq] = {c: image for c, image in found.items() if image is not None}
    # Cameras and channels of most observations; one that lacks any of them is refused.
    shapes = Counter(
        tuple((camera, image.shape) for camera, image in sorted(images.items()))
        for images in seen.values()
    )
    common = dict(shapes.most_common(1)[0][0]) if shapes else {}
    images = {
        camera: np.zeros((episode.count, *shape), np.uint8) for camera, shape in common.items()
    }
    refused: list[str | None] = []
    for step, seq in enumerate(episode.observation_seqs[:-1].tolist()):
        shown = seen.get(seq, {})
        whole = common and {camera: image.shape for camera, image in shown.items()} == common
        if whole:
            for camera, image in shown.items():
                images[camera][step] = image
        refused.append(MISSING if episode.breaks[step] else None if whole else NO_PICTURE)
    return Candidate(
        name=folder.name,
        images=images,
        actions=episode.actions,
        refused=refused,
        attributes={
            "primitive": info.task or "demonstration",
            "instruction": info.instruction,
            "success": label == "success",
            "label": label,
            "episode_id": info.episode_id,
            "session_id": info.session_id,
            "interventions": episode.interventions,
        },
        figures=_figures(folder, label),
        translation=info.translation,
        rotation=info.rotation,
        proprioception=episode.proprioception[:-1] if episode.proprioception_names else None,
        proprioception_names=episode.proprioception_names,
        action_names=episode.action_names,
    )


def _pixels(image) -> np.ndarray | None:
    """RGB uint8 (H, W, 3); None where size and bytes of the message do not match."""
    shape = (image.height, image.width, 3)
    if image.encoding != "rgb8" or not 0 < len(image.data) == math.prod(shape):
        return None
    return image.data.reshape(shape)


def _figures(folder: Path, label: str) -> dict:
    """Rate, gaps and age of the images, from the recorder's audit."""
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
