# SPDX-License-Identifier: Apache-2.0
"""What an episode begins with: the newest of every topic, from the newest observation on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ptp_core.data.episodes.bag_writer import Topic
from ptp_core.data.episodes.definitions import (
    ARM_STATE,
    LATENT,
    OBSERVATION,
    STEP_INFO,
    Definitions,
)
from ptp_core.data.episodes.recording import NUMBERED
from ptp_core.errors import EpisodeError


class Newest:
    """Keeps the newest message of each topic."""

    def __init__(self, definitions: Definitions, topics: Sequence[Topic]) -> None:
        self._definitions = definitions
        self._topics = topics
        self._newest: dict[str, bytes] = {}

    def put(self, topic: Topic, data: bytes) -> None:
        """Take a message in place of the one before."""
        self._newest[topic.name] = data

    def beginning(self, goal: Sequence[tuple[Topic, bytes]]) -> Iterator[tuple[Topic, bytes]]:
        """Those of ``goal``, then the others in the order of the topics.

        Latent and arm state that are older than the newest observation are left out (the newer
        ones are under way), and so are steps of the policy, which answer something older.
        """
        seen = [t for t in self._topics if t.kind == OBSERVATION and t.name in self._newest]
        first = max((self._number(topic) for topic in seen), default=0)
        yield from goal
        given = {topic.name for topic, _ in goal}
        for topic in self._topics:
            if topic.name in given or topic.name not in self._newest or topic.kind == STEP_INFO:
                continue
            elif topic.kind not in (LATENT, ARM_STATE) or self._number(topic) >= first:
                yield topic, self._newest[topic.name]

    def _number(self, topic: Topic) -> int:
        """Observation number of the newest message; 0 where it cannot be read."""
        try:
            message = self._definitions.decode(topic.kind, self._newest[topic.name])
        except EpisodeError:
            return 0
        return NUMBERED[topic.kind](message)
