# SPDX-License-Identifier: Apache-2.0
"""Environments in a process of their own: like those in this one, and named where they fail.

Each guest is a real process of this Python.
"""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from ptp_core.agents import registry
from ptp_core.config import DataConfig
from ptp_core.data.collect_demonstrations import collect, environment_factory, make_environment
from ptp_core.data.dataset import Dataset
from ptp_core.data.env_spec import declared_spec, spec_of
from ptp_core.errors import GuestError, InputError
from ptp_core.guests import known_guests
from ptp_core.guests.guest import Guest
from ptp_core.guests.guest_env import GuestEnv
from ptp_core.process_testing import alive, wait_for
from ptp_core.rollout.evaluation import EvaluationConfig, evaluate
from ptp_core.toy_agent import register_toy, save_toy
from ptp_core.toy_env import ToyArm, ToyEnv

PYTHON = Path(sys.executable)
HEAD = """
import os, sys, time
import numpy as np
class Box:
    def __init__(self, shape, low, high, dtype):
        self.low, self.high = np.full(shape, low, dtype), np.full(shape, high, dtype)
class Env:
    observation_space, action_space = Box((4, 4, 3), 0, 255, np.uint8), Box(2, -1, 1, np.float32)
    unwrapped = property(lambda self: self)
    image = np.full((4, 4, 3), 9, np.uint8)
    def reset(self, *, seed=None, options=None):
        return self.image, {"success": False}
    def step(self, action):
        return self.image, 0, False, False, {"success": True}
def make_env(**arguments):
    return Env()
"""


def toy(module="ptp_core.toy_env", **settings):
    return Guest(name="toy", python=PYTHON, module=module, **settings)


@pytest.fixture
def guest(tmp_path):
    """Make a guest of Python text that comes after ``HEAD``; it ends with the test."""
    made = []

    def make(text="", head=HEAD, **settings):
        (tmp_path / "a_guest.py").write_text(head + textwrap.dedent(text))
        settings = {"module": "a_guest", "folder": tmp_path, **settings}
        made.append(GuestEnv(Guest(name="mine", python=PYTHON, **settings)))
        return made[-1]

    yield make
    for env in made:
        env.close()


@pytest.fixture
def speaking(tmp_path):
    """Make a guest whose Python runs other code instead of the worker."""

    def make(code, **settings):
        stand_in = tmp_path / "python"
        package = Path(known_guests.__file__).parents[2]
        stand_in.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(package)!r})\n{code}\n"
        )
        stand_in.chmod(0o755)
        return GuestEnv(Guest(name="mine", python=stand_in, module="any", **settings))

    return make


def one_line(raised):
    text = str(raised.value)
    assert "\n" not in text
    return text


def equal(a, b):
    if isinstance(a, dict):
        assert isinstance(b, dict) and a.keys() == b.keys()
        for key in a:
            equal(a[key], b[key])
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, (tuple, list)):
        assert len(a) == len(b)
        for one, other in zip(a, b):
            equal(one, other)
    else:
        assert a == b


@pytest.mark.parametrize(("own", "maker"), [(ToyEnv, "make_env"), (ToyArm, "make_arm")])
def test_a_guest_is_as_the_same_environment_in_this_process(own, maker):
    here, there = own(max_steps=7), GuestEnv(toy(maker=maker), max_steps=7)
    try:
        assert spec_of(here, "toy") == spec_of(there, "toy")
        assert here.observation_space == there.observation_space
        assert here.action_space == there.action_space
        tasks = [*here.tasks, *(["demonstration"] if own is ToyEnv else [])]
        rng = np.random.default_rng(0)
        for seed, task in enumerate(tasks):
            options = {"task": task}
            equal(here.reset(seed=seed, options=options), there.reset(seed=seed, options=options))
            for _ in range(8):
                action = rng.uniform(-1, 1, here.action_space.shape).astype(np.float32)
                equal(here.step(action), there.step(action))
    finally:
        there.close()


def test_demonstrations_of_a_guest_are_those_of_this_process(tmp_path, monkeypatch):
    monkeypatch.setitem(
        known_guests.GUESTS, "toys", lambda: toy(module="toys_guest", folder=tmp_path)
    )
    (tmp_path / "toys_guest.py").write_text(
        "from ptp_core.toy_env import ToyEnv\n"
        "def make_env(name, **others):\n"
        "    assert name == 'square'\n"
        "    return ToyEnv(**others)\n"
    )
    for env in ("toys:square", "ptp_core.toy_env:make_env"):
        folder = tmp_path / env.partition(":")[0]
        settings = {"trajectories": 2, "steps": 9, "num_envs": 1, "env_kwargs": {"max_steps": 20}}
        collect(DataConfig(env=env, **settings), folder, progress=False)
    there, here = (list(Dataset(tmp_path / name)) for name in ("toys", "ptp_core.toy_env"))
    assert len(there) == 2
    assert [one.content_hash() for one in there] == [one.content_hash() for one in here]


def test_an_agent_is_evaluated_in_a_guest_as_in_this_process(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    monkeypatch.setitem(
        known_guests.GUESTS, "toys", lambda: toy(module="arm_guest", folder=tmp_path)
    )
    (tmp_path / "arm_guest.py").write_text(
        "from ptp_core.toy_env import ToyArm\n"
        "def make_env(name, **others):\n"
        "    return ToyArm(**others)\n"
    )
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    register_toy()
    save_toy(tmp_path / "toy")
    results = []
    for env in ("toys:arm", "ptp_core.toy_env:make_arm"):
        config = EvaluationConfig(
            checkpoint=tmp_path / "toy", env=env, env_kwargs={"max_steps": 5}, episodes=1
        )
        results.append(evaluate(config, num_envs=0, progress=False))
    assert results[0]["mean_success_rate"] == 1.0
    there, here = (
        {task: one["runs"][0]["first_success"] for task, one in result["tasks"].items()}
        for result in results
    )
    assert there == here == {"up": 3, "down": 3}


def test_a_guest_is_named_like_any_environment(monkeypatch):
    monkeypatch.setitem(known_guests.GUESTS, "toys", lambda: toy(module="nowhere"))
    with pytest.raises(GuestError, match="No module named 'nowhere'"):
        declared_spec("toys:square", {})
    assert environment_factory("ptp_core.toy_env:make_env").__name__ == "make_env"


def test_the_guest_has_nothing_of_the_hosts_python_on_its_path(guest, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "of_the_host"))
    env = guest(
        """
        def reset(self, **_):
            from_host = [path for path in sys.path if "of_the_host" in path]
            loaded = [name for name in ("torch", "gymnasium") if name in sys.modules]
            return self.image, {"from_host": from_host, "loaded": loaded}
        Env.reset = reset
        """
    )
    assert env.reset()[1] == {"from_host": [], "loaded": []}


def test_what_the_guest_prints_does_not_disturb(guest):
    env = guest(
        """
        def step(self, action):
            print("hello " * 100_000)
            os.system("echo from a child; cat")  # which ends, as there is no input
            return self.image, 0, False, False, {}
        Env.step = step
        """
    )
    env.reset()
    assert env.step(np.zeros(2, np.float32))[4] == {}


def test_a_scene_is_sampled_in_the_guest(guest):
    env = guest("Env.sample_scene = lambda self, task, protocol, seed: {task + protocol: seed}")
    assert env.sample_scene("a", "b", 3) == {"ab": 3}
    assert not hasattr(guest(), "sample_scene")


def test_what_the_guest_refuses_is_an_input_error_and_it_lives_on():
    env = GuestEnv(toy(), max_steps=3)
    try:
        with pytest.raises(InputError) as raised:
            env.reset(seed=0, options={"task": "Z"})
        assert one_line(raised) == 'toy: unknown task "Z"; the toy has A, B, C and demonstration'
        env.reset(seed=0, options={"task": "A"})
        with pytest.raises(InputError, match=r'reset: message.*"options".*is a object'):
            env.reset(options={"task": object()})
        env.reset()
    finally:
        env.close()


def test_an_error_in_the_guest_is_named_with_its_place(guest):
    env = guest(
        """
        def step(self, action):
            raise FloatingPointError("the physics\\nhave diverged")
        Env.step = step
        """
    )
    env.reset()
    with pytest.raises(GuestError) as raised:
        env.step(np.zeros(2))
    line = HEAD.count("\n") + 3
    assert one_line(raised) == (
        f"mine failed in step (a_guest.py:{line}): FloatingPointError: the physics have diverged"
    )
    env.reset()


def test_what_cannot_be_sent_is_named(guest):
    env = guest("Env.reset = lambda self, **_: (self.image, {'robot': self})")
    with pytest.raises(GuestError, match=r'\["info"\]\["robot"\] is a Env: numbers, text'):
        env.reset()


@pytest.mark.parametrize(
    ("number", "names"),
    [
        (signal.SIGKILL, "mine ended in step, killed, as a machine does that is out of memory"),
        (
            signal.SIGSEGV,
            "mine ended in step, by signal SIGSEGV: see its last words (it last said",
        ),
    ],
)
def test_a_guest_that_dies_is_named_with_its_last_words(guest, number, names):
    env = guest(
        f"""
        def step(self, action):
            os.write(2, b"no display\\n")
            os.kill(os.getpid(), {int(number)})
        Env.step = step
        """
    )
    env.reset()
    with pytest.raises(GuestError) as raised:
        env.step(np.zeros(2))
    assert one_line(raised).startswith(names) and "no display" in one_line(raised)
    with pytest.raises(GuestError) as again:
        env.reset()
    assert str(again.value) == str(raised.value)


def test_a_guest_that_hangs_is_ended_at_its_deadline(guest):
    env = guest(
        """
        def step(self, action):
            time.sleep(1000)
        Env.step = step
        """,
        call_seconds=0.3,
    )
    env.reset()
    began = time.monotonic()
    with pytest.raises(
        GuestError, match=r"mine did not answer to step within 0\.3 s and was ended"
    ):
        env.step(np.zeros(2))
    assert 0.3 <= time.monotonic() - began < 100
    assert env._process._child.wait(60) == -signal.SIGKILL


def test_a_guest_ends_when_its_host_is_killed_in_the_middle_of_a_call(tmp_path):
    (tmp_path / "a_guest.py").write_text(
        HEAD
        + "def reset(self, **_):\n"
        + f"    open({str(tmp_path / 'pid')!r} + '_', 'w').write(str(os.getpid()))\n"
        + f"    os.rename({str(tmp_path / 'pid')!r} + '_', {str(tmp_path / 'pid')!r})\n"
        + "    time.sleep(1000)\n"
        + "Env.reset = reset\n"
    )
    host = subprocess.Popen(
        [sys.executable, "-c",
         "from pathlib import Path; import sys\n"
         "from ptp_core.guests.guest import Guest\n"
         "from ptp_core.guests.guest_env import GuestEnv\n"
         f"folder = Path({str(tmp_path)!r})\n"
         "GuestEnv(Guest(name='g', python=Path(sys.executable), module='a_guest',"
         " folder=folder)).reset()"]
    )  # fmt: skip
    try:
        wait_for((tmp_path / "pid").exists)
        pid = int((tmp_path / "pid").read_text())
    finally:
        host.kill()
        host.wait()
    wait_for(lambda: not alive(pid))


def test_closing_ends_the_guest(guest):
    env = guest()
    env.close()
    assert env._process._child.wait(60) in (0, -signal.SIGKILL)  # killed where it is slow
    with pytest.raises(GuestError, match="mine is closed: make it again"):
        env.reset()


def test_a_guest_of_another_version_is_refused(speaking):
    with pytest.raises(GuestError) as raised:
        speaking(
            "from ptp_core.guests.pipe import MessagePipe; import time\n"
            "MessagePipe(0, 1).send({'hello': 2}); time.sleep(100)"
        )
    assert one_line(raised) == (
        "mine speaks version 2 of the messages, the host version 1: use one release of ptp_core "
        "for both"
    )


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("print('Welcome to the simulator'); input()", "mine sent what is no message"),
        ("raise SystemExit('no licence')", "ended in start, with status 1.*no licence"),
        ("import time; time.sleep(1000)", "did not answer to start within 0.5 s"),
    ],
)
def test_a_worker_that_does_not_greet_is_named(speaking, code, names):
    with pytest.raises(GuestError, match=names) as raised:
        speaking(code, start_seconds=0.5 if "sleep" in code else 60.0)
    one_line(raised)


def test_a_guest_that_is_not_installed_is_one_line_with_the_cure(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.delenv("PTP_OGBENCH_PYTHON", raising=False)
    with pytest.raises(GuestError) as raised:
        make_environment("ogbench:cube-single-play-v0", {})
    assert one_line(raised) == (
        f"ogbench is not installed, there is no {tmp_path}/.venv-ogbench/bin/python: "
        'run "make ogbench", or set PTP_OGBENCH_PYTHON to a Python that has it'
    )


def test_a_space_that_no_guest_can_have_is_named(guest):
    with pytest.raises(GuestError, match=r"Discrete.* is neither a Box nor a Dict"):
        guest(
            """
            import gymnasium
            Env.action_space = gymnasium.spaces.Discrete(3)
            """
        )
    assert isinstance(guest().action_space, gymnasium.spaces.Box)
