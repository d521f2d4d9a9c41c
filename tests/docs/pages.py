"""The sources of the documentation, and the blocks of code in them."""

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
    """Code between fences, without their indentation."""

    page: str
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path, language: str) -> list[Block]:
    """Find the blocks of a language in a page."""
    text = path.read_text("utf-8")
    return [
        Block(
            page=str(path.relative_to(ROOT)),
            line=text.count("\n", 0, found.start()) + 1,
            code=re.sub(rf"^{found['indent']}", "", found["code"], flags=re.M),
        )
        for found in _FENCE.finditer(text)
        if found["language"] == language
    ]


def all_blocks(language: str) -> list[Block]:
    """Find the blocks of a language in all pages."""
    return [block for path in PAGES.values() for block in blocks(path, language)]
