# SPDX-License-Identifier: Apache-2.0
"""Train methods that learn from states and pursue goal states, and save a checkpoint of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ptp_core.agents.agent import AgentSpec
from ptp_core.agents.registry import method_named
from ptp_core.config import StateTrainConfig
from ptp_core.data.dataset import Dataset
from ptp_core.data.files import check_new_folder, reserved_folder
from ptp_core.data.state_dataset import StateDataset, StateSource, load_states
from ptp_core.errors import ConfigError
from ptp_core.learning.gciql import GCIQL
from ptp_core.learning.hiql import HIQL
from ptp_core.progress import Bar
from ptp_core.training.checkpoint import Part, save_checkpoint
from ptp_core.training.stage import choose_device
from ptp_core.training.state_stage import train_state_learner
from ptp_core.training.training_folder import add_metrics, begin_run
from ptp_core.training.weights import Precision

LEARNERS = {"gciql": GCIQL, "hiql": HIQL}  # method, which is also its part and its section


def pretrain_states(
    config: StateTrainConfig,
    data: str | Path,
    out: str | Path,
    *,
    methods: Sequence[str] = tuple(LEARNERS),
    precision: Precision = "float32",
    progress: bool = True,
) -> dict[str, Path]:
    """Train ``methods`` ("gciql", "hiql"); return each one's checkpoint, ``out``/METHOD.

    ``data``: a data set whose proprioception is the whole state; its images are not read. ``out``
    also holds one folder a method with its training (``out``/training/METHOD: state, scalars.csv,
    TensorBoard events), config.yaml, inputs.json and metrics.json. Run again with the same folders
    to resume; methods may be added.
    Raises KeyboardInterrupt after saving on Ctrl-C; before any work ConfigError for an unknown
    method, DatasetError for data without states or too few, and InputError where ``out`` cannot
    be used; CheckpointError where it was trained with other settings.
    """
    if unknown := [name for name in methods if name not in LEARNERS]:
        raise ConfigError(
            f'no method "{unknown[0]}" that learns from states; there are {", ".join(LEARNERS)}'
        )
    out = Path(out)
    check_new_folder(out)
    device = choose_device(config.device)
    dataset = Dataset(data)
    with Bar(total=len(dataset), unit="trajectory", desc="load", disable=not progress) as bar:
        states = load_states(dataset, bar.update)
    training, validation = states.split(config.data.training_fraction)
    for part in (training, validation):
        StateSource(part, torch.device("cpu"))  # raises where no trajectory has two frames
    metrics: dict[str, Any] = {
        "trajectories": len(states.lengths),
        "frames": len(states.states),
        "data": dataset.description,
    }
    with reserved_folder(out):
        inputs = {
            "seed": config.seed,
            "training_fraction": config.data.training_fraction,
            "data": states.content_hash(),
        }
        begin_run(out, inputs, config)
        folders = {}
        for name in dict.fromkeys(methods):
            torch.manual_seed(config.seed)
            sizes = states.states.shape[1], states.actions.shape[1]
            learner = LEARNERS[name](getattr(config, name), *sizes).to(device)
            scalars = train_state_learner(
                name,
                learner,
                config,
                training,
                out / "training" / name,
                validation=validation,
                device=device,
                progress=progress,
            )
            found = {**metrics, name: scalars}
            folders[name] = out / name
            save_checkpoint(
                folders[name],
                {name: Part(name, learner, learner.config, precision)},
                config,
                found,
                spec=state_spec(name, states),
            )
            add_metrics(out, found)
        return folders


def state_spec(name: str, data: StateDataset) -> AgentSpec:
    """The spec of a method that learned from these states: no camera, goals of kind state."""
    return AgentSpec(
        agent=name,
        cameras=(),
        actions=data.action_names,
        goals=method_named(name).goals,
        proprioception=data.state_names,
    )
