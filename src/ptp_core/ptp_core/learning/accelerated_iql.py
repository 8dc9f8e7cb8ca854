# SPDX-License-Identifier: Apache-2.0
"""The updates of `IQL`, faster: networks share the threads, layers work in bfloat16.

``iql`` says what is learned, and its losses are used here. In float32 the weights are those of
`IQL.update` to the bit, for any number of threads. In bfloat16 they are rounded: after 20 updates
the networks' outputs are off by less than 15 % of what these updates changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from ptp_core.learning.iql import (
    IQL,
    Batch,
    GoalNetwork,
    advantage_weighted_loss,
    clamp_value,
    expectile_loss,
    td_loss,
    td_targets,
)

NETWORKS = 4  # that learn at once in an update: more threads than these help inside them


@contextmanager
def shared_networks(
    device: torch.device, threads: int | None = None
) -> Iterator[Callable[..., Iterable]]:
    """A ``run`` for `accelerated_update` that uses ``threads`` (None: as many as torch has).

    Threads that wait for each other after every operation lose much of what they gain, the more
    so when another process needs a core. So each thread works on a network of its own. Where
    there are more threads than networks, torch has the rest, inside of each.
    """
    before = torch.get_num_threads()
    count = before if threads is None else threads
    if device.type != "cpu" or count == 1:
        yield map
        return
    workers = min(count, NETWORKS)
    share = max(1, count // workers)
    torch.set_num_threads(share)
    try:
        # A new thread would begin with OpenMP's default, all cores.
        with ThreadPoolExecutor(workers, "network", torch.set_num_threads, (share,)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(before)


def accelerated_update(
    iql: IQL, batch: Batch, run: Callable[..., Iterable] = map
) -> dict[str, torch.Tensor]:
    """Make the update that `IQL.update` makes; the metrics.

    ``run`` maps a function over the networks: ``map``, or what `shared_networks` gives. With
    ``iql.config.precision`` "auto", layers work in bfloat16 where the device multiplies it.
    """
    config, actions = iql.config, batch.actions
    states, next_states, goals = batch.latents, batch.next_latents, batch.goals
    forward: Callable[..., torch.Tensor] = GoalNetwork.__call__
    if config.precision == "auto" and multiplies_bfloat16(states.device):
        forward = forward_in
        states, next_states, goals = (x.bfloat16() for x in (states, next_states, goals))

    # Every network once, on one thread each.
    asked: dict[str, Callable[[], torch.Tensor]] = {
        "q_0": partial(forward, iql.q.networks[0], states, goals, actions),
        "q_1": partial(forward, iql.q.networks[1], states, goals, actions),
        "target_0": partial(_frozen, forward, iql.q_target.networks[0], states, goals, actions),
        "target_1": partial(_frozen, forward, iql.q_target.networks[1], states, goals, actions),
        "policy": partial(forward, iql.policy, states, goals),
        "v": partial(forward, iql.v, states, goals),
        "next_v": partial(_frozen, forward, iql.v, next_states, goals),
    }
    outputs = dict(zip(asked, run(_call, asked.values())))

    # The losses see copies of the outputs. Their gradients end there, and each network takes its
    # own from there on, in a thread of its own.
    copies = {
        name: outputs[name].detach().requires_grad_() for name in ("q_0", "q_1", "policy", "v")
    }
    values = copies["v"].squeeze(1)
    target_q = clamp_value(
        torch.minimum(outputs["target_0"], outputs["target_1"]).squeeze(1), config
    )
    targets = td_targets(batch.rewards, outputs["next_v"].squeeze(1), config)
    value_loss, value_metrics = expectile_loss(values, target_q, config)
    q_loss, q_metrics = td_loss(torch.stack([copies["q_0"], copies["q_1"]]).squeeze(2), targets)
    policy_loss, policy_metrics = advantage_weighted_loss(
        copies["policy"], actions, target_q - values.detach(), config
    )
    (value_loss + q_loss + policy_loss).backward()

    for optimiser in iql.optimisers.values():
        optimiser.zero_grad(set_to_none=True)

    def learn(name: str) -> None:
        outputs[name].backward(copies[name].grad)
        if not name.startswith("q_"):  # the two share a step, as they share a gradient's norm
            iql.step(name)

    list(run(learn, copies))
    iql.step("q")
    iql.update_target()
    return {**value_metrics, **q_metrics, **policy_metrics}


def forward_in(
    network: GoalNetwork,
    latents: torch.Tensor,
    goals: torch.Tensor,
    extra: torch.Tensor | None = None,
) -> torch.Tensor:
    """``GoalNetwork.forward`` in the dtype of ``latents`` and ``goals``, but for the last layer.

    The weights stay float32 and are rounded when they are used. The last layer is in float32, and
    so are the outputs (B, outputs): values reach -200, where bfloat16 steps by 1.
    """
    if network.conv is not None:
        both = _convolve(network.conv, network.maps(latents, goals)).relu().flatten(1)
        latents, goals = both.chunk(2, dim=1)
    elif network.projection is not None:
        both = _linear(network.projection, torch.cat([latents, goals])).relu()
        latents, goals = both.chunk(2)
    inputs = [latents, goals] if extra is None else [latents, goals, extra.to(goals.dtype)]
    hidden = torch.cat(inputs, dim=1)
    *layers, last = network.body
    for layer in layers:
        hidden = _linear(layer, hidden) if isinstance(layer, nn.Linear) else layer(hidden)
    return last(hidden.float())


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 numbers as they are: at twice the rate or more."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def _linear(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def _convolve(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    weight, bias = layer.weight.to(x.dtype), layer.bias.to(x.dtype)
    return functional.conv2d(x, weight, bias, layer.stride, layer.padding)


# Of its own: the grad mode of a thread does not reach the threads that it starts.
@torch.no_grad()
def _frozen(forward: Callable[..., torch.Tensor], *arguments: object) -> torch.Tensor:
    """What a network that does not learn from it says."""
    return forward(*arguments)


def _call(function: Callable[[], torch.Tensor]) -> torch.Tensor:
    return function()
