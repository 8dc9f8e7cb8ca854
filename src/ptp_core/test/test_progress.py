# SPDX-License-Identifier: Apache-2.0
"""A bar is for a terminal: elsewhere there are plain lines, few of them."""

import io

from ptp_core.progress import Bar


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self):
        return True


def test_a_log_gets_a_first_and_a_last_line_without_control_characters():
    out = io.StringIO()
    for _ in Bar(range(1000), desc="work", unit="step", file=out):
        pass
    first, last = out.getvalue().splitlines()
    assert first.startswith("work: 0/1000 step, 00:00")
    assert last.startswith("work: 1000/1000 step, ")
    assert "\r" not in out.getvalue() and "\x1b" not in out.getvalue()


def test_notes_do_not_make_lines_of_their_own():
    out = io.StringIO()
    with Bar(total=3, desc="work", unit="step", file=out) as bar:
        for number in range(3):
            bar.set_postfix(loss=number)
            bar.refresh()
            bar.update()
    assert len(out.getvalue().splitlines()) == 2
    assert out.getvalue().splitlines()[1].endswith(", loss=2")


def test_lines_come_when_the_pause_between_two_is_over():
    out = io.StringIO()
    with Bar(total=3, desc="work", file=out, mininterval=0.0) as bar:
        for _ in range(3):
            bar.update()
    assert [line.split(" ")[1] for line in out.getvalue().splitlines()] == [
        "0/3",
        "1/3",
        "2/3",
        "3/3",
    ]


def test_a_bar_that_does_not_stay_has_no_last_line_and_one_without_end_no_total():
    out = io.StringIO()
    for _ in Bar(iter(range(3)), desc="work", unit=" it", leave=False, file=out):
        pass
    assert out.getvalue().splitlines() == ["work: 0 it, 00:00"]


def test_lines_written_beside_it_stay_whole():
    out = io.StringIO()
    with Bar(total=2, desc="work", file=out) as bar:
        Bar.write("said", file=out)
        bar.update()
    assert "said" in out.getvalue().splitlines()


def test_a_terminal_has_a_bar():
    out = Terminal()
    for _ in Bar(range(3), desc="work", file=out):
        pass
    assert "\r" in out.getvalue() and "100%" in out.getvalue()


def test_a_disabled_one_says_nothing():
    out = io.StringIO()
    for _ in Bar(range(3), disable=True, file=out):
        pass
    assert out.getvalue() == ""


def test_a_total_that_is_known_later_gives_the_time_left():
    out = io.StringIO()
    with Bar(unit="image", desc="encode", file=out) as bar:
        bar.show(3, 8)
        bar.show(8, 8)
    first, *_, last = out.getvalue().splitlines()
    assert first.startswith("encode: 0 image") and last.startswith("encode: 8/8 image")
