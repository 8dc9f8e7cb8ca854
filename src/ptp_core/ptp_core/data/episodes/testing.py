# SPDX-License-Identifier: Apache-2.0
"""What a camera, an encoder, a policy and an arm would send, as CDR bytes, without a graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ptp_core.data.episodes import definitions as kinds
from ptp_core.data.episodes.bag_writer import Topic
from ptp_core.data.episodes.definitions import Definitions
from ptp_core.data.episodes.episode import CODES, POLICY, TELEOP

OBSERVATION = Topic("/observation", kinds.OBSERVATION, latched=True)
LATENT = Topic("/latent", kinds.LATENT, latched=True)
STATE = Topic("/arm/state", kinds.ARM_STATE, depth=500)
STEP = Topic("/step", kinds.STEP_INFO, depth=500)
PLAN = Topic("/plan", kinds.PLAN, latched=True)
GOAL = Topic("/goal_image", kinds.IMAGE, latched=True)
IMAGE = Topic("/image_raw", kinds.IMAGE, reliable=False)
STEP_RECORD = Topic("/recorder/step", kinds.STEP_RECORD, depth=500)
SIZE = 48  # pixels a side of an observation
TOPICS = (GOAL, PLAN, OBSERVATION, LATENT, STATE, STEP, IMAGE)
PERIOD = 10**8  # ns between observations


class Senders:
    """Messages of an episode. Observation k is at k * PERIOD; its codes depend on k alone."""

    def __init__(self, definitions: Definitions | None = None, codebook: int = 32) -> None:
        self.definitions = definitions or Definitions()
        self.codebook = codebook
        self._types = self.definitions.store.types

    def codes(self, key: int) -> np.ndarray:
        """Codes uint16 (144,)."""
        rng = np.random.default_rng(key)
        return rng.integers(self.codebook, size=CODES, dtype=np.uint16)

    def picture(self, key: int) -> np.ndarray:
        """Picture uint8 (48, 48, 3)."""
        shape = (SIZE, SIZE, 3)
        return np.random.default_rng(key).integers(0, 256, shape, dtype=np.uint8)

    def observation(self, seq: int) -> bytes:
        """Observation ``seq``."""
        image = self._image(self.picture(seq), seq)
        return self._encode(kinds.OBSERVATION, header=self._header(seq), seq=seq, image=image)

    def image(self, seq: int, size: int = 240) -> bytes:
        """Picture for people at the time of observation ``seq``."""
        pixels = np.full((size, size, 3), seq % 256, np.uint8)
        return self.definitions.encode(self._image(pixels, seq))

    def latent(self, seq: int, *, encoder_id: str = "encoder", error_code: int = 0) -> bytes:
        """Latent of observation ``seq``."""
        return self._encode(
            kinds.LATENT,
            header=self._header(seq),
            seq=seq,
            codes=self.codes(seq),
            encoder_id=encoder_id,
            error_code=error_code,
            error_msg="",
        )

    def state(self, seq: int, moved: bool = True, source: int = POLICY, **delta: float) -> bytes:
        """Arm state of observation ``seq``; the command answered the one before.

        ``delta`` has the command, and ``at``, the x of the tool.
        """
        pose, zero = self._pose(delta.pop("at", 0.6)), {"x": 0.0, "y": 0.0, "z": 0.0}
        vector = self._types["geometry_msgs/msg/Vector3"]
        twist = self._types["geometry_msgs/msg/Twist"]
        return self._encode(
            kinds.ARM_STATE,
            header=self._header(seq),
            observation_seq=seq,
            command_seq=seq if moved else 0,
            pose=pose,
            twist=twist(linear=vector(**zero), angular=vector(**zero)),
            setpoint=pose,
            yaw=0.0,
            joint_names=[],
            joint_positions=np.zeros(0),
            joint_velocities=np.zeros(0),
            gripper=-1.0,
            executed_dx=delta.get("dx", 0.01) if moved else 0.0,
            executed_dy=0.0,
            executed_dz=0.0,
            executed_dyaw=0.0,
            moved=moved,
            command=self._command(seq - 1, source, delta),
            latency=0.01,
            holding=not moved,
            taken_over=source == TELEOP,
            clamped=False,
            error_code=0,
            error_msg="",
        )

    def step(self, seq: int, subgoal: int = 0, count: int = 2, reward: float = -1.0) -> bytes:
        """StepInfo of observation ``seq``; subgoal i has codes(1000 + i)."""
        return self._encode(
            kinds.STEP_INFO,
            header=self._header(seq),
            seq=seq,
            episode_id="episode",
            episode=0,
            step=seq,
            observation_seq=seq,
            observation_stamp=self._time(seq),
            codes=self.codes(seq),
            encoder_id="encoder",
            subgoal_index=subgoal,
            subgoal_count=count,
            target_codes=self.codes(1000 + subgoal),
            distance=1.0,
            switched=False,
            reward=reward,
            action=np.zeros(5, np.float32),
            command=self._command(seq, POLICY, {}),
            inference_seconds=0.0,
            latency=0.0,
            dropped=0,
        )

    def plan(self, episode_id: str, goal: int = 1002) -> bytes:
        """SubgoalPlan to the goal codes(goal)."""
        return self._encode(
            kinds.PLAN,
            header=self._header(0),
            episode_id=episode_id,
            plan_id=0,
            start_codes=self.codes(0),
            goal_codes=self.codes(goal),
            count=0,
            codes=np.zeros(0, np.uint16),
            encoder_id="encoder",
            cost=0.0,
            cost_names=[],
            cost_values=np.zeros(0),
            seconds=0.0,
            seed=0,
            preset="fast",
            weights_version="w",
            pictures=[],
        )

    def episode(
        self, steps: int, first: int = 0, source: int = POLICY
    ) -> Iterator[tuple[Topic, bytes]]:
        """An episode of ``steps`` transitions as the graph would send it."""
        for seq in range(first, first + steps + 1):
            yield OBSERVATION, self.observation(seq)
            yield STATE, self.state(seq, moved=seq > first, source=source, dx=0.001 * (seq % 40))
            yield LATENT, self.latent(seq)
            if source == POLICY and seq < first + steps:
                yield STEP, self.step(seq, subgoal=(seq - first) // 5 % 3)

    def _command(self, answers: int, source: int, delta: dict[str, float]) -> Any:
        names = ("dx", "dy", "dz", "dyaw", "gripper")
        return self._types[f"{kinds.PACKAGE}/msg/CartesianDelta"](
            header=self._header(answers, "base"),
            seq=max(answers, 0) + 1,
            observation_seq=max(answers, 0) if source == POLICY else 0,
            observation_stamp=self._time(answers),
            source=source,
            duration=0.0,
            dead_man=source == TELEOP,
            weights_version="w1" if source == POLICY else "",
            **{name: delta.get(name, 0.0) for name in names},
        )

    def _encode(self, kind: str, **fields: Any) -> bytes:
        return self.definitions.encode(self._types[kind](**fields))

    def _image(self, pixels: np.ndarray, seq: int) -> Any:
        return self._types[kinds.IMAGE](
            header=self._header(seq),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding="rgb8",
            is_bigendian=0,
            step=3 * pixels.shape[1],
            data=pixels.reshape(-1),
        )

    def _pose(self, x: float) -> Any:
        point = self._types["geometry_msgs/msg/Point"](x=x, y=0.0, z=0.2)
        turn = self._types["geometry_msgs/msg/Quaternion"](x=0.0, y=1.0, z=0.0, w=0.0)
        return self._types["geometry_msgs/msg/Pose"](position=point, orientation=turn)

    def _header(self, seq: int, frame: str = "camera_optical") -> Any:
        return self._types["std_msgs/msg/Header"](stamp=self._time(seq), frame_id=frame)

    def _time(self, seq: int) -> Any:
        seconds, rest = divmod(max(seq, 0) * PERIOD, 10**9)
        return self._types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=rest)
