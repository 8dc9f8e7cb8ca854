# SPDX-License-Identifier: Apache-2.0
"""The resumable state of one training stage, in one safetensors file (no pickle)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from ptp_core.config import to_dict
from ptp_core.data.encoded import EncodedDataset
from ptp_core.data.files import write_atomically
from ptp_core.data.provenance import differences, said
from ptp_core.errors import CheckpointError

SETTINGS = ("config", "seed", "stage")  # of a fingerprint; the rest is what earlier stages left


def without_budget(settings: Any) -> dict[str, Any]:
    """Return the settings that a resumed stage must share: a longer budget may continue it."""
    values = to_dict(settings)
    for name in ("steps", "max_minutes"):
        values.pop(name)
    return values


def encoded_fingerprint(settings: Any, seed: int, data: EncodedDataset) -> dict[str, Any]:
    """What a stage on encoded trajectories depends on, beside its budget."""
    return {
        "config": without_budget(settings),
        "seed": seed,
        "encoder_id": data.encoder_id,
        "content": data.content_hash(),
    }


@dataclass
class StageState:
    """What a stage trains, and how far it is."""

    modules: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]
    generator: torch.Generator  # draws z, revived codes, …
    rng: np.random.Generator  # draws batches
    fingerprint: dict[str, Any]  # settings and inputs that a resumed training must share
    extra: dict[str, torch.Tensor] = field(default_factory=dict)  # filled in place on resuming
    step: int = 0
    seconds: float = 0.0  # wall clock spent training

    def save(self, path: Path) -> None:
        """Write everything atomically."""
        tensors = {f"extra/{name}": value for name, value in self.extra.items()}
        for name, module in self.modules.items():
            for key, value in module.state_dict().items():
                tensors[f"module/{name}/{key}"] = value
        for name, optimiser in self.optimisers.items():
            for index, values in optimiser.state_dict()["state"].items():
                for key, value in values.items():
                    tensors[f"optimiser/{name}/{index}/{key}"] = torch.as_tensor(value)
        tensors["generator"] = self.generator.get_state()
        tensors = {
            name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()
        }
        progress = {
            "step": self.step,
            "seconds": self.seconds,
            "rng": self.rng.bit_generator.state,
            "fingerprint": self.fingerprint,
        }
        metadata = {"stage": json.dumps(progress)}
        content = save(tensors, metadata=metadata)
        write_atomically(path, lambda partial: partial.write_bytes(content))

    def resume(self, path: Path) -> bool:
        """Load ``path`` if it exists and was made from the same inputs; say whether it did.

        What an earlier stage left may differ: then this one begins anew. Raises CheckpointError
        when the file is damaged, and, with the names, when settings or seed differ.
        """
        if not path.exists():
            return False
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
        try:
            size = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + size])
            stage = json.loads(header["__metadata__"]["stage"])
            if not self._same(stage["fingerprint"], path):
                return False
            tensors = load(content)
            self._restore(tensors, stage)
        except (ValueError, KeyError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: damaged ({error}); delete it to start this stage again"
            ) from error
        return True

    def _same(self, stored: dict[str, Any], path: Path) -> bool:
        asked = json.loads(json.dumps(self.fingerprint))
        ours, theirs = (
            {name: values[name] for name in SETTINGS if name in values}
            for values in (asked, stored)
        )
        derived = {k: v for k, v in stored.items() if k not in SETTINGS} != {
            k: v for k, v in asked.items() if k not in SETTINGS
        }
        found = differences(theirs, ours)
        # Distances that are measured stand in the settings, so they follow the stage before.
        if found and not derived:
            raise CheckpointError(
                f"{path}: trained with other settings: {said(found)}: name another --out, or "
                f"remove {path.parent} to train this stage again"
            )
        return not derived

    def _restore(self, tensors: dict[str, torch.Tensor], stage: dict[str, Any]) -> None:
        groups: dict[str, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            groups.setdefault(kind, {})[rest] = value
        for name, module in self.modules.items():
            prefix = f"{name}/"
            module.load_state_dict(
                {
                    key.removeprefix(prefix): value
                    for key, value in groups["module"].items()
                    if key.startswith(prefix)
                }
            )
        for name, optimiser in self.optimisers.items():
            state: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in groups.get("optimiser", {}).items():
                owner, index, entry = key.split("/")
                if owner == name:
                    state.setdefault(int(index), {})[entry] = value
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
        for name, value in groups.get("extra", {}).items():
            self.extra[name].copy_(value)
        self.generator.set_state(tensors["generator"])
        self.rng.bit_generator.state = stage["rng"]
        self.step, self.seconds = stage["step"], stage["seconds"]
