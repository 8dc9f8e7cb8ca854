# SPDX-License-Identifier: Apache-2.0
"""The supervisor on real processes: nothing is left behind, and who died is named."""

import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from io import StringIO

import pytest

from ptp_bringup.supervisor import MOST_RESPAWNS, Program, Supervisor, describe
from ptp_core.processes import LEASH

pytestmark = pytest.mark.process

FOREVER = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = (
    "import signal; [signal.signal(s, signal.SIG_IGN) for s in (2, 15)]; "
    "print('up', flush=True)\nwhile True: signal.pause()"
)


def python(code):
    return [sys.executable, "-S", "-c", code]


class Output(StringIO):
    """Text that somebody can wait for."""

    def __init__(self):
        super().__init__()
        self._news = threading.Condition()

    def write(self, text):
        with self._news:
            super().write(text)
            self._news.notify_all()

    def expect(self, text, count=1):
        with self._news:
            assert self._news.wait_for(lambda: self.getvalue().count(text) >= count, 20), text


def run(*programs, when=None, then=None):
    """Exit status, output and seconds; ``then()`` is called as soon as ``when`` was printed."""
    out = Output()
    if when:
        text, count = when

        def act():
            out.expect(text, count)
            then(out)

        threading.Thread(target=act, daemon=True).start()
    began = time.monotonic()
    status = Supervisor(programs, dict(os.environ), out).run()
    return status, out.getvalue(), time.monotonic() - began


def interrupt(out):
    os.kill(os.getpid(), signal.SIGINT)


def gone(watch):
    """Whether the process behind a pidfd has ended, soon."""
    ended, _, _ = select.select([watch], [], [], 10.0)
    os.close(watch)
    return bool(ended)


def test_lines_carry_the_name_of_their_program():
    status, text, _ = run(
        Program("speaker", python("print('hello'); print('there')")),
    )
    assert status == 0
    assert "speaker | hello\nspeaker | there\n" in text


def test_an_essential_program_that_finishes_ends_the_others():
    status, text, _ = run(
        Program("server", python(FOREVER)),
        Program("task", python("pass")),
    )
    assert status == 0
    assert "task has finished; stopping the others" in text


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("raise SystemExit(7)", 7, "worker died (exit code 7); stopping the others"),
        ("import os; os.kill(os.getpid(), 11)", 139, "worker died (killed by SIGSEGV)"),
    ],
)
def test_a_program_that_dies_is_named_with_its_exit_code(code, status, words):
    result, text, _ = run(Program("server", python(FOREVER)), Program("worker", python(code)))
    assert result == status
    assert words in text


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("print('no such file'); raise SystemExit(2)", "worker died (exit code 2): no such file"),
        (
            "print('[ERROR] [17.25] [arm.worker]: no checkpoint')\n"
            "print('[INFO] [17.26] [worker]: finished'); raise SystemExit(1)",
            "worker died (exit code 1): no checkpoint",
        ),
        (
            "import os; print('[ERROR] [1.0] [worker]: an old one', flush=True)\n"
            "os.kill(os.getpid(), 9)",
            "worker died (killed by SIGKILL)",
        ),
    ],
)
def test_the_last_line_says_why_the_stack_ended(code, why):
    late = "import signal, sys\nsignal.signal(signal.SIGINT, lambda *_: sys.exit('late words'))\n"
    _, text, _ = run(
        Program("server", python(late + "signal.sigwait([signal.SIGUSR1])")),
        Program("worker", python(code)),
    )
    assert text.splitlines()[-1] == f"ptp    | {why}"


def test_what_still_imports_is_ended_in_silence():
    # Python answers SIGINT with a traceback where nobody has taken it.
    importing = "import time\nprint('importing', flush=True)\nwhile True: time.sleep(0.01)"
    status, text, seconds = run(
        Program("node", python(importing)), when=("importing", 1), then=interrupt
    )
    assert (status, text.splitlines()[-1]) == (130, "ptp  | SIGINT: everything has stopped")
    assert "Traceback" not in text and seconds < 3.0


def test_what_has_begun_gets_the_time_to_close():
    node = (
        "import signal\n"
        "def close(number, frame):\n"
        "    print('closed by', signal.Signals(number).name, flush=True)\n"
        "    raise SystemExit\n"
        "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, close)\n"
        "print('begun', flush=True)\n"
        "while True: signal.pause()"
    )
    _, text, _ = run(Program("node", python(node)), when=("begun", 1), then=interrupt)
    assert "node | closed by SIGINT\n" in text


def test_a_program_that_cannot_start_is_named():
    status, text, _ = run(Program("server", python(FOREVER)), Program("ghost", ["/no/such/file"]))
    assert status == 127
    assert "ghost could not be started" in text


def test_a_viewer_that_dies_is_started_again_and_the_rest_goes_on(tmp_path):
    marker = tmp_path / "second"
    code = (
        "import pathlib, signal, sys\n"
        f"p = pathlib.Path({str(marker)!r})\n"
        "if p.exists(): print('again', flush=True); signal.pause()\n"
        "p.touch(); sys.exit(3)"
    )
    status, text, _ = run(
        Program("server", python(FOREVER)),
        Program("viewer", python(code), essential=False, respawn=True),
        when=("again", 1),
        then=interrupt,
    )
    assert status == 130
    assert "viewer died (exit code 3); starting it again" in text


def test_an_essential_program_may_be_started_again_and_ends_all_when_it_finishes(tmp_path):
    marker = tmp_path / "second"
    code = (
        "import os, pathlib, signal\n"
        f"p = pathlib.Path({str(marker)!r})\n"
        "if not p.exists(): p.touch(); os.kill(os.getpid(), 9)"
    )
    status, text, _ = run(
        Program("server", python(FOREVER)), Program("task", python(code), respawn=True)
    )
    assert status == 0
    assert "task died (killed by SIGKILL); starting it again" in text
    assert "task has finished; stopping the others" in text


@pytest.mark.parametrize("essential", [False, True])
def test_what_dies_again_and_again_is_given_up(monkeypatch, essential):
    monkeypatch.setattr("ptp_bringup.supervisor.RESPAWN_DELAY", 0.01)
    status, text, _ = run(
        Program("server", python(FOREVER)),
        Program("broken", python("raise SystemExit(4)"), essential=essential, respawn=True),
        when=None if essential else ("left alone", 1),
        then=interrupt,
    )
    assert text.count("starting it again") == MOST_RESPAWNS
    assert status == (4 if essential else 130)


def test_one_that_lived_for_long_has_all_its_lives_again(monkeypatch):
    monkeypatch.setattr("ptp_bringup.supervisor.RESPAWN_DELAY", 0.01)
    monkeypatch.setattr("ptp_bringup.supervisor.STEADY", 0.0)
    _, text, _ = run(
        Program("server", python(FOREVER)),
        Program("mortal", python("raise SystemExit(4)"), essential=False, respawn=True),
        when=("starting it again", 2 * MOST_RESPAWNS),
        then=interrupt,
    )
    assert "left alone" not in text


def test_ctrl_c_stops_everything_even_what_ignores_it_within_five_seconds():
    status, text, seconds = run(
        Program("polite", python(FOREVER)),
        Program("stubborn", python(STUBBORN)),
        when=("up", 2),
        then=interrupt,
    )
    assert status == 130
    assert "SIGINT: stopping" in text
    assert "stubborn: not stopped yet, sending SIGKILL" in text
    assert seconds < 5.5  # with the start


def test_children_of_a_program_are_not_left_behind():
    code = (
        "import subprocess, sys, signal\n"
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {STUBBORN!r}])\n"
        "print('child', child.pid, flush=True); signal.pause()"
    )
    watches = []

    def watch_then_interrupt(out):
        out.expect("child ")
        pid = int(re.search(r"child (\d+)", out.getvalue()).group(1))
        watches.append(os.pidfd_open(pid))
        interrupt(out)

    run(Program("parent", python(code)), when=("| up", 1), then=watch_then_interrupt)
    assert gone(watches[0])


@pytest.mark.parametrize("prefix", [[], ["env", "A=1"], ["sh", "-c", 'exec "$@"', "sh"]])
def test_programs_end_when_whoever_started_the_supervisor_is_killed(prefix):
    supervisor = textwrap.dedent(
        """
        import os, sys
        from ptp_bringup.supervisor import Program, Supervisor
        code = "import os, signal; print('pid', os.getpid(), flush=True); signal.pause()"
        Supervisor([Program("a", [sys.executable, "-S", "-c", code])], dict(os.environ)).run()
        """
    )
    starter = textwrap.dedent(
        f"""
        import subprocess, sys
        from ptp_core.processes import on_a_leash
        command = [*{prefix}, sys.executable, "-c", {supervisor!r}]
        subprocess.run(command, start_new_session=True, **on_a_leash())
        """
    )
    process = subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline().split()[-1])
    watch = os.pidfd_open(pid)
    process.kill()
    process.wait(10)
    assert gone(watch)


def test_nobody_is_held_by_a_number_that_is_no_leash(monkeypatch):
    with open(os.devnull) as file:
        for text in (str(file.fileno()), "99999", "x", ""):
            monkeypatch.setenv(LEASH, text)
            status, _, _ = run(Program("short", python("pass")))
            assert status == 0
            assert LEASH not in os.environ


def test_programs_end_when_the_supervisor_itself_is_killed():
    script = textwrap.dedent(
        """
        import os, sys
        from ptp_bringup.supervisor import Program, Supervisor
        code = "import os, signal; print('pid', os.getpid(), flush=True); signal.pause()"
        Supervisor([Program("a", [sys.executable, "-S", "-c", code])], dict(os.environ)).run()
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline().split()[-1])
    watch = os.pidfd_open(pid)
    process.kill()
    process.wait(10)
    assert gone(watch)


def test_statuses_are_told_in_words():
    assert [describe(s) for s in (0, 2, -9)] == ["exit code 0", "exit code 2", "killed by SIGKILL"]
