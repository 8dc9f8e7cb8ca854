# SPDX-License-Identifier: Apache-2.0
"""Registry of methods: every method by name, without loading networks.

A method of this project is one module of `ptp_core.agents` and one line here. A program registers
its own with `register`. An installed package declares its methods as entry points of the group
``ptp.agents``. Files never name code that is then imported.
"""

from __future__ import annotations

import functools
import importlib
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from ptp_core.agents.method import AgentOptions, Method
from ptp_core.errors import CheckpointError, ConfigError
from ptp_core.training.manifest import read_contents

if TYPE_CHECKING:
    from ptp_core.agents.agent import Agent
    from ptp_core.training.checkpoint import Checkpoint

GROUP = "ptp.agents"
# Method -> the module whose METHODS define it, in the order of help texts and documents.
_MODULES = {
    "ptp": "ptp",
    "ptp_single_subgoal": "ptp_single_subgoal",
    "ptp_no_buffer": "ptp",
    "ptp_no_hierarchy": "ptp",
    "ptp_no_buffer_no_hierarchy": "ptp",
    "gcbc": "gcbc",
    "model_free": "model_free",
    "gcp": "gcp",
    "leap": "leap",
    "ptp_diffusion": "ptp_diffusion",
    "ptp_diffusion_single_subgoal": "ptp_diffusion",
    "diffusion_bc": "ptp_diffusion",
}
# The default of nodes, which have no checkpoint when they declare parameters.
DEFAULT_METHOD = "ptp_single_subgoal"
METHOD_HELP = "how subgoals come about: a name of ptp_core.agents.registry; the same for all nodes"
_registered: dict[str, Method] = {}


def agent_names() -> tuple[str, ...]:
    """Names of all methods: those of this project, of installed packages and of `register`."""
    return tuple(dict.fromkeys([*_MODULES, *_installed(), *_registered]))


def method_named(name: str) -> Method:
    """The method of this name. Raises ConfigError, which lists the names."""
    if name in _MODULES:
        return _own(name)
    found = _registered.get(name) or _installed().get(name)
    if found is None:
        raise ConfigError(f'no method "{name}"; there are {", ".join(agent_names())}')
    return found


def methods() -> dict[str, Method]:
    """All methods by name."""
    return {name: method_named(name) for name in agent_names()}


def register(method: Method) -> None:
    """Register a method of this program. Raises ConfigError where the name is taken."""
    if method.name in agent_names() and method_named(method.name) != method:
        raise ConfigError(f'there is a method "{method.name}" already: choose another name')
    _registered[method.name] = method


def registered() -> tuple[Method, ...]:
    """Methods that `register` got, so that another process can register them too."""
    return tuple(_registered.values())


def build_agent(name: str, checkpoint: Checkpoint, options: AgentOptions | None = None) -> Agent:
    """Build the agent of the method ``name`` from a checkpoint's networks.

    Weights are read at every call, so that an update of ``agent.learned`` takes effect at once.
    Raises ConfigError for options that the method cannot use, CheckpointError where the
    checkpoint lacks a part.
    """
    method, options = method_named(name), options or AgentOptions()
    method.check_options(options)
    method.check_parts(checkpoint.parts, checkpoint.folder)
    if not isinstance(checkpoint.config, method.config):
        raise CheckpointError(
            f"{checkpoint.folder}: a checkpoint of {checkpoint.agent}, without the settings of "
            f"{name}: name a checkpoint of {name}"
        )
    return method.build(checkpoint, options)


def checkpoint_for(name: str, base: Path) -> Path:
    """The checkpoint folder of a method, where several methods are compared on ``base``.

    That is ``base`` where it has the method's parts, else the folder beside it that has the
    method's name. Raises CheckpointError where neither fits.
    """
    method = method_named(name)
    found = read_contents(base)
    if set(method.parts) <= found.parts.keys():
        return base
    beside = base.parent / name
    if not (beside / "manifest.json").is_file():
        lacks = next(part for part in method.parts if part not in found.parts)
        raise CheckpointError(
            f"{base}: no {lacks}, which {name} needs, and {beside} is no checkpoint: train one "
            "with ptp pretrain (a baseline with ptp pretrain-baselines), and name it"
        )
    method.check_parts(read_contents(beside).parts, beside)
    return beside


def _own(name: str) -> Method:
    module = importlib.import_module(f"ptp_core.agents.{_MODULES[name]}")
    return next(method for method in module.METHODS if method.name == name)


@functools.cache
def _installed() -> dict[str, Method]:
    found = (entry.load() for entry in entry_points(group=GROUP))
    return {method.name: method for method in found if method.name not in _MODULES}
