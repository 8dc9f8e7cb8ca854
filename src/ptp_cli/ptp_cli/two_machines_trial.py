# SPDX-License-Identifier: Apache-2.0
"""Trial of practice on one host with the learner on another, while their link is cut."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptp_bringup.two_hosts import Cable, Host
from ptp_core.episodes.session_store import Session
from ptp_core.errors import EpisodeError
from ptp_nodes.tools.soak.soak_run import RunningStack, lost_episodes

TICK = 0.1  # s
LEARNED = re.compile(r"\[learner\]: weights (\d+) after \d+ updates, (\d+) episodes")
TAKEN = re.compile(r"\[policy\]: weights \w+\+(\d+) in use")


@dataclass(frozen=True)
class TrialSettings:
    """Settings of the trial: the time without link, and the practice run."""

    cut: float  # s
    patience: float  # s for any single step of the trial, after which it has failed
    checkpoint: str  # folder
    out: Path
    max_steps: int  # control steps an episode
    params_file: str = ""  # of both stacks


@dataclass
class TrialReport:
    """Result of the trial. Times in s, counts of confirmed episodes."""

    found: float = -1.0  # from the start until the policy used weights of the far learner
    at_cut: int = 0  # episodes recorded when the cable was cut
    learned_at_cut: int = 0  # of them, those that the learner had
    recorded_in_cut: int = 0  # further episodes during the cut
    learned_in_cut: int = 0  # of them, those that the learner got during the cut: must be 0
    caught_up: float = -1.0  # from reconnection until the learner had all of these episodes
    in_use: float = -1.0  # from reconnection until the policy used weights learned from them
    recorded: int = 0  # episodes at the end
    lost: int = 0  # of them, missing or unreadable ones
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether practice continued, the learner caught up and no episode was lost."""
        went_on = self.recorded_in_cut > 0 and self.learned_in_cut == 0
        return not self.problem and went_on and self.in_use >= 0 and self.lost == 0

    def as_dict(self) -> dict[str, Any]:
        """Flat figures for a JSON file."""
        return {"passed": self.passed, **asdict(self)}


class TrialError(Exception):
    """A step of the trial did not happen in time."""


class Trial:
    """One run of the trial; ``progress`` gets a text for each step that it waits for."""

    def __init__(
        self, settings: TrialSettings, progress: Callable[[str], None] = lambda what: None
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._recordings = settings.out / "robot" / "recordings"

    def run(self) -> TrialReport:
        """Run the trial and stop both stacks at its end. Raises NoNamespacesError."""
        report = TrialReport()
        with Cable() as cable:
            with (
                self._stack(cable.far, cable.robot, "only:=learner") as self._far,
                self._stack(cable.robot, cable.far, "without:=learner") as self._robot,
            ):
                try:
                    self._go_through(cable, report)
                except TrialError as error:
                    report.problem = str(error)
            report.recorded = self._recorded()
            report.lost = lost_episodes(self._recordings, report.recorded)
        return report

    def _go_through(self, cable: Cable, report: TrialReport) -> None:
        began = time.monotonic()
        self._await(lambda: self._used() > 0, "weights of the far learner")
        report.found = time.monotonic() - began
        cable.cut()
        report.at_cut, report.learned_at_cut = self._recorded(), self._learned()
        end = time.monotonic() + self._settings.cut
        self._await(
            lambda: time.monotonic() > end and self._recorded() > report.at_cut,
            "episodes without the learner",
        )
        # One more episode may be recorded, but not yet requested or learned from.
        report.recorded_in_cut = self._recorded() - report.at_cut
        report.learned_in_cut = max(0, self._learned() - report.at_cut)
        due = self._recorded()
        cable.restore()
        mended = time.monotonic()
        self._await(lambda: self._learned() >= due, "the learner to catch up")
        report.caught_up = time.monotonic() - mended
        newest = min(version for version, episodes in self._weights() if episodes >= due)
        self._await(lambda: self._used() >= newest, "weights learned from all episodes")
        report.in_use = time.monotonic() - mended

    @contextlib.contextmanager
    def _stack(self, host: Host, peer: Host, share: str) -> Iterator[RunningStack]:
        folder = self._settings.out / host.name
        folder.mkdir(parents=True, exist_ok=True)
        words = [
            share,
            f"checkpoint:={self._settings.checkpoint}",
            f"output:={folder}",
            f"params_file:={self._settings.params_file}",
            f"max_steps:={self._settings.max_steps}",
            *("episodes:=100000", "record_images:=false", "learn_from:=all"),
        ]
        prefix = [*host.prefix, "env", f"ROS_STATIC_PEERS={peer.address}"]
        stack = RunningStack("practice", words, folder / "nodes.log", prefix)
        try:
            yield stack
        finally:
            stack.stop()

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._settings.cut + self._settings.patience
        while not condition():
            self._progress(what)
            for stack, name in ((self._robot, "robot"), (self._far, "far")):
                if not stack.running:
                    last = " | ".join(stack.lines[-3:])
                    raise TrialError(f"the {name} side ended by itself: {last}")
            if time.monotonic() > deadline:
                raise TrialError(f"waited {self._settings.patience:g} s for {what}")
            time.sleep(TICK)

    def _recorded(self) -> int:
        if not self._recordings.is_dir():
            return 0
        with contextlib.suppress(EpisodeError):
            return len(Session(self._recordings).entries())
        return 0

    def _weights(self) -> list[tuple[int, int]]:
        """(version, episodes learned from) of the weights that the far learner published."""
        found = (LEARNED.search(line) for line in list(self._far.lines))
        return [(int(match[1]), int(match[2])) for match in found if match]

    def _learned(self) -> int:
        return max((episodes for _, episodes in self._weights()), default=0)

    def _used(self) -> int:
        """Newest version of the far learner's weights that the policy uses; 0: none yet."""
        found = (TAKEN.search(line) for line in list(self._robot.lines))
        return max((int(match[1]) for match in found if match), default=0)
