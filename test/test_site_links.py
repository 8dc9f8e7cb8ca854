# SPDX-License-Identifier: Apache-2.0
"""docs/check_links.py finds what leads nowhere in a built site, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKER = Path(__file__).resolve().parents[1] / "docs" / "check_links.py"
GOOD = """<a href="b/c.html#two">1</a> <a href="#one" id="one">2</a> <img src="a%20b.png">
<a href="/index.html">3</a> <a href="b/">4</a> <a href="https://arxiv.org/abs/1">5</a>
<a href="#">6</a> <a href="mailto:a@b.example">7</a> <a href="?q=1">8</a>
<img srcset="a%20b.png 1x, a%20b.png 2x">
"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "a b.png").write_bytes(b"")
    for name in ("c", "index"):
        (tmp_path / "b" / f"{name}.html").write_text('<p id="two"><a href="../index.html#one">')
    return tmp_path


def check(site):
    words = [sys.executable, "-I", str(CHECKER), str(site)]
    done = subprocess.run(words, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr.splitlines()


def test_a_site_whose_links_lead_somewhere_is_sound(site):
    status, out, errors = check(site)
    assert (status, errors) == (0, []) and out.startswith("0 broken links")


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ('<a href="gone.html">', "gone.html (no such file)"),
        ('<img src="gone.png">', "gone.png (no such file)"),
        ('<img srcset="gone.png 2x">', "gone.png (no such file)"),
        ('<a href="c.html#three">', "c.html#three (no such anchor)"),
        ('<a href="#three">', "#three (no such anchor)"),
        ('<a href="../../outside.html">', "../../outside.html (outside of the site)"),
        ('<a href="/c.html">', "/c.html (no such file)"),
    ],
)
def test_a_link_that_leads_nowhere_is_named_with_its_line(site, tag, reason):
    (site / "b" / "c.html").write_text(f'<p id="two">\n{tag}\n')
    status, out, errors = check(site)
    assert (status, errors) == (1, [f"b/c.html:2: {reason}"]) and out.startswith("1 broken links")


def test_a_folder_without_pages_is_refused(tmp_path):
    status, _, errors = check(tmp_path)
    assert status == 2 and errors == ["usage: check_links.py SITE, a folder with HTML pages"]
