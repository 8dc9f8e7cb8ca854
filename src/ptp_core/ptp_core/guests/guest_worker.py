# SPDX-License-Identifier: Apache-2.0
"""The guest's side: makes an environment in its own Python and answers the host's calls.

The host starts it with ``START``. Messages arrive on what was standard input and leave on what was
standard output; what the guest's packages print goes to standard error. The process ends when the
host does.

    guest                                        host
    {"hello": version, "python", "numpy"}
                                                 {"call": "make", "module", "maker", "folder",
                                                  "arguments"}
    {"answer": {"observation_space", ...}}
                                                 {"call": "reset", "seed", "options"}
    {"answer": {"observation", "info"}}
                                                 {"call": "step", "action"}
    {"answer": {"observation", "reward", ...}}
                                                 {"call": "sample_scene", "arguments"}
    {"answer": {...}}

A call that fails is answered with {"error": type, "text", "where"}.
"""

from __future__ import annotations

import importlib
import os
import platform
import select
import sys
import threading
import traceback
from typing import Any

import numpy as np

from ptp_core.guests.pipe import VERSION, MessagePipe, PipeClosed

# Code for ``python -c``, with the folder of ptp_core as its argument. The package stands in for
# the installed one, so that nothing else of the host's Python is on the guest's path.
START = (
    "import sys, types; package = types.ModuleType('ptp_core'); package.__path__ = [sys.argv[1]]; "
    "sys.modules['ptp_core'] = package; from ptp_core.guests.guest_worker import main; main()"
)
# Attributes of an environment that the host's copy has, too (docs/environments.md).
DECLARED = (
    "tasks",
    "default_tasks",
    "episode_steps",
    "protocols",
    "goals",
    "cameras",
    "action_names",
    "proprioception_names",
    "instructions",
    "paraphrases",
    "primitives",
    "scene_groups",
)


def main() -> None:
    """Serve the host until it closes the pipe."""
    pipe = MessagePipe(*_take_pipes())
    pipe.send({"hello": VERSION, "python": platform.python_version(), "numpy": np.__version__})
    env = None
    while True:
        try:
            call = pipe.receive()
        except PipeClosed:
            return
        try:
            if call["call"] == "make":
                env = _make(call)
                answer = {"answer": _description(env)}
            else:
                answer = {"answer": _answer(env, call)}
            pipe.send(answer)
        except PipeClosed:
            return
        except Exception as error:  # any: the host is told, and decides
            traceback.print_exc()
            pipe.send(_failure(error))


def _take_pipes() -> tuple[int, int]:
    """Move the pipes away from standard input and output, where others would read and write."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    _end_with(source)
    return source, sink


def _end_with(source: int) -> None:
    """End this process when the other side closes its end, also in the middle of a call."""

    def watch() -> None:
        poll = select.poll()
        poll.register(source, 0)  # hang-up is always reported
        poll.poll()
        os._exit(0)

    threading.Thread(target=watch, name="host", daemon=True).start()


def _make(call: dict[str, Any]) -> Any:
    if call["folder"]:
        sys.path.insert(0, call["folder"])
    maker = getattr(importlib.import_module(call["module"]), call["maker"])
    return maker(**call["arguments"])


def _answer(env: Any, call: dict[str, Any]) -> Any:
    if call["call"] == "reset":
        observation, info = env.reset(seed=call["seed"], options=call["options"])
        return {"observation": observation, "info": info}
    if call["call"] == "step":
        observation, reward, terminated, truncated, info = env.step(call["action"])
        return {
            "observation": observation,
            "reward": float(reward),
            "terminated": bool(terminated),
            "truncated": bool(truncated),
            "info": info,
        }
    if call["call"] == "sample_scene":
        return env.unwrapped.sample_scene(*call["arguments"])
    raise ValueError(f"no call {call['call']!r}")


def _description(env: Any) -> dict[str, Any]:
    inner = env.unwrapped
    attributes = getattr(inner, "dataset_attributes", dict)()
    return {
        "name": type(inner).__name__,
        "observation_space": _space(env.observation_space),
        "action_space": _space(env.action_space),
        "declared": {name: getattr(inner, name) for name in DECLARED if hasattr(inner, name)},
        "dataset_attributes": attributes,
        "samples_scenes": hasattr(inner, "sample_scene"),
    }


def _space(space: Any) -> dict[str, Any]:
    """A Box or a Dict of boxes, gymnasium's or alike, as a message has it."""
    if hasattr(space, "spaces"):
        return {"dict": {name: _space(part) for name, part in space.spaces.items()}}
    if not (hasattr(space, "low") and hasattr(space, "high")):
        raise TypeError(f"the space {space} is neither a Box nor a Dict of boxes")
    return {"low": np.asarray(space.low), "high": np.asarray(space.high)}


def _failure(error: Exception) -> dict[str, Any]:
    """What the host is told of an error: its type, one line, and where it came from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return {
        "error": type(error).__name__,
        "refused": isinstance(error, ValueError) or type(error).__name__ == "InputError",
        "text": " ".join(str(error).split())[:2000],
        "where": f"{os.path.basename(last.filename)}:{last.lineno}",
    }
