# SPDX-License-Identifier: Apache-2.0
"""The scripted person demonstrates through a gamepad's readings alone, on the real table."""

import numpy as np
import pytest

from ptp_robot.teleoperation import Button, Gamepad
from ptp_sim.demonstrator import PATIENCE, Demonstrator, DemonstratorPhase, Stuck, stick
from ptp_sim.env import make_env

TICK = 0.05  # s


class World:
    """Table, teleoperation and recorder as they are on the graph, and a clock driven by hand."""

    def __init__(self, script, task="A"):
        self.script, self.task = script, task
        self.env = make_env()
        self.gamepad = Gamepad()
        self.now, self.seq, self.resets, self.saved = 0.0, 0, 0, 0
        self.recording = False
        self.labels, self.episodes = [], []
        self.reset()
        script.hear_encoder()
        script.hear(False, 0, self.now)

    def reset(self):
        self.resets += 1
        self.env.reset(seed=self.resets, options={"task": self.task, "protocol": "varied"})
        self.show()

    def show(self):
        self.seq += 1
        state = self.env.world.state()
        self.script.see(state, self.seq, self.task, self.resets, self.now)

    def tick(self):
        self.now += TICK
        reading = self.script.reading(self.now)
        self.gamepad.read(reading.axes, reading.buttons, self.now)
        for button in self.gamepad.take_presses():
            self.press(button)
        move = self.gamepad.move(self.now)
        if move is not None and move.dead_man:
            assert self.recording, "the arm moved and nobody recorded it"
            self.episodes[-1].append(move.action)
            self.env.step(move.action)
            self.show()

    def wait(self, seconds):
        for _ in range(round(seconds / TICK)):
            self.tick()

    def press(self, button):
        if button is Button.RESET:
            self.reset()
        elif button is Button.START:
            assert not self.recording
            self.recording = True
            self.episodes.append([])
        else:
            assert self.recording
            self.recording = False
            self.saved += 1
            self.labels.append(button)
        self.script.hear(self.recording, self.saved, self.now)

    def run(self, ticks=2000):
        for _ in range(ticks):
            if self.script.phase is DemonstratorPhase.DONE:
                return
            self.tick()
        raise AssertionError(f"not done after {ticks} ticks: {self.script.phase}")


@pytest.fixture
def world():
    worlds = []

    def make(*args, **values):
        worlds.append(World(*args, **values))
        return worlds[-1]

    yield make
    for one in worlds:
        one.env.close()


@pytest.mark.parametrize("task", ["A", "C"])
def test_the_stages_of_a_task_are_demonstrated_saved_and_then_the_next_scene_is_asked_for(
    world, task
):
    table = world(Demonstrator(3, noise=0.05), task)
    table.run()
    assert table.labels.count(Button.SUCCESS) == 3
    assert table.resets == 2 + table.labels.count(Button.FAILURE)
    assert len({np.round(actions[0], 3).tobytes() for actions in table.episodes}) > 1
    assert all(20 < len(actions) <= 150 for actions in table.episodes)


def test_what_takes_too_long_is_saved_as_failure_and_the_next_scene_is_asked_for(world):
    table = world(Demonstrator(1, max_steps=5))
    table.wait(5.0)
    assert table.labels[:2] == [Button.FAILURE] * 2
    assert [len(actions) for actions in table.episodes[:2]] == [5, 5]
    assert table.resets >= 3


def test_a_press_that_nobody_heard_is_made_again_and_at_last_given_up(world):
    table, heard = world(Demonstrator(1)), []
    table.press = heard.append
    table.wait(10.0)
    assert heard == [Button.START] * 3
    assert table.script.phase is DemonstratorPhase.START
    with pytest.raises(Stuck, match="start an episode: nothing has come of it"):
        table.wait(PATIENCE)


def test_it_waits_until_scene_encoder_and_recorder_were_heard_of():
    script = Demonstrator(1)
    for say in (lambda: script.hear(False, 0, 0.0), script.hear_encoder):
        for tenths in range(30):
            assert not any(script.reading(tenths / 10).buttons)
        say()
    assert script.phase is DemonstratorPhase.WAIT


@pytest.mark.parametrize("value", [-1.0, -0.3, 0.0, 0.001, 0.7, 1.0])
def test_a_stick_stands_where_the_gamepad_reads_the_value(value):
    gamepad = Gamepad()
    axes = [0.0] * 6
    axes[1] = stick(value, gamepad.mapping.dead_zone)
    gamepad.read(axes, [0, 0, 0, 0, 1, 0, 0, 0], 0.0)
    assert gamepad.move(0.0).action[0] == pytest.approx(value)
