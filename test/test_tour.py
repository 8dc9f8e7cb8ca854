# SPDX-License-Identifier: Apache-2.0
"""docs/tour.md names files and what they define: each is where the tour says."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOUR = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
PATH = r"(?:src|test|launch|config|docs)/[\w./-]*"
WHERE = rf"^\| `({PATH}\.py)` \| ((?:`[\w.]+`(?:, )?)+) \|$"  # a row of a table "file | defines"


def named_symbols(text):
    """(file, dotted name) of each row of a table of files and what they define."""
    rows = re.findall(WHERE, text, flags=re.M)
    return [(path, name) for path, names in rows for name in re.findall(r"[\w.]+", names)]


def named_paths(text):
    """Each path of the repository in backquotes."""
    return [path.rstrip("/") for path in re.findall(rf"`({PATH})`", text)]


def defined(source):
    """Dotted names of what a file defines at its top level and in its classes."""
    found = set()

    def visit(body, prefix):
        for node in body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                found.add(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    visit(ast.parse(source).body, "")
    return found


def missing(text, root):
    """What a text names and the repository below ``root`` lacks."""
    absent = {path for path in named_paths(text) if not (root / path).exists()}
    wrong = {
        f"{path}::{name}"
        for path, name in named_symbols(text)
        if path not in absent and name not in defined((root / path).read_text(encoding="utf-8"))
    }
    return sorted(absent | wrong)


def nowhere(text):
    """Methods that a section's text names and the table below it does not place in a file."""
    found = []
    for section in re.split(r"^#+ ", text, flags=re.M):
        placed = {name for _, name in named_symbols(section)}
        said = re.findall(r"`([A-Z]\w*\.\w+)`", re.sub(WHERE, "", section, flags=re.M))
        found += [name for name in said if name not in placed]
    return found


def rooms(package):
    """Folders of a package that hold modules."""
    top = ROOT / "src" / package / package
    return sorted(path.parent.name for path in top.glob("*/__init__.py"))


def test_every_file_of_the_tour_exists_and_defines_what_the_tour_names():
    assert len(named_symbols(TOUR)) > 80
    assert missing(TOUR, ROOT) == []


def test_the_tour_says_where_each_method_is():
    assert nowhere(TOUR) == []


@pytest.mark.parametrize("package", ["ptp_core", "ptp_nodes"])
def test_the_tour_passes_through_every_room(package):
    found = rooms(package)
    assert len(found) > 5
    assert [room for room in found if f"`src/{package}/{package}/{room}/`" not in TOUR] == []


def test_where_to_start_names_files_that_exist():
    rows = re.findall(rf"^\| `({PATH})/` \|.*\| `([\w/]+\.py)` \|$", TOUR, flags=re.M)
    assert len(rows) == len(rooms("ptp_core")) + len(rooms("ptp_nodes"))
    assert [f"{room}/{file}" for room, file in rows if not (ROOT / room / file).is_file()] == []


def test_the_checks_see_what_is_missing(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text(
        "X = 1\nclass A:\n    y: int = 0\n    def m(self): ...\n"
    )
    good = "# One\n`A.m` of `src/`\n| `src/a.py` | `A`, `A.m`, `A.y`, `X` |\n"
    assert (missing(good, tmp_path), nowhere(good)) == ([], [])
    bad = "| `src/b.py` | `A` |\n| `src/a.py` | `B`, `A.n` |\n`src/c/`\n"
    wanted = ["src/a.py::A.n", "src/a.py::B", "src/b.py", "src/c"]
    assert missing(bad, tmp_path) == wanted
    assert nowhere(good + "# Two\n`A.m` again\n") == ["A.m"]
