"""Pages of a built site: their anchors, and what they point to."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What is fetched to show a page, as against what is followed from it.
_ASSETS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


@dataclass
class Page:
    """A page as the parser saw it.

    Attributes
    ----------
    path : Path
    anchors : set of str
        What a link may have behind its number sign.
    links, assets : list of str
        As written.
    """

    path: Path
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    assets: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page = page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.page.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.page.links.append(given["href"])
        elif tag in _ASSETS and _ASSETS[tag] in given:
            self.page.assets.append(given[_ASSETS[tag]])


def read_page(path: Path) -> Page:
    """Parse a page."""
    page = Page(path)
    _Reader(page).feed(path.read_text("utf-8"))
    return page


def read_site(root: Path) -> dict[Path, Page]:
    """Parse all pages below a folder, by resolved path."""
    paths = (path.resolve() for path in sorted(root.rglob("*.html")) if "_static" not in path.parts)
    return {path: read_page(path) for path in paths}


def is_external(link: str) -> bool:
    """Whether a link leaves the site."""
    parts = urlsplit(link)
    return bool(parts.scheme or parts.netloc)


def fault_of(link: str, page: Page, site: dict[Path, Page]) -> str | None:
    """Say what is wrong with a link of a page, or None.

    A link out of the site is looked at as text only.
    """
    parts = urlsplit(link)
    if is_external(link):
        if parts.scheme == "data":
            return None
        if parts.scheme not in ("http", "https") or "." not in parts.netloc or " " in link:
            return f"{link}: no web address"
        return None
    target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
    if target.is_dir():
        return f"{link}: a folder"
    if not target.is_file():
        return f"{link}: no such file"
    if parts.fragment and target.suffix == ".html":
        there = site[target] if target in site else read_page(target)
        if unquote(parts.fragment) not in there.anchors:
            return f"{link}: no such place on the page"
    return None
