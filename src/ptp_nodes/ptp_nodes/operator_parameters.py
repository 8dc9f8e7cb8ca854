# SPDX-License-Identifier: Apache-2.0
"""Parameters of the operator node."""

from __future__ import annotations

from dataclasses import dataclass

from ptp_nodes.goals import FOLDER
from ptp_robot.gamepad import GamepadMapping
from ptp_ros.parameters import parameter

PAD = GamepadMapping()


@dataclass(frozen=True)
class OperatorParameters:
    """Parameters of the operator node."""

    goals: str = parameter(FOLDER, "folder of the goal files that ptp goal capture takes")
    goal: str = parameter(
        "", "goal of every task: a name in that folder, or a .npz; empty: named like the task"
    )
    home: bool = parameter(True, "send the arm home before a scene is arranged")
    home_patience: float = parameter(30.0, "s for the way home", minimum=1.0)
    picture_patience: float = parameter(
        5.0, "s for a new picture once the scene is arranged", minimum=0.1
    )
    remind: float = parameter(15.0, "s between reminders of what is asked", minimum=1.0)
    tty: str = parameter(
        "", "terminal whose keys answer: Enter confirms, s success, f failure; empty: none"
    )
    gamepad: bool = parameter(True, "let a gamepad's buttons answer, too")
    button_dead_man: int = parameter(
        PAD.button_dead_man, "while it is held, buttons are no answers", minimum=0
    )
    button_confirm: int = parameter(PAD.button_start, "the scene is arranged", minimum=0)
    button_success: int = parameter(PAD.button_success, "the goal is reached", minimum=0)
    button_failure: int = parameter(PAD.button_failure, "it is not; or give up", minimum=0)

    def mapping(self) -> GamepadMapping:
        """The gamepad's buttons. Raises InputError where two coincide."""
        return GamepadMapping(
            button_dead_man=self.button_dead_man,
            button_start=self.button_confirm,
            button_success=self.button_success,
            button_failure=self.button_failure,
        )
