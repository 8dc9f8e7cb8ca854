# SPDX-License-Identifier: Apache-2.0
"""Episodes of the recorder as messages."""

from __future__ import annotations

import array

from ptp_interfaces.msg import EpisodeRecord

from ptp_core.data.episodes.episode import Episode
from ptp_ros.agent_messages import flat, latent_message


def episode_record(episode: Episode) -> EpisodeRecord:
    """EpisodeRecord of an episode."""
    encoder = episode.encoder_id
    return EpisodeRecord(
        number=episode.number,
        session_id=episode.info.session_id,
        episode_id=episode.info.episode_id,
        task=episode.info.task,
        protocol=episode.info.protocol,
        instruction=episode.info.instruction,
        label=episode.label,
        count=episode.count,
        latents=latent_message(episode.latents, encoder),
        observation_seqs=flat(episode.observation_seqs),
        proprioception_names=list(episode.proprioception_names),
        proprioception=flat(episode.proprioception),
        action_names=list(episode.action_names),
        actions=flat(episode.actions),
        sources=array.array("B", episode.sources.tobytes()),
        breaks=episode.breaks.tolist(),
        weights_versions=list(episode.weights_versions),
        goal=latent_message(episode.goal, encoder),
        targets=latent_message(episode.targets, encoder),
        rewards=flat(episode.rewards),
        end_reason=episode.end_reason,
    )
