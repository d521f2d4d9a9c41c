"""Markdown sources of the documentation, and the code blocks in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT

PAGES = {
    str(path.relative_to(ROOT)): path
    for path in (
        ROOT / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "deploy").rglob("README.md")),
    )
}

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<code>.*?)^ *```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced code block, without the indentation of its fence."""

    page: str
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path, language: str) -> list[Block]:
    """Return the code blocks of a page in one language."""
    text = path.read_text("utf-8")
    return [
        Block(
            page=str(path.relative_to(ROOT)),
            line=text.count("\n", 0, match.start()) + 1,
            code=re.sub(rf"^{match['indent']}", "", match["code"], flags=re.M),
        )
        for match in _FENCE.finditer(text)
        if match["language"] == language
    ]


def all_blocks(language: str) -> list[Block]:
    """Return the code blocks of all pages in one language."""
    return [block for path in PAGES.values() for block in blocks(path, language)]
