# SPDX-License-Identifier: Apache-2.0
"""Worker process that times updates of d3rlpy's IQL.

It reads numbers of updates and prints the seconds that they took. The Python of the peer's
environment runs it, so it imports nothing of this project.
"""

import sys
import time


def main(inputs: int, actions: int, batch: int, threads: int) -> None:
    """Networks as large as the paper's: policy 4 x 256, two Q and V 2 x 256."""
    import d3rlpy
    import numpy as np
    import torch
    from d3rlpy.dataset import TransitionMiniBatch
    from d3rlpy.models.encoders import VectorEncoderFactory

    torch.set_num_threads(threads)
    two, four = VectorEncoderFactory([256] * 2), VectorEncoderFactory([256] * 4)
    iql = d3rlpy.algos.IQLConfig(
        batch_size=batch,
        actor_encoder_factory=four,
        critic_encoder_factory=two,
        value_encoder_factory=two,
        gamma=0.995,
        expectile=0.9,
        tau=0.01,
        n_critics=2,
    ).create(device="cpu")
    iql.create_impl((inputs,), actions)
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    drawn = TransitionMiniBatch(
        observations=normal(batch, inputs),
        actions=normal(batch, actions),
        rewards=np.full((batch, 1), -1, np.float32),
        next_observations=normal(batch, inputs),
        next_actions=normal(batch, actions),
        terminals=np.zeros((batch, 1), np.float32),
        intervals=np.ones((batch, 1), np.float32),
        transitions=[],
    )
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            iql.update(drawn)
        print(f"seconds {time.perf_counter() - began}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
