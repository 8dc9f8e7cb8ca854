# SPDX-License-Identifier: Apache-2.0
"""What the documents point to is there: links, headings, files and modules."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    path
    for pattern in (
        *("*.md", "docs/*.md", "docs/tutorials/*.md", "docs/results/*.md", "models/*.md"),
        *("src/*/README.md", "plugins/**/README.md"),
    )
    for path in ROOT.glob(pattern)
)
PAGES = ("*.md", "tutorials/*.md", "notebooks/*.ipynb")  # of docs/, for people who read
OLD_NAMES = "## Old names"  # of the glossary: what follows names modules that are gone


def without_code(text):
    """The text without fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(text):
    """What a heading is called in links, as GitHub names it."""
    headings = re.findall(r"^#+ (.+)$", without_code(text), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path):
    """Relative links of a document to files or headings that are not there."""
    text = path.read_text(encoding="utf-8")
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        there = file.exists()
        if there and anchor and file.suffix == ".md":
            there = anchor in anchors(file.read_text(encoding="utf-8"))
        if not there:
            broken.append(target)
    return broken


def missing_modules(text):
    """Files and modules of our packages that a text names and the packages lack."""
    absent = []
    for package, rest in re.findall(r"`(ptp_\w+)/([\w/]+\.(?:py|yaml))`", text):
        if not any((ROOT / "src" / package / top / rest).is_file() for top in (package, "")):
            absent.append(f"{package}/{rest}")
    for package, rest in re.findall(r"`(ptp_[a-z]+)((?:\.\w+)+)(?::\w+)?`", text):
        parts = rest[1:].split(".")
        top = ROOT / "src" / package / package
        files = [top.joinpath(*parts[:n]).with_suffix(".py") for n in (len(parts), len(parts) - 1)]
        if not any(file.is_file() for file in files):
            absent.append(package + rest)
    return absent


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    assert broken_links(path) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_modules_have_the_names_of_today(path):
    text = path.read_text(encoding="utf-8").partition(OLD_NAMES)[0]
    assert missing_modules(text) == []


def test_every_package_says_what_it_holds():
    packages = [path.parent for path in (ROOT / "src").glob("*/package.xml")]
    assert [path.name for path in packages if not (path / "README.md").is_file()] == []
    assert len(packages) == 9


def test_every_page_is_found_from_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = [path for pattern in PAGES for path in sorted((ROOT / "docs").glob(pattern))]
    assert len(pages) > 10
    links = [f"({path.relative_to(ROOT)})" for path in pages]
    assert [link for link in links if link not in readme] == []


def test_every_page_has_a_place_in_the_site():
    """Sphinx refuses a page without one; this says so without Sphinx."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    places = re.findall(r"^[\w./]+$", index, re.MULTILINE)
    pages = {
        path.relative_to(ROOT / "docs").with_suffix("").as_posix()
        for pattern in PAGES
        for path in (ROOT / "docs").glob(pattern)
    } - {"index"}
    assert pages <= set(places)
    assert len(places) == len(set(places))
    there = [place for place in places if not place.startswith("generated/")]
    assert [
        place
        for place in there
        if not any((ROOT / "docs" / f"{place}{end}").is_file() for end in (".md", ".ipynb"))
    ] == []


def test_the_checks_see_what_is_broken(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `b`: c\n[x](page.md#a-b-c) [y](#a-b-c) [z](gone.md) [w](#no)\n")
    assert broken_links(page) == ["gone.md", "#no"]
    named = "`ptp_core/data/dataset.py`, `ptp_core.data.dataset.Dataset`, `ptp_core/config/x.py`"
    assert missing_modules(named) == ["ptp_core/config/x.py"]
    assert missing_modules("`ptp_core.models.vqvae.VQVAE`, `ptp_sim.env:make_env`") == [
        "ptp_core.models.vqvae.VQVAE"
    ]
