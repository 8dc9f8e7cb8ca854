# SPDX-License-Identifier: Apache-2.0
"""Ask where an agent loses success: run the parts of a diagnosis, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ptp_core.agents.registry import build_agent
from ptp_core.config import DataConfig
from ptp_core.data.collect_demonstrations import make_environment
from ptp_core.data.dataset import Dataset
from ptp_core.data.encoded_dataset import EncodedDataset, encode_for
from ptp_core.data.env_spec import spec_of
from ptp_core.diagnosis import PARTS
from ptp_core.diagnosis.critic_ranking import critic_ranking, held_out
from ptp_core.diagnosis.leg_judgements import leg_judgements
from ptp_core.diagnosis.oracle import oracle_success
from ptp_core.diagnosis.plan_errors import plan_errors, told_planner
from ptp_core.diagnosis.probes import MOST_FRAMES, first_frames, position_probes
from ptp_core.diagnosis.single_primitives import primitive_success
from ptp_core.errors import DatasetError, PtpError
from ptp_core.progress import Bar
from ptp_core.rollout.evaluation import ORACLE_SIGNAL, EvaluationConfig, as_declared
from ptp_core.training.checkpoint import load_checkpoint

EXPERT_SIGNAL = "primitives: the goal is the expert's last image of the same scene"
STAGE_SIGNAL = "legs: networks are judged by images of the ends of the scripted plan's stages"
PROBED = 6  # regressions of `position_probes`

Result = dict[str, Any]


def run_diagnosis(
    config: EvaluationConfig,
    *,
    data: Path | None = None,
    parts: Sequence[str] = PARTS,
    progress: bool = True,
    save: Callable[[Result], None] = lambda result: None,
) -> Result:
    """Run ``parts`` with one torch thread; ``save`` is called with the result after each of them.

    ``data``: folder of demonstrations, for "probes", "critic" and "plans". The result holds the
    settings of ``config`` and for each part its figures, as the part's function documents them.
    "without": {part: why it did not run, or not to its end}; the others run nevertheless.
    "finished" is False after Ctrl-C, and "interrupted" names the part whose figures are
    incomplete.

    Raises InputError, ConfigError, CheckpointError and DatasetError before any work where
    settings, checkpoint or data cannot be used at all.
    """
    config.check()
    config = as_declared(config)
    questions = _Questions(config, None if data is None else Dataset(data))
    result: Result = {
        **config.settings(),
        "tasks": list(config.tasks),
        "episodes": config.episodes,
        "data": None if questions.data is None else questions.data.description,
        "parts": list(parts),
        "without": {},
        "finished": False,
        "privileged": _privileged(parts),
    }
    part = ""
    try:
        with _one_thread():
            for part in parts:
                try:
                    _ask(questions, part, result, progress)
                except PtpError as error:
                    result["without"][part] = str(error)
                save(result)
        result["finished"] = True
    except KeyboardInterrupt:
        result["interrupted"] = part
    finally:
        questions.env.close()
    save(result)
    return result


def _ask(questions: _Questions, part: str, result: Result, progress: bool) -> None:
    """Run one part; its newest figures are always in ``result``."""
    total = questions.totals[part]
    with Bar(total=total, unit="step", desc=part, disable=not progress) as bar:
        for figures in getattr(questions, part)(bar):
            result[part] = figures
            bar.update(1)


class _Questions:
    """The parts by their names: each method gives the figures so far, again and again."""

    def __init__(self, config: EvaluationConfig, data: Dataset | None) -> None:
        self.config, self.data = config, data
        self.checkpoint = load_checkpoint(config.checkpoint)
        self.agent = build_agent(config.method, self.checkpoint, config.options())
        self.env = make_environment(config.env, config.env_kwargs)
        self.named = spec_of(self.env, config.env).primitives
        self.draw = {
            "protocol": config.protocol,
            "episodes": config.episodes,
            "seed": config.seed,
        }
        self.totals = {
            "oracle": 2 * len(config.tasks) * config.episodes,
            "primitives": len(self.named) * config.episodes,
            "probes": PROBED,
            "critic": 1,
            "plans": 1,
            "legs": len(config.tasks) * config.episodes,
        }

    def oracle(self, bar: Bar) -> Iterable[Mapping[str, Any]]:
        tasks, steps = self.config.tasks, self.config.max_steps
        return oracle_success(self.env, self.agent, tasks, max_steps=steps, **self.draw)

    def primitives(self, bar: Bar) -> Iterable[Mapping[str, Any]]:
        return primitive_success(self.env, self.agent, self.named, **self.draw)

    def probes(self, bar: Bar) -> Iterable[Mapping[str, Any]]:
        vqvae, data = self.checkpoint.vqvae, _needed(self.data)
        bar.total = min(MOST_FRAMES, len(data)) + PROBED
        return position_probes(vqvae, *first_frames(data, progress=bar.update))

    def critic(self, bar: Bar) -> Iterable[Mapping[str, Any]]:
        iql, encoded = self.checkpoint.iql, self._encoded(bar)
        return [critic_ranking(iql, self.checkpoint.vqvae, encoded, self.config.seed)]

    def plans(self, bar: Bar) -> Iterable[Mapping[str, Any]]:
        told_planner(self.agent)  # or raise before images are encoded
        return [plan_errors(self.agent, self._encoded(bar), self.config.seed)]

    def legs(self, bar: Bar) -> Iterable[Mapping[str, Any]]:
        return leg_judgements(self.env, self.agent, self.config.tasks, **self.draw)

    def _encoded(self, bar: Bar) -> EncodedDataset:
        """Codes of held-out demonstrations; one step of ``bar`` is left."""
        data = _needed(self.data)

        def encoding(done: int, images: int) -> None:
            bar.total = images + 1  # the question itself is the last step
            bar.update(done - bar.n)

        settings = getattr(self.checkpoint.config, "data", DataConfig())
        return encode_for(self.checkpoint, held_out(data, settings.training_fraction), encoding)


def _needed(data: Dataset | None) -> Dataset:
    if data is None:
        raise DatasetError("needs demonstrations: name their folder with --data")
    return data


def _privileged(parts: Sequence[str]) -> list[str]:
    signals = {"oracle": ORACLE_SIGNAL, "primitives": EXPERT_SIGNAL, "legs": STAGE_SIGNAL}
    return [signal for part, signal in signals.items() if part in parts]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
