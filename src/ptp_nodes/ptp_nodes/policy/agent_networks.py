# SPDX-License-Identifier: Apache-2.0
"""Networks of a node: its checkpoint, its agent's spec, and weights that change while in use."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ptp_interfaces.msg import PolicyUpdate
from rclpy.node import Node
from torch import nn

from ptp_core.agents.agent import AgentSpec
from ptp_core.agents.registry import DEFAULT_METHOD, METHOD_HELP, agent_names, method_named
from ptp_core.errors import CheckpointError
from ptp_core.policies.live_weights import LiveWeights, RefusedUpdate, WeightsUpdate
from ptp_core.practice.policy_library import FineTunedPolicies
from ptp_core.practice.practice_settings import ABOUT
from ptp_core.training.checkpoint import Checkpoint, load_checkpoint
from ptp_ros.lifecycle import ManagedParameters
from ptp_ros.parameters import parameter
from ptp_ros.topics import LATCHED, POLICY_UPDATE
from ptp_ros.worker import NewestFirst, Throttle


@dataclass(frozen=True)
class NetworkParameters(ManagedParameters):
    """Parameters of a node that runs networks."""

    checkpoint: str = parameter("", "folder of the checkpoint: manifest.json and weights")


@dataclass(frozen=True)
class PolicyNetworkParameters(NetworkParameters):
    """Parameters of a node that runs the networks which practice changes."""

    method: str = parameter(DEFAULT_METHOD, METHOD_HELP, choices=agent_names)
    finetuned: str = parameter(
        "", "folder of policies that practised one task each, taken for its goals; empty: none"
    )


def practice_setting(name: str, minimum: float | None = None, maximum: float | None = None) -> Any:
    """A field for the setting ``name`` of `PracticeSettings`, its default that of preset ours."""
    about = next(about for about in ABOUT if about.name == name)
    return parameter(
        about.ours, about.help, minimum=minimum, maximum=maximum, choices=about.choices
    )


def finetuned_policies(
    parameters: PolicyNetworkParameters, checkpoint: Checkpoint
) -> FineTunedPolicies | None:
    """The policies that the parameters name. Raises CheckpointError where they do not fit."""
    folder = parameters.finetuned
    if not folder:
        return None
    return FineTunedPolicies(checkpoint, Path(folder), method_named(parameters.method).learned)


def load_networks(parameters: NetworkParameters) -> Checkpoint:
    """Load the checkpoint for inference in this process, with one torch thread.

    One is fastest for single images and always gives the same bits.

    Raises CheckpointError where it is missing, damaged, or has weights that are not finite.
    """
    if not parameters.checkpoint:
        raise CheckpointError("no checkpoint given: set the parameter checkpoint to its folder")
    torch.set_num_threads(1)
    checkpoint = load_checkpoint(parameters.checkpoint)
    for part, module in checkpoint.modules().items():
        for name, tensor in module.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise CheckpointError(
                    f"{checkpoint.folder}: {part}.{name} has values that are not finite; "
                    "take an earlier checkpoint"
                )
    return checkpoint


def weights_version(checkpoint: Checkpoint, part: str | None = None) -> str:
    """Short identity of the weights that act, as commands carry it.

    ``part``: what the agent learns; None: what that of the checkpoint's own method does.
    """
    name = part or method_named(checkpoint.agent).learned
    return "" if name is None else checkpoint.parts[name].stored.sha256[:12]


def agent_spec(checkpoint: Checkpoint) -> AgentSpec:
    """What the agent of a checkpoint needs and gives."""
    return checkpoint.spec


class LiveNetworks:
    """Keeps the weights up to date that a node's agent learns.

    ``use`` names the checkpoint and the parts that are meant; ``swap`` is called by the thread
    that runs them, before it does. A refused update is counted, and logged at most once a second
    for each kind of reason.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._checkpoint: Checkpoint | None = None
        self._part: str | None = None
        self._policies: FineTunedPolicies | None = None
        self._weights: LiveWeights | None = None
        self._newest: PolicyUpdate | None = None
        self.refused = 0
        self._throttle = Throttle()
        self._pool = ThreadPoolExecutor(1, "weights")
        self._updates = NewestFirst(self._pool, self._stage)
        node.create_subscription(PolicyUpdate, POLICY_UPDATE, self._updates.put, LATCHED)

    def use(
        self,
        checkpoint: Checkpoint,
        parts: Sequence[str],
        policies: FineTunedPolicies | None = None,
    ) -> None:
        """Update these parts from now on, with an update that came earlier too.

        The first one names the version. None: an agent without weights to update, for which every
        update is refused. ``policies``: who may have changed the first to a fine-tuned one.
        """
        self._checkpoint, self._policies = checkpoint, policies
        self._part = parts[0] if parts else None
        module = checkpoint.together(parts) if parts else nn.Module()
        self._weights = LiveWeights(module, checkpoint.encoder_id)
        if self._newest is not None:
            self._updates.put(self._newest)

    @property
    def version(self) -> str:
        """Identity of the weights in use: of the file they are from, and "+n" after update n."""
        live = self._weights.version
        tuned = None if self._policies is None else self._policies.current
        base = (
            weights_version(self._checkpoint, self._part) if tuned is None else tuned.sha256[:12]
        )
        return base + (f"+{live}" if live else "")

    @property
    def number(self) -> int:
        """Number of the update in use; 0 is the checkpoint."""
        return self._weights.version

    def swap(self) -> None:
        """Use the newest weights that passed the checks."""
        if self._weights.swap():
            self._node.get_logger().info(f"weights {self.version} in use")

    def stop(self) -> None:
        """End the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _stage(self, message: PolicyUpdate) -> None:
        self._newest = message
        if self._weights is None:
            return  # not configured yet
        update = WeightsUpdate(
            message.version, message.encoder_id, message.sha256, bytes(message.weights)
        )
        try:
            if not self._weights.stage(update) and update.version < self._weights.version:
                raise RefusedUpdate(
                    "older",
                    f"weights {update.version} are older than those in use: a learner that began "
                    "anew needs nodes that begin anew",
                )
        except RefusedUpdate as error:
            self.refused += 1
            if self._throttle.due(error.kind):
                self._node.get_logger().error(f"{error}; keeping {self.version}")
