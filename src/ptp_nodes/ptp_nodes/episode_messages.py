# SPDX-License-Identifier: Apache-2.0
"""Episodes of the recorder as messages."""

from __future__ import annotations

import array

import numpy as np
from ptp_interfaces.msg import EpisodeRecord

from ptp_core.data.episodes.episode import Episode

_TYPECODES = {np.dtype(np.uint16): "H", np.dtype(np.uint32): "I", np.dtype(np.float32): "f"}


def episode_record(episode: Episode) -> EpisodeRecord:
    """EpisodeRecord of an episode."""
    record = EpisodeRecord(
        number=episode.number,
        session_id=episode.info.session_id,
        episode_id=episode.info.episode_id,
        task=episode.info.task,
        protocol=episode.info.protocol,
        label=episode.label,
        encoder_id=episode.encoder_id,
        count=episode.count,
        breaks=episode.breaks.tolist(),
        weights_versions=list(episode.weights_versions),
        has_goal=episode.goal_codes is not None,
        end_reason=episode.end_reason,
    )
    record.codes = _array(episode.codes)
    record.observation_seqs = _array(episode.observation_seqs)
    record.actions = _array(episode.actions)
    record.sources = array.array("B", episode.sources.tobytes())
    record.target_codes = _array(episode.target_codes)
    record.rewards = _array(episode.rewards)
    if episode.goal_codes is not None:
        record.goal_codes = np.asarray(episode.goal_codes, np.uint16)
    return record


def _array(values: np.ndarray) -> array.array:
    """Flat array, taken as it is; a list would be checked number by number."""
    return array.array(_TYPECODES[values.dtype], np.ascontiguousarray(values).tobytes())
