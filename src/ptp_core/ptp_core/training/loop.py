# SPDX-License-Identifier: Apache-2.0
"""The loop that all training stages share: budget, progress, scalars, interruption, resuming."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from ptp_core.progress import Bar
from ptp_core.training.scalars import ScalarLog
from ptp_core.training.state import StageState

Metrics = dict[str, torch.Tensor]
FINAL_RATE = 0.02  # of the learning rate, at the end of a cosine decay


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When a stage ends: whichever comes first."""

    steps: int
    max_minutes: float = 0.0  # 0 = no limit

    def fraction(self, state: StageState) -> float:
        """Return how much is spent, 1.0 or more when done."""
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
    validate: Callable[[], dict[str, float]] | None = None,
    save_minutes: float = 2.0,
    log_every: int = 100,
    progress: bool = True,
    row: int = 0,
) -> dict[str, float]:
    """Train until the budget is spent; resume from ``folder`` where it was left.

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
            last.update({f"validation/{key}": value for key, value in validate().items()})
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
    validate: Callable[[], dict[str, float]],
    progress: bool,
    row: int = 0,
    share: float = 1.0,
) -> dict[str, float]:
    """`run_stage` with a budget and decay of ``settings`` and the habits of the whole ``config``.

    ``share``: part of the settings' minutes. The scalars tell steps and seconds, too.
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
    """Show steps, or seconds where the clock ends the stage: then the time left is right."""
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
    """Turn Ctrl-C and SIGTERM into an event, so that no optimiser step is torn apart."""
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
