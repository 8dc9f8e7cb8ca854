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
from ptp_core.data.encoded_dataset import encode_for
from ptp_core.data.env_spec import declared_spec
from ptp_core.diagnosis import PARTS
from ptp_core.diagnosis.critic_ranking import critic_ranking, held_out
from ptp_core.diagnosis.oracle import oracle_success
from ptp_core.diagnosis.probes import first_frames, position_probes
from ptp_core.diagnosis.single_primitives import primitive_success
from ptp_core.errors import DatasetError, PtpError
from ptp_core.progress import Bar
from ptp_core.rollout.evaluation import ORACLE_SIGNAL, EvaluationConfig
from ptp_core.training.checkpoint import load_checkpoint

EXPERT_SIGNAL = "primitives: the goal is the expert's last image of the same scene"
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

    ``data``: folder of demonstrations, for "probes" and "critic". The result holds the settings
    of ``config`` and for each part its figures, as the part's function documents them.
    "without": {part: why it did not run}; the others run nevertheless. "finished" is False after
    Ctrl-C, and "interrupted" names the part whose figures are incomplete.

    Raises InputError, ConfigError, CheckpointError and DatasetError before any work where
    settings, checkpoint or data cannot be used at all.
    """
    config.check()
    spec = declared_spec(config.env, config.env_kwargs, config.tasks, config.protocol)
    checkpoint = load_checkpoint(config.checkpoint)
    demonstrations = None if data is None else Dataset(data)
    agent = build_agent(config.method, checkpoint, config.options())
    tasks, protocol = spec.choose_tasks(config.tasks), spec.choose_protocol(config.protocol)
    draw = {"protocol": protocol, "episodes": config.episodes, "seed": config.seed}
    result: Result = {
        **config.settings(),
        **draw,
        "tasks": list(tasks),
        "data": None if demonstrations is None else demonstrations.description,
        "parts": list(parts),
        "without": {},
        "finished": False,
        "privileged": _privileged(parts),
    }

    def oracle(bar: Bar) -> Iterator[Mapping[str, Any]]:
        bar.reset(total=2 * len(tasks) * config.episodes)
        return oracle_success(env, agent, tasks, max_steps=config.max_steps, **draw)

    def primitives(bar: Bar) -> Iterator[Mapping[str, Any]]:
        bar.reset(total=len(spec.primitives) * config.episodes)
        return primitive_success(env, agent, spec.primitives, **draw)

    def probes(bar: Bar) -> Iterator[Mapping[str, Any]]:
        vqvae, source = checkpoint.vqvae, _needed(demonstrations)
        bar.reset(total=PROBED)
        return position_probes(vqvae, *first_frames(source))

    def critic(bar: Bar) -> Iterable[Mapping[str, Any]]:
        iql, source = checkpoint.iql, _needed(demonstrations)
        settings = getattr(checkpoint.config, "data", DataConfig())

        def encoding(done: int, images: int) -> None:
            bar.total = images + 1  # the ranking itself is the last step
            bar.update(done - bar.n)

        part = held_out(source, settings.training_fraction)
        encoded = encode_for(checkpoint, part, encoding)
        return [critic_ranking(iql, checkpoint.vqvae, encoded, config.seed)]

    steps = {"oracle": oracle, "primitives": primitives, "probes": probes, "critic": critic}
    env = make_environment(config.env, config.env_kwargs)
    part = ""
    try:
        with _one_thread():
            for part in parts:
                try:
                    with Bar(total=1, unit="step", desc=part, disable=not progress) as bar:
                        for figures in steps[part](bar):
                            result[part] = figures
                            bar.update(1)
                except PtpError as error:
                    result["without"][part] = str(error)
                save(result)
        result["finished"] = True
    except KeyboardInterrupt:
        result["interrupted"] = part
    finally:
        env.close()
    save(result)
    return result


def _needed(data: Dataset | None) -> Dataset:
    if data is None:
        raise DatasetError("needs demonstrations: name their folder with --data")
    return data


def _privileged(parts: Sequence[str]) -> list[str]:
    signals = {"oracle": ORACLE_SIGNAL, "primitives": EXPERT_SIGNAL}
    return [signal for part, signal in signals.items() if part in parts]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
