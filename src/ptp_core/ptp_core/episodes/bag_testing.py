# SPDX-License-Identifier: Apache-2.0
"""Test data: messages of cameras, encoder, policy and arm as CDR bytes, and other recorders' bags.

`Senders` makes what our graph sends; the functions make plain bags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from ptp_core.data.trajectory import CAMERA, CARTESIAN
from ptp_core.episodes import message_definitions as kinds
from ptp_core.episodes.bag_writer import BagTopic
from ptp_core.episodes.episode import POLICY, TELEOP
from ptp_core.episodes.latent_fields import latent_lists
from ptp_core.episodes.message_definitions import Definitions

OBSERVATION = BagTopic("/observation", kinds.OBSERVATION, latched=True)
LATENT = BagTopic("/latent", kinds.LATENT, latched=True)
STATE = BagTopic("/arm/state", kinds.ARM_STATE, depth=500)
STEP = BagTopic("/step", kinds.STEP_INFO, depth=500)
PLAN = BagTopic("/plan", kinds.PLAN, latched=True)
GOAL = BagTopic("/goal_image", kinds.IMAGE, latched=True)
IMAGE = BagTopic("/image_raw", kinds.IMAGE, reliable=False)
STEP_RECORD = BagTopic("/recorder/step", kinds.STEP_RECORD, depth=500)
SIZE = 48  # pixels a side of an observation
CODES = 144  # of a latent
TOPICS = (GOAL, PLAN, OBSERVATION, LATENT, STATE, STEP, IMAGE)
PERIOD = 10**8  # ns between observations

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = STORE.types
START = 1000.0  # s, when a demonstration begins
IMAGE_TOPIC, TWIST_TOPIC = "/camera/image_raw", "/servo/delta_twist_cmds"
JOINTS_TOPIC, GRIPPER_TOPIC = "/joint_states", "/gripper"
Messages = Iterable[tuple[str, float, Any]]  # topic, time of receipt [s], message


class Senders:
    """Messages of an episode. Observation k is at k * PERIOD; its codes depend on k alone.

    ``cameras``: names of an observation's cameras. ``proprioception`` and ``actions``: names of
    the dimensions of proprioception and of the policy's action.
    """

    def __init__(
        self,
        definitions: Definitions | None = None,
        codebook: int = 32,
        cameras: tuple[str, ...] = (CAMERA,),
        proprioception: tuple[str, ...] = (),
        actions: tuple[str, ...] = CARTESIAN,
    ) -> None:
        self.definitions = definitions or Definitions()
        self.codebook = codebook
        self.cameras, self.proprioception, self.actions = cameras, proprioception, actions
        self._types = self.definitions.store.types

    def codes(self, key: int) -> np.ndarray:
        """Codes uint16 (144,)."""
        rng = np.random.default_rng(key)
        return rng.integers(self.codebook, size=CODES, dtype=np.uint16)

    def picture(self, key: int, camera: int = 0) -> np.ndarray:
        """Image uint8 (48, 48, 3) of the camera with index ``camera``."""
        shape = (SIZE, SIZE, 3)
        seed = [key, camera] if camera else key
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    def numbers(self, key: int) -> np.ndarray:
        """Proprioception float32 (P,)."""
        size = len(self.proprioception)
        return np.random.default_rng(key).normal(size=size).astype(np.float32)

    def action(self, key: int) -> np.ndarray:
        """Action float32 (A,) of the policy; zeros where its dimensions are the arm's."""
        if self.actions == CARTESIAN:
            return np.zeros(len(CARTESIAN), np.float32)
        rng = np.random.default_rng(key)
        return rng.uniform(-1, 1, len(self.actions)).astype(np.float32)

    def observation(self, seq: int) -> bytes:
        """Observation ``seq``."""
        images = [self._image(self.picture(seq, k), seq) for k in range(len(self.cameras))]
        return self._encode(
            kinds.OBSERVATION,
            header=self._header(seq),
            seq=seq,
            cameras=list(self.cameras),
            images=images,
            proprioception_names=list(self.proprioception),
            proprioception=self.numbers(seq),
        )

    def image(self, seq: int, size: int = 240) -> bytes:
        """Full-size camera image at the time of observation ``seq``."""
        pixels = np.full((size, size, 3), seq % 256, np.uint8)
        return self.definitions.encode(self._image(pixels, seq))

    def latent(self, seq: int, *, encoder_id: str = "encoder", error_code: int = 0) -> bytes:
        """Latent of observation ``seq``."""
        return self._encode(
            kinds.LATENT,
            header=self._header(seq),
            seq=seq,
            latent=self._latent(self.codes(seq)[: 0 if error_code else None], encoder_id),
            proprioception_names=list(self.proprioception),
            proprioception=self.numbers(seq),
            error_code=error_code,
            error_msg="",
        )

    def state(self, seq: int, moved: bool = True, source: int = POLICY, **delta: float) -> bytes:
        """Arm state of observation ``seq``; its command answered the observation before.

        ``delta`` has the fields of the command, and ``at``, the x of the tool.
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

    def step(
        self,
        seq: int,
        subgoal: int = 0,
        count: int = 2,
        reward: float = -1.0,
        encoded: bool = True,
    ) -> bytes:
        """StepInfo of observation ``seq``; subgoal i has codes(1000 + i).

        ``encoded``: the agent has latents.
        """
        size = None if encoded else 0
        return self._encode(
            kinds.STEP_INFO,
            header=self._header(seq),
            seq=seq,
            episode_id="episode",
            episode=0,
            step=seq,
            observation_seq=seq,
            observation_stamp=self._time(seq),
            latent=self._latent(self.codes(seq)[:size]),
            subgoal_index=subgoal,
            subgoal_count=count,
            target=self._latent(self.codes(1000 + subgoal)[:size]),
            distance=1.0,
            switched=False,
            reward=reward,
            action_names=list(self.actions),
            action=self.action(seq),
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
            start=self._latent(self.codes(0)),
            goal=self._latent(self.codes(goal)),
            count=0,
            subgoals=self._latent(self.codes(0)[:0]),
            cost=0.0,
            cost_names=[],
            cost_values=np.zeros(0),
            seconds=0.0,
            seed=0,
            preset="fast",
            weights_version="w",
            images=[],
        )

    def episode(
        self, steps: int, first: int = 0, source: int = POLICY, encoded: bool = True
    ) -> Iterator[tuple[BagTopic, bytes]]:
        """An episode of ``steps`` transitions as the graph would send it.

        ``encoded``: there is an encoder, and the agent has latents.
        """
        for seq in range(first, first + steps + 1):
            yield OBSERVATION, self.observation(seq)
            yield STATE, self.state(seq, moved=seq > first, source=source, dx=0.001 * (seq % 40))
            if encoded:
                yield LATENT, self.latent(seq)
            if source == POLICY and seq < first + steps:
                subgoal = (seq - first) // 5 % 3
                yield STEP, self.step(seq, subgoal=subgoal, encoded=encoded)

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

    def _latent(self, codes: np.ndarray, encoder_id: str = "encoder") -> Any:
        encoder_id = encoder_id if codes.size else ""
        return self._types[kinds.LATENT_ARRAY](encoder_id=encoder_id, **latent_lists(codes))

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


def stamp(time: float) -> Any:
    """builtin_interfaces/Time of seconds."""
    seconds, rest = divmod(round(time * 1e9), 10**9)
    return TYPES["builtin_interfaces/msg/Time"](sec=seconds, nanosec=rest)


def header(time: float, frame: str = "base") -> Any:
    """std_msgs/Header."""
    return TYPES["std_msgs/msg/Header"](stamp=stamp(time), frame_id=frame)


def image(time: float, value: int) -> Any:
    """A 48 x 48 image of one grey level."""
    pixels = np.full(48 * 48 * 3, value % 256, np.uint8)
    return TYPES["sensor_msgs/msg/Image"](
        header=header(time),
        height=48,
        width=48,
        encoding="rgb8",
        is_bigendian=0,
        step=144,
        data=pixels,
    )


def twist(time: float, x: float = 0.2, turn: float = 0.0, kind: str = "TwistStamped") -> Any:
    """Velocity along x [m/s] and about z [rad/s]; ``kind`` "Twist" has no stamp."""
    vector = TYPES["geometry_msgs/msg/Vector3"]
    plain = TYPES["geometry_msgs/msg/Twist"](
        linear=vector(x=x, y=0.0, z=0.0), angular=vector(x=0.0, y=0.0, z=turn)
    )
    if kind == "Twist":
        return plain
    return TYPES["geometry_msgs/msg/TwistStamped"](header=header(time), twist=plain)


def joints(time: float, position: float, names: tuple[str, ...] = ("a", "b")) -> Any:
    """Two joints, the first at ``position``."""
    return TYPES["sensor_msgs/msg/JointState"](
        header=header(time),
        name=list(names),
        position=np.array([position, 1.0]),
        velocity=np.zeros(0),
        effort=np.zeros(0),
    )


def write_bag(
    path: Path,
    messages: Messages,
    plugin: StoragePlugin = StoragePlugin.MCAP,
    store: Typestore = STORE,
) -> Path:
    """Write a bag in the order of ``messages``; a message given as bytes is written unchanged."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for topic, time, message in messages:
            kind, data = message if isinstance(message, tuple) else (message.__msgtype__, None)
            if (topic, kind) not in connections:
                connections[topic, kind] = writer.add_connection(topic, kind, typestore=store)
            data = store.serialize_cdr(message, kind) if data is None else data
            writer.write(connections[topic, kind], round(time * 1e9), data)
    return path


def script(
    seconds: float = 2.0, image_rate: float = 30.0, delay: float = 0.0, **changes: Any
) -> list[tuple[str, float, Any]]:
    """Messages of a demonstration: numbered images, a twist with ``changes``, joints, gripper.

    Images are received ``delay`` s after their stamp. The gripper closes after a second.
    """
    messages = []
    for n in range(int(seconds * image_rate)):
        time = START + n / image_rate
        messages.append((IMAGE_TOPIC, time + delay, image(time, n)))
    for n in range(int(seconds * 50)):
        time = START + 0.05 + n / 50
        messages.append((TWIST_TOPIC, time, twist(time, **changes)))
    for n in range(int(seconds * 100)):
        time = START + n / 100
        messages.append((JOINTS_TOPIC, time, joints(time, n / 100)))
    grip = START + 1.0
    messages.append((GRIPPER_TOPIC, START, joints(START, 0.04)))
    messages.append((GRIPPER_TOPIC, grip, joints(grip, 0.0)))
    return messages


def clocked(
    messages: Messages,
    stamped: Callable[[str, float], float] = lambda topic, time: time,
    received: Callable[[str, float], float] = lambda topic, time: time,
) -> list[tuple[str, float, Any]]:
    """The same messages on other clocks, in the order of their new times.

    ``stamped`` and ``received`` map a topic and a time of receipt to the new stamp and time.
    """
    found = []
    for topic, time, message in sorted(messages, key=lambda m: m[1]):
        if hasattr(message, "header"):
            message.header.stamp = stamp(stamped(topic, time))
        found.append((topic, received(topic, time), message))
    return found
