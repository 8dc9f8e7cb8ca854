# SPDX-License-Identifier: Apache-2.0
"""What the nodes with networks do with `PolicyUpdate`: check it aside, swap between two uses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from ptp_interfaces.msg import PolicyUpdate
from rclpy.node import Node
from torch import nn

from ptp_core.policies.live_weights import LiveWeights, RefusedUpdate, WeightsUpdate
from ptp_core.practice.policy_library import FineTunedPolicies
from ptp_core.training.checkpoint import Checkpoint
from ptp_nodes.policy.agent_networks import weights_version
from ptp_ros.throttle import Throttle
from ptp_ros.topics import LATCHED, POLICY_UPDATE
from ptp_ros.worker import NewestFirst


class LiveNetworks:
    """Keeps the weights up to date that a node's agent learns.

    ``use`` names the checkpoint and the part that is meant; ``swap`` is called by the thread that
    runs them, before it does. A refused update is counted, and logged at most once a second for
    each kind of reason.
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
        learned: str | None,
        policies: FineTunedPolicies | None = None,
    ) -> None:
        """Update the part ``learned`` from now on, with an update that came earlier too.

        None: an agent without weights to update, for which every update is refused. ``policies``:
        who may have changed the part to a fine-tuned one.
        """
        self._checkpoint, self._part, self._policies = checkpoint, learned, policies
        module = nn.Module() if learned is None else checkpoint.part(learned)
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
