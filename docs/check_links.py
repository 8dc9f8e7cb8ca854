# SPDX-License-Identifier: Apache-2.0
"""Find links of the built site that lead nowhere: missing files, pictures and anchors.

`make docs` and `make links` run it on what they built; it needs neither Sphinx nor a network:

    python docs/check_links.py out/docs/html

Sphinx checks links between pages of its source. This checks the pages as a browser gets them, with
what the theme, raw HTML, notebooks and copied pages add.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ATTRIBUTES = ("href", "src", "poster", "data")  # that hold addresses
TOPS = ("#", "#top")  # of a page, which has no anchor there


class LinksOfPage(HTMLParser):
    """The addresses that a page names, with their lines, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[int, str]] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag names and what it defines."""
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name in ATTRIBUTES:
                self.links.append((self.getpos()[0], value))
            elif name == "srcset":
                parts = [part.split()[0] for part in value.split(",") if part.split()]
                self.links += [(self.getpos()[0], part) for part in parts]


def broken_links(site: Path) -> list[str]:
    """A line "page:line: address (reason)" for each local link of the site that leads nowhere."""
    site = site.resolve()
    pages = {
        path: LinksOfPage(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
    }
    found = []
    for path, page in pages.items():
        for line, address in page.links:
            if address not in TOPS and (reason := _fault(site, path, address, pages)):
                found.append(f"{path.relative_to(site)}:{line}: {address} ({reason})")
    return found


def _fault(site: Path, path: Path, address: str, pages: dict[Path, LinksOfPage]) -> str | None:
    """Why an address leads nowhere; None where it does, or leads elsewhere than this site."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    target = path
    if parts.path:
        base = site if parts.path.startswith("/") else path.parent
        target = (base / unquote(parts.path).lstrip("/")).resolve()
    if target.is_dir():
        target = target / "index.html"
    if not target.is_relative_to(site):
        return "outside of the site"
    if not target.is_file():
        return "no such file"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return "no such anchor"
    return None


def main(arguments: list[str]) -> int:
    """Check a site; return the exit status: 1 where a link is broken, 2 where there is none."""
    if len(arguments) != 1 or not list(Path(arguments[0]).rglob("*.html")):
        print("usage: check_links.py SITE, a folder with HTML pages", file=sys.stderr)
        return 2
    broken = broken_links(Path(arguments[0]))
    for line in broken:
        print(line, file=sys.stderr)
    print(f"{len(broken)} broken links in {arguments[0]}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
