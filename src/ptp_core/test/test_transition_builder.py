# SPDX-License-Identifier: Apache-2.0
"""Transitions from latents, arm states and policy steps: who did what, and what is missing."""

import numpy as np
import pytest

from ptp_core.episodes.bag_testing import LATENT, OBSERVATION, PLAN, STATE, STEP, Senders
from ptp_core.episodes.episode import SCRIPT, TELEOP, EpisodeInfo, make_row
from ptp_core.episodes.transition_builder import TransitionBuilder, assemble
from ptp_core.errors import EpisodeError

INFO = EpisodeInfo(episode_id="e")


def rows(senders, messages):
    return [
        make_row(topic.kind, senders.definitions.decode(topic.kind, data))
        for topic, data in messages
    ]


def put_together(senders, messages, info=INFO, end_reason="judged"):
    return assemble(info, rows(senders, messages), end_reason)


def without(messages, topic, *numbers):
    """Messages less the given ones of a topic, counted from 0."""
    count, kept = -1, []
    for entry in messages:
        if entry[0] == topic:
            count += 1
            if count in numbers:
                continue
        kept.append(entry)
    return kept


def test_the_command_that_the_arm_accepted_is_the_action(senders):
    episode, steps = put_together(senders, senders.episode(4))
    assert episode.observation_seqs.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(episode.latents, [senders.codes(k) for k in range(5)])
    assert episode.actions[:, 0] == pytest.approx(np.array([1, 2, 3, 4]) * 0.001 / 0.05)
    assert episode.actions.dtype == np.float32
    assert episode.weights_versions == ["w1"] * 4
    assert not episode.breaks.any()
    assert [step.executed[0] for step in steps] == pytest.approx([0.001, 0.002, 0.003, 0.004])
    assert [step.end_reason for step in steps] == ["", "", "", "judged"]


def test_an_action_beyond_the_scale_is_clipped(senders):
    messages = list(senders.episode(1, source=SCRIPT))
    messages[-2] = (STATE, senders.state(1, source=SCRIPT, dx=-0.2, dyaw=0.01, gripper=1.0))
    episode, _ = put_together(senders, messages)
    assert episode.actions[0].tolist() == pytest.approx([-1, 0, 0, 0.01 / np.radians(5), 1])


def test_the_reward_is_that_of_the_next_observation_under_the_same_target(senders):
    messages = [
        *((LATENT, senders.latent(k)) for k in range(4)),
        *((STATE, senders.state(k, moved=k > 0)) for k in range(4)),
        (STEP, senders.step(0, subgoal=0)),
        (STEP, senders.step(1, subgoal=0, reward=0.0)),  # reached
        (STEP, senders.step(2, subgoal=1)),  # switched: not known for the old target
    ]
    episode, steps = put_together(senders, messages)
    assert episode.rewards == pytest.approx([0.0, np.nan, np.nan], nan_ok=True)
    assert np.array_equal(episode.targets[1], senders.codes(1000))
    assert np.array_equal(episode.targets[2], senders.codes(1001))
    assert [step.subgoal_index for step in steps] == [0, 0, 1]


def test_the_goal_is_that_of_the_plan_or_of_the_step_that_pursues_it(senders):
    messages = list(senders.episode(12))  # the steps pursue subgoals 0, 1 and the goal
    episode, _ = put_together(senders, messages)
    assert np.array_equal(episode.goal, senders.codes(1002))
    plan = (PLAN, senders.plan("e", goal=77))
    assert np.array_equal(put_together(senders, [plan, *messages])[0].goal, senders.codes(77))
    other = (PLAN, senders.plan("another episode", goal=77))
    assert np.array_equal(put_together(senders, [other, *messages])[0].goal, senders.codes(1002))


def test_a_demonstration_has_no_target_no_goal_and_no_reward(senders):
    episode, steps = put_together(senders, senders.episode(3, source=TELEOP))
    assert episode.targets.shape == (0,)
    assert episode.goal.shape == (0,)
    assert np.isnan(episode.rewards).all()
    assert episode.sources.tolist() == [TELEOP] * 3
    assert not any(step.intervention for step in steps)
    assert not episode.breaks.any()


def test_a_person_in_a_policy_episode_pursues_what_the_policy_last_did(senders):
    messages = [
        *((LATENT, senders.latent(k)) for k in range(5)),
        (STATE, senders.state(0, moved=False)),
        (STATE, senders.state(1)),
        (STATE, senders.state(2, source=TELEOP)),
        (STATE, senders.state(3, source=TELEOP)),
        (STATE, senders.state(4)),
        (STEP, senders.step(0, subgoal=1)),
        (STEP, senders.step(3, subgoal=2)),
    ]
    episode, steps = put_together(senders, messages)
    assert [step.intervention for step in steps] == [False, True, True, False]
    assert [step.subgoal_index for step in steps] == [1, 1, 1, 2]
    assert not episode.breaks.any()
    assert episode.interventions == 2


def test_observations_at_which_the_arm_stood_still_are_left_out(senders):
    still = {2, 3}
    messages = [
        *((LATENT, senders.latent(k)) for k in range(6)),
        *((STATE, senders.state(k, moved=k > 0 and k not in still)) for k in range(6)),
        *((STEP, senders.step(k)) for k in range(5)),
    ]
    episode, _ = put_together(senders, messages)
    assert episode.observation_seqs.tolist() == [0, 1, 4, 5]
    assert not episode.breaks.any()


def test_a_scene_that_was_set_up_anew_breaks_the_step_across(senders):
    messages = [
        *((LATENT, senders.latent(k)) for k in range(5)),
        (STATE, senders.state(0, moved=False)),
        (STATE, senders.state(1)),
        (STATE, senders.state(2, moved=False, at=0.7)),
        (STATE, senders.state(3, at=0.7)),
        (STATE, senders.state(4, at=0.7)),
        *((STEP, senders.step(k)) for k in range(4)),
    ]
    episode, _ = put_together(senders, messages)
    assert episode.observation_seqs.tolist() == [0, 1, 3, 4]
    assert episode.breaks.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("topic", "numbers", "chain", "breaks"),
    [
        (LATENT, [2], [0, 1, 3, 4], [False, True, False]),
        (STATE, [2], [0, 1, 3, 4], [False, True, False]),
        (STATE, [2, 3], [0, 1, 4], [False, True]),
        (STEP, [2], [0, 1, 2, 3, 4], [False, False, True, False]),
        (LATENT, [0], [1, 2, 3, 4], [False, False, False]),
        (LATENT, [4], [0, 1, 2, 3], [False, False, False]),
        (OBSERVATION, [2], [0, 1, 2, 3, 4], [False, False, False, False]),
    ],
)
def test_what_is_missing_breaks_the_step_and_no_other(senders, topic, numbers, chain, breaks):
    episode, _ = put_together(senders, without(list(senders.episode(4)), topic, *numbers))
    assert episode.observation_seqs.tolist() == chain
    assert episode.breaks.tolist() == breaks
    assert len(episode.rewards) == len(episode.targets) == len(breaks)


def test_a_latent_that_says_nothing_counts_as_missing_until_it_comes_right(senders):
    messages = without(list(senders.episode(3)), LATENT, 1, 2, 3)
    messages += [
        (LATENT, senders.latent(1, error_code=1)),
        (LATENT, senders.latent(1)),
        (LATENT, senders.latent(2, encoder_id="another")),
        (LATENT, senders.latent(3)),
    ]
    episode, _ = put_together(senders, messages)
    assert episode.observation_seqs.tolist() == [0, 1, 3]
    assert episode.breaks.tolist() == [False, True]
    assert episode.encoder_id == "encoder"


def test_what_comes_before_the_first_observation_or_twice_or_from_a_restart_is_left_out(senders):
    messages = list(senders.episode(6))
    messages += [(STATE, senders.state(3, source=TELEOP, dx=0.05)), (STATE, senders.state(0))]
    episode, _ = put_together(senders, messages, EpisodeInfo(first_observation_seq=2))
    assert episode.observation_seqs.tolist() == [2, 3, 4, 5, 6]
    assert TELEOP not in episode.sources


def test_what_a_sender_that_was_restarted_since_had_said_is_left_out(senders):
    stale = [
        (OBSERVATION, senders.observation(6)),
        (LATENT, senders.latent(6, encoder_id="older")),
        (STATE, senders.state(6)),
    ]
    episode, _ = put_together(senders, stale + list(senders.episode(8)))
    fresh, _ = put_together(senders, senders.episode(8))
    assert episode.observation_seqs.tolist() == list(range(9))
    assert np.array_equal(episode.latents, fresh.latents)
    assert not episode.breaks.any()


def test_the_order_between_topics_changes_nothing(senders):
    messages = list(senders.episode(20))
    one, steps = put_together(senders, messages)
    other, _ = put_together(senders, sorted(messages, key=lambda m: m[0].name))
    assert np.array_equal(one.latents, other.latents)
    assert np.array_equal(one.rewards, other.rewards, equal_nan=True)
    assert np.array_equal(one.targets, other.targets)
    assert len(steps) == 20


def test_steps_are_known_live_one_state_later(senders):
    assembler = TransitionBuilder(INFO)
    live = []
    for row in rows(senders, senders.episode(20)):
        assembler.add(row)
        live += assembler.advance()
    _, final = put_together(senders, senders.episode(20))
    assert [step.step for step in live] == list(range(19))
    for now, then in zip(live, final[:-1], strict=True):
        assert (now.observation_seq, now.subgoal_index) == (
            then.observation_seq,
            then.step // 5 % 3,
        )
        assert now.reward == pytest.approx(then.reward, nan_ok=True)


def test_nothing_at_all_is_an_episode_without_steps(senders):
    episode, steps = put_together(senders, [])
    assert (episode.count, steps, len(episode.latents)) == (0, [], 0)
    one, _ = put_together(senders, senders.episode(0))
    assert (one.count, len(one.latents)) == (0, 1)


def test_an_agent_without_an_encoder_is_recorded_by_its_observations(senders):
    names = tuple(f"joint_{number}" for number in range(1, 8))
    other = Senders(
        senders.definitions,
        cameras=("front", "wrist"),
        proprioception=("x [m]", "yaw [rad]"),
        actions=names,
    )
    episode, steps = put_together(other, other.episode(6, encoded=False))
    assert episode.observation_seqs.tolist() == list(range(7))
    assert episode.action_names == names
    assert np.array_equal(episode.actions, [other.action(k) for k in range(6)])
    assert episode.proprioception_names == ("x [m]", "yaw [rad]")
    assert np.array_equal(episode.proprioception, [other.numbers(k) for k in range(7)])
    assert [a.shape for a in (episode.latents, episode.targets, episode.goal)] == [(0,)] * 3
    assert not episode.breaks.any() and all(step.pursued for step in steps)
    # The same while it is recorded.
    assembler, live = TransitionBuilder(INFO), []
    for row in rows(other, other.episode(6, encoded=False)):
        assembler.add(row)
        live += assembler.advance()
    assert [step.observation_seq for step in live] == list(range(5))


def test_what_a_person_does_in_an_episode_of_other_actions_is_not_learned_from(senders):
    other = Senders(senders.definitions, actions=("left", "right"))
    messages = list(other.episode(3))
    messages += [(LATENT, other.latent(4)), (STATE, other.state(4, source=TELEOP))]
    episode, _ = put_together(other, messages)
    assert episode.breaks.tolist() == [False, False, False, True]
    assert episode.actions.shape == (4, 2) and not episode.actions[3].any()


def test_a_demonstration_without_an_encoder_keeps_what_the_robot_felt(senders):
    other = Senders(senders.definitions, proprioception=("x [m]",))
    episode, _ = put_together(other, other.episode(3, source=TELEOP, encoded=False))
    assert episode.observation_seqs.tolist() == [0, 1, 2, 3]
    assert np.array_equal(episode.proprioception, [other.numbers(k) for k in range(4)])
    assert episode.latents.shape == (0,)


def test_fields_that_contradict_each_other_are_no_row(senders):
    step = senders.definitions.decode(STEP.kind, senders.step(0))
    step.action_names = ["left"]
    with pytest.raises(EpisodeError, match="1 names for 5 actions"):
        make_row(STEP.kind, step)
    latent = senders.definitions.decode(LATENT.kind, senders.latent(0))
    latent.latent.shape = np.array([143], np.uint32)
    with pytest.raises(EpisodeError, match=r"shape \[143\] has 144 numbers"):
        make_row(LATENT.kind, latent)
    observation = senders.definitions.decode(OBSERVATION.kind, senders.observation(0))
    observation.proprioception = np.zeros(2, np.float32)
    with pytest.raises(EpisodeError, match="0 names for 2 numbers"):
        make_row(OBSERVATION.kind, observation)
