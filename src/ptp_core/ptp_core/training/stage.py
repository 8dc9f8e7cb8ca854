# SPDX-License-Identifier: Apache-2.0
"""The training loop of all stages: budget, progress, interruption, resumable state."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any, Literal, SupportsFloat

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from ptp_core.config import to_dict
from ptp_core.data.encoded_dataset import EncodedDataset
from ptp_core.data.file_limits import MOST_STATE, OverBudget, parse_json, read_bytes
from ptp_core.data.files import differences, said, write_atomically
from ptp_core.errors import CheckpointError, ConfigError
from ptp_core.learning.gradient_step import Metrics
from ptp_core.progress import Bar
from ptp_core.training.scalar_log import ScalarLog

# What json, safetensors, torch and numpy raise for a state that is damaged or does not fit.
MISFITS = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RuntimeError),
    SafetensorError,
)
SETTINGS = ("config", "seed", "stage")  # of a fingerprint; other keys: earlier stages

FINAL_RATE = 0.02  # of the learning rate, at the end of a cosine decay


def choose_device(name: str) -> torch.device:
    """The device for "cpu", "cuda" or "auto" (CUDA where there is one).

    Raises ConfigError for "cuda" where torch finds none.
    """
    found = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if found else "cpu"
    if name == "cuda" and not found:
        raise ConfigError(
            f"device is cuda, and torch {torch.__version__} finds no GPU: install a driver and a "
            "torch built for it, or take device auto or cpu"
        )
    return torch.device(name)


def without_budget(settings: Any, *others: str) -> dict[str, Any]:
    """Return the settings that a resumed stage must share; its budget may be longer.

    ``others``: further fields that may change.
    """
    values = to_dict(settings)
    for name in ("steps", "max_minutes", *others):
        values.pop(name)
    return values


def encoded_fingerprint(
    settings: Any, seed: int, data: EncodedDataset, *others: str
) -> dict[str, Any]:
    """Inputs of a stage on encoded trajectories, without its budget and the fields ``others``."""
    return {
        "config": without_budget(settings, *others),
        "seed": seed,
        "encoder_id": data.encoder_id,
        "content": data.content_hash(),
    }


@dataclass
class StageState:
    """The networks of a stage, its random generators and its progress."""

    modules: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]
    seed: InitVar[int]  # of both random generators
    fingerprint: dict[str, Any]  # settings and inputs that a resumed training must share
    extra: dict[str, torch.Tensor] = field(default_factory=dict)  # filled in place on resuming
    step: int = 0
    seconds: float = 0.0  # wall clock spent training
    generator: torch.Generator = field(init=False)  # draws z, revived codes, …
    rng: np.random.Generator = field(init=False)  # draws batches

    def __post_init__(self, seed: int) -> None:
        """Begin both generators."""
        self.generator = torch.Generator().manual_seed(seed)
        self.rng = np.random.default_rng(seed)

    def save(self, path: Path) -> None:
        """Write the state atomically."""
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
        """Load ``path`` if it exists and has the same inputs; return whether it was loaded.

        If results of an earlier stage differ, this stage starts again. Raises CheckpointError when
        the file is damaged, and, with the names, when settings or seed differ.
        """
        if not path.exists():
            return False
        try:
            content = read_bytes(path, MOST_STATE)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
        except OverBudget as error:
            raise CheckpointError(f"{path}: refused ({error})") from error
        try:
            size = int.from_bytes(content[:8], "little")
            header = parse_json(content[8 : 8 + size])
            stage = parse_json(header["__metadata__"]["stage"])
            if not self._same(stage["fingerprint"], path):
                return False
            tensors = load(content)
            self._restore(tensors, stage)
        except MISFITS as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"{path}: damaged ({reason}); delete it to start this stage again"
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
        # Measured distances are part of the settings, so they depend on the previous stage.
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
        step, seconds = stage["step"], stage["seconds"]
        if not (isinstance(step, int) and step >= 0 and 0.0 <= seconds < math.inf):
            raise ValueError(f"step {step!r} after {seconds!r} s")
        self.step, self.seconds = step, seconds


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of a stage; it ends at the first that is reached."""

    steps: int
    max_minutes: float = 0.0  # 0 = no limit

    def fraction(self, state: StageState) -> float:
        """Return the share that is spent, 1.0 or more when done."""
        spent = state.step / max(self.steps, 1)
        if self.max_minutes:
            spent = max(spent, state.seconds / (60 * self.max_minutes))
        return spent


def run_stage(
    name: str,
    folder: Path,
    state: StageState,
    train_step: Callable[[], Metrics],
    *,
    budget: Budget,
    decay: Literal["none", "cosine"] = "none",
    validate: Callable[[], Mapping[str, SupportsFloat]] | None = None,
    save_minutes: float = 2.0,
    log_every: int = 100,
    progress: bool = True,
    row: int = 0,
) -> dict[str, float]:
    """Train until the budget is spent; resume from the state in ``folder``.

    Saves ``folder/state.safetensors`` every ``save_minutes``, at the end, and on Ctrl-C or
    SIGTERM, which then raise KeyboardInterrupt. ``validate`` runs before each save. ``row`` is
    the terminal's row for the progress bar, where another process uses row 0. Returns the last
    scalars.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "state.safetensors"
    state.resume(path)
    log = ScalarLog(folder, state.step)
    rates = {key: opt.param_groups[0]["lr"] for key, opt in state.optimisers.items()}
    last = {
        key: float(value) for key, value in (log.rows[-1] if log.rows else {}).items() if value
    }
    begin, offset, saved = time.monotonic(), state.seconds, time.monotonic()

    def save() -> None:
        if validate is not None:
            found = {f"validation/{key}": float(value) for key, value in validate().items()}
            last.update(found)
            log.write(state.step, state.seconds, last_scalars())
        state.save(path)

    def last_scalars() -> dict[str, float]:
        return {key: value for key, value in last.items() if key not in ("step", "seconds")}

    first = state.step
    with _interruptions() as interrupted, _bar(name, budget, state, progress, row) as bar:
        try:
            while budget.fraction(state) < 1.0:
                if decay == "cosine":
                    _set_rates(state, rates, min(budget.fraction(state), 1.0))
                metrics = train_step()
                state.step += 1
                state.seconds = offset + time.monotonic() - begin
                if state.step % log_every == 0:
                    last.update({key: float(value) for key, value in metrics.items()})
                    rate = (state.step - first) / max(time.monotonic() - begin, 1e-9)
                    last["steps_per_second"] = rate
                    log.write(state.step, state.seconds, last_scalars())
                    _show(bar, last)
                _advance(bar, budget, state)
                if interrupted.is_set():
                    save()
                    raise KeyboardInterrupt
                if time.monotonic() - saved > 60 * save_minutes:
                    save()
                    saved = time.monotonic()
            if state.step > first or not path.exists():
                save()
        finally:
            log.close()
    return last_scalars()


def run_as_configured(
    name: str,
    folder: Path,
    state: StageState,
    train_step: Callable[[], Metrics],
    settings: Any,
    config: Any,
    *,
    validate: Callable[[], Mapping[str, SupportsFloat]],
    progress: bool,
    row: int = 0,
    share: float = 1.0,
) -> dict[str, float]:
    """`run_stage` with budget and decay of ``settings``; saving and logging of ``config``.

    ``share``: share of the settings' minutes. The scalars include steps and seconds.
    """
    scalars = run_stage(
        name,
        folder,
        state,
        train_step,
        budget=Budget(steps=settings.steps, max_minutes=settings.max_minutes * share),
        decay=settings.learning_rate_decay,
        validate=validate,
        save_minutes=config.save_minutes,
        log_every=config.log_every,
        progress=progress,
        row=row,
    )
    return {**scalars, "steps": state.step, "seconds": state.seconds}


def _set_rates(state: StageState, rates: dict[str, float], fraction: float) -> None:
    scale = FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * fraction))
    for key, optimiser in state.optimisers.items():
        for group in optimiser.param_groups:
            group["lr"] = rates[key] * scale


def _bar(name: str, budget: Budget, state: StageState, progress: bool, row: int) -> Bar:
    """Show steps, or seconds where minutes limit the stage, so that the time left is right."""
    unit, total, start = "step", budget.steps, state.step
    if budget.max_minutes:
        unit, total, start = "s", round(60 * budget.max_minutes), round(state.seconds)
    return Bar(
        total=total, initial=start, unit=unit, desc=name, disable=not progress, position=row
    )


def _advance(bar: Bar, budget: Budget, state: StageState) -> None:
    position = state.seconds if budget.max_minutes else state.step
    bar.update(min(int(position), bar.total) - bar.n)


def _show(bar: Bar, last: dict[str, float]) -> None:
    loss = next((value for key, value in last.items() if key.endswith("loss")), float("nan"))
    rate = last["steps_per_second"]
    bar.set_postfix_str(f"loss {loss:.4g}, {rate:.1f} steps/s", refresh=False)


@contextmanager
def _interruptions() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event, so that no optimiser step is interrupted."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, lambda *_: event.set()) for number in signals}
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
