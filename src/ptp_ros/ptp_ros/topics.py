# SPDX-License-Identifier: Apache-2.0
"""Names of topics, services and actions (all relative), and QoS profiles of the graph."""

from __future__ import annotations

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)

IMAGE_RAW = "image_raw"  # sensor_msgs/Image, any size, for display
IMAGE_COMPRESSED = "image_raw/compressed"  # sensor_msgs/CompressedImage, as the camera sends it
OBSERVATION = "observation"  # Observation
PROPRIOCEPTION = "observation/proprioception"  # sensor_msgs/JointState: names and numbers
LATENT = "latent"  # Latent
GOAL_IMAGE = "goal_image"  # sensor_msgs/Image, for display
GOAL = "goal"  # Goal: the goal of the episode; in recordings alone
PLAN = "plan"  # SubgoalPlan
# std_msgs/Float32MultiArray: how much of its attention the policy gives to each subgoal of the
# newest plan, from near to far, then to the instruction where it attends to that; they sum to 1.
PLAN_ATTENTION = "plan/attention"
INSTRUCTION = "instruction"  # std_msgs/String: what the agent is told to do; empty: not in words
# CartesianDelta. One topic for each source: SROS2 decides who may publish it, so that the source
# does not depend on a field of the message.
POLICY_COMMAND = "arm/command/policy"
TELEOP_COMMAND = "arm/command/teleop"
TELEOP_COMMAND_TWIST = "arm/command/teleop/twist"  # geometry_msgs/TwistStamped, m/s and rad/s
TELEOP_COMMAND_GRIPPER = "arm/command/teleop/gripper"  # std_msgs/Float64
SCRIPT_COMMAND = "arm/command/script"
COMMANDS_FROM = (POLICY_COMMAND, TELEOP_COMMAND, SCRIPT_COMMAND)  # by the number of the source
ARM_STATE = "arm/state"  # ArmState
DRIVER_STATE = "arm/driver_state"  # DriverState
JOINT_STATES = "joint_states"  # sensor_msgs/JointState
ROBOT_DESCRIPTION = "robot_description"  # std_msgs/String, URDF; of robot_state_publisher
ARM_COMMANDS = "forward_position_controller/commands"  # std_msgs/Float64MultiArray, rad
GRIPPER_COMMANDS = "gripper_controller/commands"  # std_msgs/Float64MultiArray, -1 .. +1
ARM_PREFLIGHT = "arm/preflight"  # std_msgs/String, JSON: whether the arm may be enabled
ARM_PATH = "arm/path"  # nav_msgs/Path
STEP = "step"  # StepInfo
EPISODE = "episode"  # EpisodeStatus
PLAN_OUTCOME = "plan_outcome"  # EpisodeStatus, JUDGED; success is that of the success signal
ALIVE = "alive"  # std_msgs/String: heartbeat of a goal's client, with the episode's name
JOY = "joy"  # sensor_msgs/Joy
SPACENAV_TWIST = "spacenav/twist"  # geometry_msgs/Twist
SPACENAV_JOY = "spacenav/joy"  # sensor_msgs/Joy
TELEOP_TWIST = "teleop/twist"  # geometry_msgs/TwistStamped
TELEOP_INSTRUCTION = "teleop/instruction"  # std_msgs/String: what the next demonstrations show
TELEOP_GRIPPER = "teleop/gripper"  # std_msgs/Float64, -1 open to +1 closed
TABLE_STATE = "sim/table_state"  # TableState
POLICY_UPDATE = "policy_update"  # PolicyUpdate
RECORDER_STATUS = "recorder/status"  # RecorderStatus
STEP_RECORD = "recorder/step"  # StepRecord
OPERATOR_PROMPT = "operator/prompt"  # std_msgs/String: question to the operator; empty: none
LEARNER_DUE = "learner/due"  # std_msgs/Float64: updates that the practised steps call for
VIEW_IMAGE = "view/image"  # sensor_msgs/Image: now | subgoal | goal
VIEW_SUBGOALS = "view/subgoals"  # sensor_msgs/Image: the strip
VIEW_MARKERS = "view/markers"  # visualization_msgs/MarkerArray
VIEW_ALIGN = "view/align"  # sensor_msgs/Image: camera image over its reference image

PLAN_SUBGOALS = "plan_subgoals"  # action
REACH_GOAL = "reach_goal"  # action
RECORD_EPISODE = "recorder/record"  # action
FINISH_EPISODE = "recorder/finish"  # service
LABEL_EPISODE = "recorder/label"  # service
GET_EPISODE = "recorder/get_episode"  # service
ENCODE_IMAGE = "encode_image"  # service
DECODE_LATENT = "decode_latent"  # service
RESET_SCENE = "reset_scene"  # service
JUDGE_EPISODE = "judge_episode"  # service
OPERATOR_CONFIRM = "operator/confirm"  # service, std_srvs/Trigger: the scene is arranged
OPERATOR_SUCCESS = "operator/success"  # service, std_srvs/Trigger: the table looks like the goal
OPERATOR_FAILURE = "operator/failure"  # service, std_srvs/Trigger: it does not, or give up
REARM = "arm/rearm"  # service: after an operator released the arm
ENABLE = "arm/enable"  # std_srvs/Trigger, as are the four below
DISABLE = "arm/disable"
STOP = "arm/stop"  # with the robot's strongest software stop; it is no emergency stop
RESET_POSE = "arm/reset_pose"  # move to the home pose
CLEAR_FAULT = "arm/clear_fault"

BASE_FRAME = "base"  # the arm's mount; x forward, z up (REP 103)
CAMERA_FRAME = "camera_optical"

# Camera images: a slow reader never delays the camera.
SENSOR = QoSProfile(
    reliability=qos_profile_sensor_data.reliability,
    durability=qos_profile_sensor_data.durability,
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
)
# What nodes publish, display images, goal: a late subscriber gets the newest one.
LATCHED = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
)
# Plans: a reader that is starting may be some episodes behind, and wants the plan of each.
PLANS = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    history=HistoryPolicy.KEEP_LAST,
    depth=20,
)
# The history of observations and latents: a recorder that is some messages behind loses none. In
# lock-step 200 messages are two seconds, on a real arm much longer.
STREAM = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    history=HistoryPolicy.KEEP_LAST,
    depth=200,
)
# Commands: only the newest one arrives, and an old one is never repeated.
COMMANDS = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
)
# The history of steps and states: the first ones of an episode arrive even if discovery is not
# complete yet. Also for a reader that begins with the newest message and must miss none.
KEPT = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    history=HistoryPolicy.KEEP_LAST,
    depth=500,
)
# The same for readers that need only new messages. Sequence numbers show a gap.
RECORDS = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
    history=HistoryPolicy.KEEP_LAST,
    depth=500,
)


def history_of(topic: str) -> str:
    """The hidden topic on which the recorder gets every message of ``topic``.

    Hidden, since it repeats what is on ``topic``: `ros2 topic list` and `ros2 bag record -a`
    leave it out. Observations, latents, arm states and steps have one (`HistoryPublisher`).
    """
    return f"{topic}/_history"
