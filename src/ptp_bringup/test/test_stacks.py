# SPDX-License-Identifier: Apache-2.0
"""What a stack starts for given arguments, and what it says of wrong ones."""

import os
import sys

import pytest

from ptp_bringup.arguments import EPISODE_STEPS, LONG_EPISODE_STEPS, PROTOCOLS
from ptp_bringup.declarations import (
    And,
    Argument,
    Equals,
    IfCondition,
    IfElse,
    LaunchConfiguration,
    Node,
    NotEquals,
    flag,
)
from ptp_bringup.share_folder import shared_root
from ptp_bringup.stacks import STACK_NAMES, Stack, all_stacks, parse, stack_named
from ptp_core.agents.registry import method_named, methods
from ptp_core.errors import CheckpointError, ConfigError, PtpError
from ptp_core.practice.practice_settings import preset
from ptp_core.tiny_networks import tiny_instructed_checkpoint
from ptp_core.training.manifest import read_contents
from ptp_sim.env import TableEnv
from ptp_sim.long_tasks import LONG_TASKS
from ptp_sim.tasks import TASKS

STACKS = all_stacks()


def toy(*nodes, arguments, **more):
    """A stack of these nodes."""
    more = {"name": "toy", "description": "a toy", **more}
    return Stack(arguments=arguments, nodes=nodes, **more)


def node(name, executable="worker", **more):
    """A node that nobody starts."""
    return Node(package="p", executable=executable, name=name, **more)


STACK = toy(
    node(
        "hand",
        parameters={
            "tasks": LaunchConfiguration("task", list[str]),
            "speed": LaunchConfiguration("speed", float),
            "fixed": "1",
        },
        remappings=(("a", "b"),),
    ),
    node("eye", arguments=("-d", LaunchConfiguration("kind")), condition=IfCondition("look")),
    node("crane", condition=Equals("kind", "large")),
    node("finger", condition=And(IfCondition("look"), NotEquals("kind", "large"))),
    arguments=(
        Argument("task", "A", "what to do"),
        Argument("speed", "1.0", "how fast", minimum=0.1, maximum=2.0),
        Argument("parts", "P", "of what", ("P", "Q"), several=True),
        Argument("count", "1", "how many", minimum=1),
        Argument("kind", "small", "which", ("small", "large")),
        Argument("look", "false", "whether to look", ("true", "false")),
        Argument("params_file", "", "YAML"),
        Argument("only", "", "here"),
        Argument("without", "", "elsewhere"),
    ),
)


def test_defaults_start_the_nodes_that_are_wanted():
    (hand,) = STACK.processes({})
    assert hand.defaults == {"tasks": ("A",), "speed": 1.0, "fixed": "1"}
    assert hand.explicit == {}
    assert hand.command_line() == [
        *("--ros-args", "-r", "__node:=hand", "--enclave", "/ptp/hand"),
        *("-r", "a:=b", "--log-level", "info"),
        *("-p", 'tasks:=["A"]', "-p", "speed:=1.0", "-p", 'fixed:="1"'),
    ]


def test_the_nodes_of_given_arguments_and_of_any_can_be_listed():
    assert STACK.names() == STACK.names({}) == ("hand",)
    assert STACK.names({"look": "true", "kind": "large"}) == ("hand", "eye", "crane")
    assert STACK.names({"look": "true"}) == ("hand", "eye", "finger")
    assert "view" in STACKS["sim"].names({})
    assert "view" not in STACKS["sim"].names({"view": "false"})
    assert not {"view", "rviz", "robot_state_publisher"} & set(STACKS["sim"].names())


def test_given_arguments_come_after_the_file_and_so_win_over_it(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("hand:\n  ros__parameters:\n    speed: 5.0\n")
    (hand,) = STACK.processes({"task": "A, B", "params_file": str(path)})
    line = hand.command_line()
    order = [line.index(text) for text in ("speed:=1.0", str(path), 'tasks:=["A", "B"]')]
    assert order == sorted(order)
    assert hand.explicit == {"tasks": ("A", "B")}


def test_a_node_can_be_asked_for_and_its_arguments_filled_in():
    _, eye, crane = STACK.processes({"look": "true", "kind": "large"})
    assert crane.node.name == "crane"
    assert eye.command_line()[:3] == ["-d", "large", "--ros-args"]


def test_an_episode_has_the_steps_of_its_task_unless_a_number_is_given():
    assert {name: task.steps for name, task in TASKS.items()} == EPISODE_STEPS
    assert {name: task.steps for name, task in LONG_TASKS.items()} == LONG_EPISODE_STEPS
    assert TableEnv.protocols == PROTOCOLS

    def steps(**given):
        (practice,) = (p for p in STACKS["sim"].processes(given) if p.node.name == "practice")
        return {**practice.defaults, **practice.explicit}["max_steps"]

    assert steps() == (400,)
    assert steps(task="A,D") == (400, 600)
    assert steps(task="A,D", max_steps="8") == (8,)
    assert steps(task="long_4,long_5") == (400, 600)


def test_nodes_can_be_shared_out_between_machines():
    given = {"look": "true", "kind": "large"}

    def started(**more):
        return [process.node.name for process in STACK.processes({**given, **more})]

    assert started(only="eye, crane") == ["eye", "crane"]
    assert started(without="eye,crane") == ["hand"]
    assert started(only="hand,eye", without="eye") == ["hand"]


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_every_stack_can_be_shared_out(stack):
    assert {"only", "without"} <= {argument.name for argument in stack.arguments}


PRESETS = {"ours": {"rate": "2.0", "mode": "mean"}, "paper": {"rate": "1.0", "mode": "sample"}}
CHOSEN = toy(
    node(
        "hand",
        parameters={
            "rate": LaunchConfiguration("rate", float),
            "mode": LaunchConfiguration("mode"),
        },
    ),
    name="chosen",
    arguments=(
        Argument("preset", "ours", "which", ("ours", "paper")),
        Argument("rate", "preset", "how fast", minimum=0.5),
        Argument("mode", "preset", "how", ("preset", "mean", "sample")),
    ),
    presets=PRESETS,
    renamed={"explore": "mode:=sample"},
)


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({}, {"rate": 2.0, "mode": "mean"}),
        ({"preset": "paper"}, {"rate": 1.0, "mode": "sample"}),
        ({"preset": "paper", "mode": "mean"}, {"rate": 1.0, "mode": "mean"}),
        # ros2 launch gives every argument.
        ({"preset": "paper", "mode": "preset", "rate": "preset"}, {"rate": 1.0, "mode": "sample"}),
    ],
)
def test_a_preset_sets_what_is_not_set(given, values):
    (hand,) = CHOSEN.processes(given)
    assert {**hand.defaults, **hand.explicit} == values


def test_a_preset_that_was_asked_for_wins_over_the_file():
    (hand,) = CHOSEN.processes({"preset": "paper"})
    assert hand.explicit == {"rate": 1.0, "mode": "sample"}


def test_an_old_argument_names_the_new_one():
    with pytest.raises(ConfigError, match=r"^chosen: explore is now mode:=sample$"):
        CHOSEN.processes({"explore": "true"})


@pytest.mark.parametrize("stack", ["sim", "practice", "real"])
def test_every_node_takes_the_released_checkpoint_of_the_method(stack, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "manifest.json").write_text("{}")
    more = {} if stack == "sim" else {"learn": "true"}

    def checkpoints(**given):
        found = {}
        for process in stack_named(stack).processes({**more, **given}):
            values = {**process.defaults, **process.explicit}
            if "checkpoint" in values:
                found[process.node.name] = values["checkpoint"]
        before = method_named(given["method"]).planned_before
        assert found.keys() >= {"encoder", "policy"} | ({"planner"} if before else set())
        return set(found.values())

    models = shared_root() / "models"
    parts = set(read_contents(models / "table").parts)
    for method in methods().values():
        if not {*method.parts} <= parts and not (models / method.name).is_dir():
            with pytest.raises(CheckpointError, match="train one"):
                checkpoints(method=method.name)
        elif not (models / method.name).is_dir():
            assert checkpoints(method=method.name) == {str(models / "table")}
        elif method.practises or stack == "sim":
            assert checkpoints(method=method.name) == {str(models / method.name)}
            assert checkpoints(method=method.name, checkpoint=str(own)) == {str(own)}


@pytest.mark.parametrize("stack", ["sim", "practice", "real"])
def test_a_method_in_closed_loop_plans_in_the_policy_node_and_sees_the_goal_image(stack, tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    given = {"method": "ptp_legs", "checkpoint": str(tmp_path)}
    if stack != "sim":
        given["actions"] = "sample"
    found = {process.node.name: process for process in stack_named(stack).processes(given)}
    assert "planner" not in found
    values = {**found["practice"].defaults, **found["practice"].explicit}
    assert values["goal_kind"] == "image"
    follower = {**found["policy"].defaults, **found["policy"].explicit}
    assert follower.get("follower.sample_actions") is (None if stack == "sim" else True)


@pytest.mark.parametrize("stack", ["practice", "real"])
def test_a_method_that_does_not_practise_has_no_learner(stack):
    with pytest.raises(ConfigError, match="method gcbc does not learn from practice: learn:=fal"):
        stack_named(stack).processes({"method": "gcbc", "learn": "true"})
    found = stack_named(stack).processes({"method": "gcbc", "learn": "false"})
    assert "learner" not in {process.node.name for process in found}


@pytest.mark.parametrize("stack", ["practice", "real"])
def test_practice_on_the_graph_has_the_settings_of_practice_in_process(stack):
    for name in ("ours", "paper"):
        given = {"preset": name, "learn": "true"}
        processes = {p.node.name: p for p in stack_named(stack).processes(given)}
        found = {name: {**p.defaults, **p.explicit} for name, p in processes.items()}
        wanted = preset(name)
        learner = {key: found["learner"][key] for key in ("learn_from", "success_signal")}
        assert learner == {
            "learn_from": wanted.learn_from,
            "success_signal": wanted.success_signal,
        }
        assert found["learner"]["utd_ratio"] == wanted.utd_ratio
        assert found["learner"]["learning_rate"] == wanted.learning_rate
        assert found["planner"]["reuse_plans"] is wanted.reuse_plans
        assert found["practice"]["success_signal"] == wanted.success_signal
        assert found["policy"]["follower.sample_actions"] is (wanted.actions == "sample")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"taks": "A"}, 'toy has no argument "taks"; did you mean "task"'),
        ({"kind": "huge"}, 'kind is "huge"; it must be one of small, large'),
        ({"speed": "fast"}, 'speed is "fast"; it must be a number'),
        ({"speed": "-3"}, "speed is -3; it must be from 0.1 to 2"),
        ({"speed": "nan"}, "speed is nan; it must be from 0.1 to 2"),
        ({"count": "0"}, "count is 0; it must be 1 or more"),
        ({"parts": "P,R"}, 'parts is "P,R"; it must be a list of P, Q'),
        ({"parts": ""}, r"parts is \(empty\); it must be a list of P, Q"),
        ({"task": " , "}, "it must be a list like A,B"),
        ({"only": "arm"}, "only names arm; with these arguments toy has hand"),
        ({"without": "ear,hand"}, "without names ear; with"),
        ({"without": "hand"}, "leave no node to start on this machine"),
        ({"params_file": "/nowhere.yaml"}, "params_file /nowhere.yaml: cannot be read"),
    ],
)
def test_a_wrong_argument_is_named(given, text):
    with pytest.raises(ConfigError, match=text):
        STACK.processes(given)


def test_a_broken_params_file_is_named(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("a: [1,\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        STACK.processes({"params_file": str(path)})


def test_the_explanation_has_every_argument_with_choices_and_default():
    text = STACK.show_arguments()
    for argument in STACK.arguments:
        assert f"'{argument.name}':\n        {argument.description}" in text
    assert "one of: small, large\n        (default: 'small')" in text
    assert "a list of: P, Q\n" in text and "from 0.1 to 2\n" in text and "1 or more\n" in text


def test_words_of_the_command_line_become_arguments():
    assert parse(["task:=A,B", "output:=a:=b"]) == {"task": "A,B", "output": "a:=b"}
    with pytest.raises(ConfigError, match='"--task" is no argument; write name:=value'):
        parse(["--task"])


def test_flags_are_true_or_false():
    assert (flag("true"), flag("false")) == (True, False)
    with pytest.raises(ValueError, match="yes"):
        flag("yes")


def test_lock_step_runs_on_simulated_time_and_real_time_does_not():
    for mode, simulated in (("lock_step", True), ("real_time", False)):
        processes = {p.node.name: p for p in stack_named("sim").processes({"mode": mode})}
        for name in ("encoder", "planner", "policy", "practice", "view"):
            process = processes[name]
            assert {**process.defaults, **process.explicit}["use_sim_time"] is simulated
        # The clock's own source must not wait for it.
        assert "use_sim_time" not in processes["sim_bridge"].defaults


def test_every_stack_has_its_launch_file_and_the_other_way_round():
    launch = shared_root() / "launch"
    names = {path.name.removesuffix(".launch.py") for path in launch.glob("*.launch.py")}
    assert names == set(STACK_NAMES)
    assert {name: stack.name for name, stack in STACKS.items()} == {name: name for name in names}


def test_an_unknown_stack_is_named():
    with pytest.raises(
        ConfigError, match='no stack "real-soon"; there are sim, teleop, practice, camera, real'
    ):
        stack_named("real-soon")


@pytest.mark.parametrize("name", STACKS)
def test_a_tilde_is_the_home_folder_in_every_argument(name, monkeypatch):
    monkeypatch.setenv("HOME", "/people/me")
    for argument in STACKS[name].arguments:
        if not argument.limits():  # any text
            values = STACKS[name].values({argument.name: "~/demos"})
            assert values[argument.name] == "/people/me/demos"
    assert STACKS[name].values({"checkpoint": "a/~b"})["checkpoint"] == "a/~b"


def test_a_tilde_reaches_the_nodes_as_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.yaml").write_text("{}")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "manifest.json").write_text("{}")
    given = {"record": "~/demos", "params_file": "~/own.yaml", "checkpoint": "~/net"}
    words = [w for p in STACKS["teleop"].processes(given) for w in p.command_line()]
    assert not any("~" in word for word in words)
    assert f'folder:="{tmp_path}/demos"' in words and f"{tmp_path}/own.yaml" in words


def test_a_home_of_nobody_is_named():
    with pytest.raises(
        ConfigError, match='record is "~nobody_here/x": there is no home folder ~n'
    ):
        STACKS["teleop"].values({"record": "~nobody_here/x"})


@pytest.mark.parametrize(
    ("stack", "value"),
    [("teleop", "true"), ("teleop", "none"), ("sim", "true"), ("real", "true"), ("real", "false")],
)
def test_record_is_a_folder_everywhere_and_the_switch_is_answered_with_it(stack, value):
    with pytest.raises(
        ConfigError, match=f'record is "{value}"; it names the folder .* record:=F'
    ):
        STACKS[stack].processes({"record": value})


@pytest.mark.parametrize(
    ("stack", "given", "text"),
    [
        ("sim", {"task": "G"}, 'task is "G"; it must be a list of A, B, C, D, E, F'),
        ("sim", {"rate": "-3"}, "rate is -3; it must be from 0.1 to 60"),
        ("sim", {"planner": "thorough"}, "it must be one of checkpoint, .*, or a YAML file that"),
        ("teleop", {"checkpoint": "/nowhere"}, "must be the folder of a checkpoint, with its man"),
        ("sim", {"finetuned": "/nowhere"}, 'finetuned is "/nowhere"; it must be a file or folder'),
        ("sim", {"goal_image": "no.png"}, 'goal_image is "no.png"; it must be a file or folder t'),
        ("sim", {"use_rviz": "true", "rviz_config": "x.rviz"}, "it must be a file or folder that"),
        ("practice", {"demonstrations": "/nowhere"}, "it must be a file or folder that exists"),
        ("practice", {"learning_rate": "1"}, "learning_rate is 1; it must be from 1e-07 to 0.1"),
        ("practice", {"episodes": "many"}, 'episodes is "many"; it must be a number'),
        ("practice", {"seed": "1.5"}, 'seed is "1.5"; it must be a whole number'),
        ("camera", {"offset": "up"}, 'offset is "up"; it must be whole numbers like 3,-4'),
        ("real", {"robot": "no.yaml"}, 'robot is "no.yaml"; give one of '),
    ],
)
def test_what_the_nodes_would_refuse_is_refused_before_they_start(stack, given, text):
    with pytest.raises(ConfigError, match=text):
        STACKS[stack].processes(given)


def test_a_node_cannot_depend_on_what_no_argument_declares():
    with pytest.raises(ConfigError, match="toy: hand depends on size, which no Argument declares"):
        toy(node("hand", parameters={"x": LaunchConfiguration("size")}), arguments=())


def test_one_of_two_values_is_as_explicit_as_what_decided():
    folder = IfElse(
        Equals("part", ""),
        LaunchConfiguration("out", str.title),
        LaunchConfiguration("part", str.upper),
    )
    stack = toy(
        node("w", parameters={"folder": folder}),
        arguments=(Argument("out", "o", "all"), Argument("part", "", "a part")),
    )
    assert stack.processes({})[0].defaults == {"folder": "O"}
    assert stack.processes({"out": "x"})[0].explicit == {"folder": "X"}
    assert stack.processes({"part": "y"})[0].explicit == {"folder": "Y"}


@pytest.fixture(scope="module")
def lbp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("instructed") / "lbp"
    tiny_instructed_checkpoint(folder)
    return str(folder)


def values_of(stack, **given):
    """{node: all its parameters} for these arguments."""
    processes = stack_named(stack).processes(given)
    return {p.node.name: {**p.defaults, **p.explicit} for p in processes}


@pytest.mark.parametrize("stack", ["sim", "practice", "real"])
def test_a_sentence_is_the_goal_of_an_agent_that_plans_in_the_policy_node(stack, lbp):
    words = "put the block on the tray, then close the drawer"
    found = values_of(stack, agent="lbp", checkpoint=lbp, goal=f" {words} ")
    assert "planner" not in found
    practice = found["practice"]
    assert (practice["goal_kind"], practice["instruction"]) == ("language", words)
    assert practice["method"] == found["policy"]["method"] == "lbp"
    assert not any(name.startswith("follower.") for name in found["policy"])
    own = values_of(stack, agent="lbp", checkpoint=lbp)["practice"]
    assert (own["goal_kind"], own["instruction"]) == ("language", "")
    shown = values_of(stack, agent="lbp_goal_image", checkpoint=lbp)["practice"]
    assert shown["goal_kind"] == "image"
    others = values_of(stack, method="model_free")
    assert others["practice"]["goal_kind"] == "latent" and "planner" in others


@pytest.mark.parametrize("stack", ["sim", "real"])
def test_a_goal_image_replaces_the_sentence_of_an_agent_that_takes_both(stack, lbp, tmp_path):
    (tmp_path / "goal.png").touch()
    image = str(tmp_path / "goal.png")
    found = values_of(stack, agent="lbp", checkpoint=lbp, goal_image=image)["practice"]
    assert (found["goal_kind"], found["goal_image"]) == ("image", image)
    with pytest.raises(ConfigError, match="goal and goal_image are two goals: give one"):
        values_of(stack, agent="lbp", checkpoint=lbp, goal_image=image, goal="open the drawer")
    with pytest.raises(ConfigError, match="method lcbc takes language goals, and goal_image is"):
        values_of(stack, agent="lcbc", checkpoint=lbp, goal_image=image)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"goal": "open"},
            "takes image or latent goals, and goal is one of kind language: .* lbp",
        ),
        ({"agent": "lbp", "goal": "  "}, "goal is empty: say what to do in words"),
        ({"agent": "lbp", "goal": "x" * 401}, "401 characters; 400 are allowed"),
        ({"agent": "lbp", "method": "gcp"}, 'agent is "lbp" and method is "gcp"; .* one argument'),
        ({"agent": "moon"}, 'method is "moon"; it must be one of ptp'),
        ({"task": "A,long_1"}, "the long tasks have a table of their own: name tasks of one kind"),
    ],
)
def test_a_goal_that_cannot_be_is_refused_before_anything_starts(given, message, lbp):
    with pytest.raises(PtpError, match=message):
        values_of("sim", checkpoint=lbp, **given)


@pytest.mark.parametrize("stack", ["sim", "practice", "teleop"])
def test_long_tasks_are_set_up_on_their_own_table(stack):
    assert values_of(stack)["sim_bridge"]["table"] == "table"
    assert values_of(stack, task="long_1,long_2")["sim_bridge"]["table"] == "long_table"


def test_what_is_shown_can_be_said_or_asked_for(monkeypatch):
    said = values_of("teleop", instruction="open the drawer")["teleop"]["instruction"]
    assert said == "open the drawer"
    assert values_of("teleop")["teleop"]["instruction"] == ""
    with pytest.raises(ConfigError, match="instruction is ask, and there is no terminal"):
        values_of("teleop", instruction="ask")
    master, slave = os.openpty()
    with os.fdopen(slave, "r", closefd=False) as terminal:
        monkeypatch.setattr(sys, "__stdin__", terminal)
        monkeypatch.setattr(sys, "stdin", terminal)
        os.write(master, b"\n  close the drawer \n")
        asked = values_of("teleop", instruction="ask")["teleop"]["instruction"]
    assert asked == "close the drawer"
    os.close(master)
    os.close(slave)
