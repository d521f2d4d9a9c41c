"""Parser for the pages of a built site: their anchors, links and assets."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Tags whose target is fetched to show the page → the attribute with its URL.
_ASSETS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


@dataclass
class Page:
    """A parsed page.

    Attributes
    ----------
    path : Path
    anchors : set of str
        Fragments that links may have.
    links, assets : list of str
        URLs as written in the page.
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
        values = {name: value or "" for name, value in attrs}
        self.page.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.page.links.append(values["href"])
        elif tag in _ASSETS and _ASSETS[tag] in values:
            self.page.assets.append(values[_ASSETS[tag]])


def read_page(path: Path) -> Page:
    """Parse a page."""
    page = Page(path)
    _Reader(page).feed(path.read_text("utf-8"))
    return page


def read_site(root: Path) -> dict[Path, Page]:
    """Parse all pages below a folder: resolved path → page."""
    paths = (path.resolve() for path in sorted(root.rglob("*.html")) if "_static" not in path.parts)
    return {path: read_page(path) for path in paths}


def is_external(link: str) -> bool:
    """Return whether a link leads out of the site."""
    parts = urlsplit(link)
    return bool(parts.scheme or parts.netloc)


def link_problem(link: str, page: Page, site: dict[Path, Page]) -> str | None:
    """Return what is wrong with a link of a page, or None.

    Of external links, only the syntax is checked.
    """
    parts = urlsplit(link)
    if is_external(link):
        if parts.scheme == "data":
            return None
        if parts.scheme not in ("http", "https") or "." not in parts.netloc or " " in link:
            return f"{link}: not a valid web address"
        return None
    target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
    if target.is_dir():
        return f"{link}: leads to a folder"
    if not target.is_file():
        return f"{link}: no such file"
    if parts.fragment and target.suffix == ".html":
        target_page = site[target] if target in site else read_page(target)
        if unquote(parts.fragment) not in target_page.anchors:
            return f"{link}: no such anchor"
    return None
