# SPDX-License-Identifier: Apache-2.0
"""Past evaluations, read from files, with the settings that their replay needs.

This module imports no torch, so that a report without images needs no networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptp_core.errors import InputError
from ptp_core.practice.run_folder import CHECKPOINT, STATE, PracticeRun, epoch_folder
from ptp_core.rollout.episode_results import APART

NEEDED = ("checkpoint_sha256", "env", "env_kwargs", "follower", "max_steps", "protocol")
OTHERS = (
    "reuse_plans_sha256",
    "plan_buffer",
    "finetuned_sha256",
)  # settings that name other files


@dataclass(frozen=True)
class PastEvaluation:
    """Some episodes of one task: a finished run's last ones, or those of a `ptp evaluate`."""

    source: str  # folder or file that it was read from
    settings: Mapping[str, Any]  # task, method, seed and other settings of episodes
    checkpoint: Path  # folder of the networks
    networks: Mapping[str, str] | None  # sha256 of their files; None: not checked
    episodes: int
    successes: int
    epochs: int = 0  # of practice before it
    state: Path | None = None  # folder with the plan buffer of practice
    apart: int = 0  # offset from the seed of the settings to that of the episodes

    @classmethod
    def of_run(cls, run: PracticeRun) -> PastEvaluation:
        """A run's last evaluation. Raises InputError for a run that is not finished."""
        if not run.finished:
            raise InputError(f"{run.folder}: not finished, so it has no networks yet")
        last, count = run.evaluations[-1], len(run.epochs)
        return cls(
            source=str(run.folder),
            settings=_acting_as_evaluated(run.settings),
            checkpoint=run.folder / CHECKPOINT,
            networks=None,
            episodes=last["episodes"],
            successes=last["successes"],
            epochs=count,
            state=epoch_folder(run.folder, count - 1) / STATE,
            apart=APART,
        )

    @classmethod
    def of_figures(
        cls, source: str, values: Mapping[str, Any], task: str, checkpoint: Path
    ) -> PastEvaluation:
        """A task's evaluation in the JSON of `ptp evaluate`, with the networks that it names.

        Raises InputError where settings are missing, or where it also depends on other files.
        """
        if missing := [name for name in NEEDED if name not in values]:
            raise InputError(f'{source}: no "{missing[0]}", so its episodes cannot be done again')
        if others := [name for name in OTHERS if values.get(name)]:
            raise InputError(f"{source}: made with {others[0]}, which it does not hold")
        settings = {name: value for name, value in values.items() if name != "tasks"}
        return cls(
            source=source,
            settings={**settings, "task": task},
            checkpoint=checkpoint,
            networks=values["checkpoint_sha256"],
            episodes=values["tasks"][task]["episodes"],
            successes=values["tasks"][task]["successes"],
        )


def _acting_as_evaluated(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run's evaluations, which take the policy's mean action."""
    follower = {**settings.get("follower", {}), "sample_actions": False}
    return {**settings, "follower": follower}
