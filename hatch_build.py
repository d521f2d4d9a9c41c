"""The parts of the metadata that name the repository: project URLs, and the README's links.

An index shows README.md without the files beside it, so its links have to be absolute there. Where
the repository is published is known to whoever makes a release, who sets `MRCDIST_REPOSITORY` to
its address. Without it, wheel and sdist are the same but for their links.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

VARIABLE = "MRCDIST_REPOSITORY"
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<path>[^)#]*)(?P<anchor>#[^)]*)?\)")


class RepositoryMetadata(MetadataHookInterface):
    """Metadata hook that sets `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set them in the table `[project]`; hatchling calls this."""
        text = (Path(self.root) / "README.md").read_text("utf-8")
        repository = os.environ.get(VARIABLE, "").rstrip("/")
        if repository:
            text = with_absolute_links(text, repository, f"v{metadata['version']}")
            metadata["urls"] = project_urls(repository)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def with_absolute_links(text: str, repository: str, tag: str) -> str:
    """Return Markdown whose relative links lead to the files of a tag in the repository."""

    def absolute(link: re.Match[str]) -> str:
        if "://" in link["path"]:
            return link[0]
        kind = "raw" if link["image"] else "blob"
        path = link["path"] or "README.md"  # headings have no anchors on an index
        address = f"{repository}/{kind}/{tag}/{path}{link['anchor'] or ''}"
        return f"{link['image']}[{link['text']}]({address})"

    return _LINK.sub(absolute, text)


def project_urls(repository: str) -> dict[str, str]:
    """Return the links that an index shows beside the project."""
    return {
        "Source": repository,
        "Documentation": f"{repository}/blob/main/docs/index.md",
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }
