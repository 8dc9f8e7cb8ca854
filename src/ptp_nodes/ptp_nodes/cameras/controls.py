# SPDX-License-Identifier: Apache-2.0
"""Fix what a camera would choose by itself, and look whether it did as it was told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ptp_core.errors import InputError
from ptp_nodes.cameras.device import Control, Panel

# Kernel's name, then that of kernels before 5.15 or so.
AUTOMATIC: tuple[tuple[tuple[str, ...], int], ...] = (
    (("auto_exposure", "exposure_auto"), 1),  # 1 is manual, 3 aperture priority
    (("exposure_dynamic_framerate", "exposure_auto_priority"), 0),  # else 15 Hz in dim light
    (("white_balance_automatic", "white_balance_temperature_auto"), 0),
    (("focus_automatic_continuous", "focus_auto"), 0),
)
KEEP = -1  # a value that is left as the device has it


@dataclass(frozen=True)
class Wish:
    """One control that shall have a value; ``names``: as kernels call it, the newest first."""

    names: tuple[str, ...]
    value: int
    required: bool = True  # whether a device without it is worth a word


def wishes(
    *,
    exposure: int = KEEP,
    gain: int = KEEP,
    white_balance: int = KEEP,
    focus: int = KEEP,
    zoom: int = KEEP,
    power_line: int = KEEP,
    others: Iterable[str] = (),
) -> tuple[Wish, ...]:
    """What to set, in order: automatic things off first, a value is refused while they are on.

    ``exposure`` in 0.1 ms, ``white_balance`` in K, ``power_line`` in Hz (50, 60; 0: off),
    the others in the device's units; `KEEP` leaves one alone. ``others``: "name=value".
    Raises InputError for one that reads otherwise.
    """
    values = (
        (("power_line_frequency",), {0: 0, 50: 1, 60: 2}.get(power_line, KEEP)),
        (("exposure_time_absolute", "exposure_absolute"), exposure),
        (("gain",), gain),
        (("white_balance_temperature",), white_balance),
        (("focus_absolute",), focus),
        (("zoom_absolute",), zoom),
    )
    return (
        *(Wish(names, value, required=False) for names, value in AUTOMATIC),
        *(Wish(names, value) for names, value in values if value != KEEP),
        *(_other(text) for text in others if text),
    )


def _other(text: str) -> Wish:
    name, _, value = text.partition("=")
    try:
        return Wish((name.strip(),), int(value))
    except ValueError:
        raise InputError(f'control "{text}" does not read name=number, as sharpness=128') from None


def fix(panel: Panel, wanted: Sequence[Wish]) -> list[str]:
    """Set what differs and read it back; what the device did not do, each in a few words."""
    try:
        before = panel.read()
    except InputError as error:
        return [str(error)]
    if not before:
        return ["it has no controls: exposure, focus and white balance are its own choice"]
    problems, chosen = [], {}
    for wish in wanted:
        name = next((name for name in wish.names if name in before), None)
        if name is None:
            if wish.required:
                problems.append(f"it has no {wish.names[0]}")
        elif (why := _beyond(name, wish.value, before[name])) is not None:
            problems.append(why)
        else:
            chosen[name] = wish.value
    refusals = {}
    for name, value in chosen.items():
        try:
            panel.write(name, value)
        except InputError as error:
            refusals[name] = str(error)
    try:
        after = panel.read()
    except InputError as error:
        return [*problems, str(error)]
    for name, value in chosen.items():
        now = after[name].value if name in after else None
        if now != value:
            why = f" ({refusals[name]})" if name in refusals else ""
            problems.append(f"{name} is {now}, not {value}{why}")
    return problems


def _beyond(name: str, value: int, control: Control) -> str | None:
    low, high = control.minimum, control.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        return f"{name} {value} is beyond {low} to {high}"
    return None
