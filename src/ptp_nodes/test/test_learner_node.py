# SPDX-License-Identifier: Apache-2.0
"""The learner on a real graph: pulls by number, publishes, survives restarts and bad episodes."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from ptp_interfaces.msg import (
    CartesianDelta,
    EpisodeRecord,
    ErrorCode,
    LatentArray,
    PolicyUpdate,
    RecorderStatus,
)
from ptp_interfaces.srv import GetEpisode
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node

from ptp_core.agents.registry import method_named
from ptp_core.data.trajectory import CARTESIAN
from ptp_core.errors import InputError
from ptp_core.policies.live_weights import LiveWeights, WeightsUpdate
from ptp_core.processes import on_a_leash
from ptp_core.tiny_networks import (
    SENTENCES,
    tiny_checkpoint,
    tiny_config,
    tiny_instructed_checkpoint,
)
from ptp_core.training.checkpoint import load_checkpoint
from ptp_nodes.nodes.learner_node import LearnerNode, segments
from ptp_ros.agent_messages import latent_message
from ptp_ros.graph_testing import parameters
from ptp_ros.request_errors import RequestError
from ptp_ros.topics import GET_EPISODE, LATCHED, POLICY_UPDATE, RECORDER_STATUS

STEPS = 12


def record(encoder_id, number=0, steps=STEPS, **changes):
    rng = np.random.default_rng(number)
    message = EpisodeRecord(
        number=number,
        count=steps,
        latents=latent_message(rng.integers(0, 32, (steps + 1, 144)), encoder_id),
        action_names=list(CARTESIAN),
        actions=rng.uniform(-1, 1, steps * 5).astype(np.float32),
        targets=latent_message(rng.integers(0, 32, (steps, 144)), encoder_id),
        breaks=[False] * steps,
    )
    for name, value in changes.items():
        setattr(message, name, value)
    return message


class Recorder(Node):
    """Serves the episodes of a list, as the recorder does."""

    def __init__(self, context, session="today"):
        super().__init__("recorder", context=context)
        self.episodes, self.asked = [], []
        self._session = session
        self._status = self.create_publisher(RecorderStatus, RECORDER_STATUS, LATCHED)
        self.create_service(GetEpisode, GET_EPISODE, self._get)
        self.tell()

    def tell(self):
        count = len(self.episodes)
        self._status.publish(RecorderStatus(session_id=self._session, episodes=count))

    def give(self, *episodes):
        self.episodes += episodes
        self.tell()

    def _get(self, request, response):
        self.asked.append(request.number)
        episode = self.episodes[request.number]
        response.episodes = len(self.episodes)
        if episode is None:
            response.dropped = True
        elif isinstance(episode, str):
            response.error_code, response.error_msg = ErrorCode.INTERNAL, episode
        else:
            response.episode = episode
        return response


@pytest.fixture
def checkpoint(folder):
    return load_checkpoint(folder)


@pytest.fixture
def recorder(graph):
    return graph.add(Recorder(graph.context))


@pytest.fixture
def start(graph, folder, tmp_path):
    """Starts a learner with its folder in tmp_path, as at the start of its process."""

    def start_(**changes):
        values = {"checkpoint": str(folder), "folder": str(tmp_path / "learner"), **changes}
        values = {"publish_every": 4, "learn_from": "all", "utd_ratio": 1.0, **values}
        node = LearnerNode(context=graph.context, parameter_overrides=parameters(values))
        return graph.add(node)

    return start_


def taken(message, checkpoint):
    """Whether networks in use take an update."""
    update = WeightsUpdate(
        message.version, message.encoder_id, message.sha256, bytes(message.weights)
    )
    return LiveWeights(checkpoint.iql, checkpoint.encoder_id).stage(update)


def test_it_learns_from_each_episode_and_hands_out_weights(graph, recorder, start, checkpoint):
    updates = graph.collect(PolicyUpdate, POLICY_UPDATE, LATCHED)
    start()
    recorder.give(record(checkpoint.encoder_id, 0), record(checkpoint.encoder_id, 1))
    graph.wait(lambda: updates and updates[-1].step == 2 * STEPS, "as many updates as steps")
    assert recorder.asked == [0, 1]
    steps = [u.step for u in updates]
    assert steps == sorted(steps) and all(step >= 4 for step in steps)
    assert taken(updates[-1], checkpoint)
    recorder.give(record(checkpoint.encoder_id, 2))
    graph.wait(lambda: updates[-1].step == 3 * STEPS, "updates of the next episode")
    assert recorder.asked == [0, 1, 2]


def test_lbp_learns_sentences_from_successes_and_chains_from_the_rest(
    graph, recorder, start, tmp_path
):
    tiny_instructed_checkpoint(tmp_path / "lbp")
    lbp = load_checkpoint(tmp_path / "lbp")
    updates = graph.collect(PolicyUpdate, POLICY_UPDATE, LATCHED)
    logs = graph.logs()
    node = start(checkpoint=str(tmp_path / "lbp"), success_signal="simulator")
    say = {"instruction": SENTENCES[0]}
    recorder.give(
        record(lbp.encoder_id, 0, **say, label=EpisodeRecord.SUCCESS),
        record(lbp.encoder_id, 1, **say, label=EpisodeRecord.FAILURE),
        record(lbp.encoder_id, 2, instruction="sing", label=EpisodeRecord.SUCCESS),
        record(lbp.encoder_id, 3, instruction="sing", label=EpisodeRecord.UNLABELLED),
    )
    logs.expect('episode 2 is left out: the instruction "sing" is not among the 3')
    graph.wait(lambda: updates and updates[-1].step == 3 * STEPS, "as many updates as steps")
    known = [(one.instruction, one.succeeded) for one in node._run.learner.online]
    assert known == [(SENTENCES[0], True), (SENTENCES[0], False), ("sing", False)]
    newest = updates[-1]
    update = WeightsUpdate(newest.version, newest.encoder_id, newest.sha256, bytes(newest.weights))
    networks = lbp.together(method_named("lbp").practised_parts)
    assert LiveWeights(networks, lbp.encoder_id).stage(update)


def test_after_a_restart_it_pulls_all_again_and_goes_on(
    graph, recorder, start, checkpoint, tmp_path
):
    updates = graph.collect(PolicyUpdate, POLICY_UPDATE, LATCHED)
    first = start()
    recorder.give(record(checkpoint.encoder_id, 0))
    graph.wait(lambda: updates and updates[-1].step == STEPS, "the first updates")
    version = updates[-1].version
    graph.remove(first)
    assert (tmp_path / "learner" / "checkpoint" / "manifest.json").is_file()
    recorder.give(record(checkpoint.encoder_id, 1))
    start()
    graph.wait(lambda: updates[-1].step == 2 * STEPS, "the rest of the updates")
    assert recorder.asked == [0, 0, 1]
    versions = [update.version for update in updates]
    assert versions == sorted(set(versions)) and versions[-1] > version


def test_bad_episodes_are_left_out_with_a_reason(graph, recorder, start, checkpoint):
    logs, updates = graph.logs(), graph.collect(PolicyUpdate, POLICY_UPDATE, LATCHED)
    encoder = checkpoint.encoder_id
    nan = np.full(STEPS * 5, np.nan, np.float32)
    recorder.give(
        record("0" * 64, 0),
        record(encoder, 1, actions=nan),
        record(encoder, 2, breaks=[False]),
        "the bag is truncated",
        None,
        record(encoder, 5),
    )
    start()
    graph.wait(lambda: updates and updates[-1].step == STEPS, "updates of the good one")
    logs.expect("episode 0 is left out: the episode is of encoder 000000000000")
    logs.expect("episode 1 is left out: the episode has actions that are not finite")
    logs.expect("episode 2 is left out: the episode says 12 steps")
    logs.expect("episode 3 is left out: the bag is truncated")
    assert logs.count("episode 4") == logs.count("episode 5") == 0


def test_failures_can_be_left_aside_unless_a_person_helped(graph, recorder, start, checkpoint):
    updates = graph.collect(PolicyUpdate, POLICY_UPDATE, LATCHED)
    node = start(learn_from="successes")
    failed, succeeded = EpisodeRecord.FAILURE, EpisodeRecord.SUCCESS
    helped = bytes([CartesianDelta.POLICY, CartesianDelta.TELEOP] * (STEPS // 2))
    recorder.give(
        record(checkpoint.encoder_id, 0, label=failed),
        record(checkpoint.encoder_id, 1, label=succeeded),
        record(checkpoint.encoder_id, 2, label=failed, sources=helped),
    )
    graph.wait(lambda: updates and updates[-1].step == 3 * STEPS, "updates for every step")
    assert len(node._run.learner.online) == 2 * STEPS


@pytest.mark.parametrize("label", [EpisodeRecord.FAILURE, EpisodeRecord.SUCCESS])
def test_the_latent_signal_does_not_see_the_label(graph, recorder, tmp_path, start, label):
    tiny_checkpoint(tmp_path / "strict", config=tiny_config(reward_epsilon=1e-3))
    encoder = load_checkpoint(tmp_path / "strict").encoder_id
    updates = graph.collect(PolicyUpdate, POLICY_UPDATE, LATCHED)
    node = start(
        checkpoint=str(tmp_path / "strict"), learn_from="successes", success_signal="latent"
    )
    reached = record(encoder, 0, label=label)
    reached.goal = latent_message(np.array(reached.latents.indices[-144:]), encoder)
    elsewhere = record(encoder, 1, label=label, goal=reached.goal)
    aimless = record(encoder, 2, label=label)
    aimless.latents = reached.latents
    recorder.give(reached, elsewhere, aimless)
    graph.wait(lambda: updates and updates[-1].step == 3 * STEPS, "updates for every step")
    assert len(node._run.learner.online) == STEPS


def test_weights_that_diverge_are_taken_back(graph, recorder, start, checkpoint):
    logs, updates = graph.logs(), graph.collect(PolicyUpdate, POLICY_UPDATE, LATCHED)
    node = start(learning_rate=0.1)
    wild = np.tile(np.float32([3e38, -3e38, 3e38, -3e38, 3e38]), STEPS)
    recorder.give(record(checkpoint.encoder_id, 0, actions=wild))
    logs.expect("the networks diverged")
    recorder.give(record(checkpoint.encoder_id, 1))
    graph.wait(lambda: updates and updates[-1].step == 2 * STEPS, "updates")
    assert all(taken(update, checkpoint) for update in updates)
    assert node.active


def test_other_recordings_than_before_are_refused(graph, start, checkpoint):
    logs = graph.logs()
    today = graph.add(Recorder(graph.context))
    start()
    today.give(record(checkpoint.encoder_id, 0))
    graph.wait(lambda: today.asked, "the first pull")
    graph.remove(today)
    graph.add(Recorder(graph.context, "tomorrow"))
    logs.expect("the recordings changed from today to tomorrow")


def test_without_a_folder_it_says_so_and_lives(graph, start):
    logs = graph.logs()
    node = start(folder="")
    logs.expect("no folder given")
    assert not node.active


@pytest.mark.process
def test_two_learners_in_one_folder_are_refused_until_the_first_has_died(
    graph, recorder, start, checkpoint, folder, tmp_path
):
    logs, updates = graph.logs(), graph.collect(PolicyUpdate, POLICY_UPDATE, LATCHED)
    place = tmp_path / "learner"
    values = {"checkpoint": folder, "folder": place, "learn_from": "all", "publish_every": 4}
    words = [f"-p {name}:={value}" for name, value in {**values, "utd_ratio": 1.0}.items()]
    code = "import sys\nfrom ptp_nodes.nodes.learner_node import main\nsys.exit(main())"
    arguments = " ".join(("--ros-args", *words)).split(" ")
    first = subprocess.Popen([sys.executable, "-c", code, *arguments], **on_a_leash())
    try:
        recorder.give(record(checkpoint.encoder_id, 0))
        graph.wait(lambda: updates and updates[-1].step == STEPS, "updates of the first learner")
        before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
        second = start()
        logs.expect(f"activate failed: {place}: another process is writing here: wait for it")
        assert not second.active
        assert before == {path: path.read_bytes() for path in before}
        recorder.give(record(checkpoint.encoder_id, 1))
        graph.wait(lambda: updates[-1].step == 2 * STEPS, "more updates of the first learner")
        assert recorder.asked == [0, 1]
    finally:
        first.kill()
        first.wait()
    assert second.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert second.active


def test_a_gap_splits_an_episode(checkpoint):
    breaks = [False] * STEPS
    breaks[0] = breaks[5] = True
    whole = record(checkpoint.encoder_id, breaks=breaks)
    parts = segments(whole, checkpoint)
    codes = np.array(whole.latents.indices).reshape(-1, 144)
    assert [part.steps for part in parts] == [4, STEPS - 6]
    assert (parts[0].codes == codes[1:6]).all() and (parts[1].codes == codes[6:]).all()
    assert (parts[1].actions == np.array(whole.actions).reshape(-1, 5)[6:]).all()
    assert (parts[1].targets == np.array(whole.targets.indices).reshape(-1, 144)[6:]).all()


def test_a_demonstration_has_no_targets(checkpoint):
    (part,) = segments(record(checkpoint.encoder_id, targets=LatentArray()), checkpoint)
    assert part.targets is None


def test_codes_beyond_the_codebook_are_refused(checkpoint):
    codes = latent_message(np.full((STEPS + 1, 144), 600), checkpoint.encoder_id)
    with pytest.raises(RequestError, match="index 600"):
        segments(record(checkpoint.encoder_id, latents=codes), checkpoint)


def test_actions_of_another_layout_are_refused(checkpoint):
    other = record(checkpoint.encoder_id, action_names=["left", "right"])
    with pytest.raises(
        InputError, match="actions are left, right; ptp_single_subgoal gives dx, dy"
    ):
        segments(other, checkpoint)
    short = record(checkpoint.encoder_id, actions=np.zeros(7, np.float32))
    with pytest.raises(InputError, match="12 steps and has 7 numbers"):
        segments(short, checkpoint)


def with_proprioception(checkpoint, names):
    spec = dataclasses.replace(checkpoint.spec, proprioception=names)
    return dataclasses.replace(checkpoint, spec=spec)


def test_proprioception_is_taken_by_name_and_split_like_the_rest(checkpoint):
    needs = with_proprioception(checkpoint, ("z", "x"))
    values = np.arange((STEPS + 1) * 3, dtype=np.float32)
    breaks = [False] * STEPS
    breaks[5] = True
    felt = record(
        checkpoint.encoder_id,
        breaks=breaks,
        proprioception_names=["x", "y", "z"],
        proprioception=values,
    )
    first, second = segments(felt, needs)
    table = values.reshape(-1, 3)[:, [2, 0]]
    np.testing.assert_array_equal(first.proprioception, table[:6])
    np.testing.assert_array_equal(second.proprioception, table[6:])
    other = with_proprioception(checkpoint, ("gripper",))
    assert {part.proprioception is None for part in segments(felt, other)} == {True}


@pytest.mark.parametrize(
    ("values", "reason"),
    [(np.zeros(5), "12 steps and has 5 numbers"), (np.full(STEPS + 1, np.nan), "not finite")],
)
def test_proprioception_that_cannot_be_is_refused(checkpoint, values, reason):
    needs = with_proprioception(checkpoint, ("x",))
    wrong = record(
        checkpoint.encoder_id,
        proprioception_names=["x"],
        proprioception=values.astype(np.float32),
    )
    with pytest.raises(InputError, match=reason):
        segments(wrong, needs)
