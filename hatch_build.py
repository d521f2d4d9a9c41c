"""Metadata that contain the repository's address: project URLs, and the links of the README.

PyPI shows README.md without the rest of the repository, so links must be absolute there. The
address is set in the environment variable `MRCDIST_REPOSITORY` when a release is built. Without
it, links stay relative and there are no project URLs; nothing else differs.
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
        """Set both in the table `[project]`; called by hatchling."""
        text = (Path(self.root) / "README.md").read_text("utf-8")
        repository = os.environ.get(VARIABLE, "").rstrip("/")
        if repository:
            text = with_absolute_links(text, repository, f"v{metadata['version']}")
            metadata["urls"] = project_urls(repository)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def with_absolute_links(text: str, repository: str, tag: str) -> str:
    """Return Markdown with its relative links changed to URLs of the files at a tag."""

    def absolute(link: re.Match[str]) -> str:
        if "://" in link["path"]:
            return link[0]
        kind = "raw" if link["image"] else "blob"
        path = link["path"] or "README.md"  # PyPI gives headings no anchors
        url = f"{repository}/{kind}/{tag}/{path}{link['anchor'] or ''}"
        return f"{link['image']}[{link['text']}]({url})"

    return _LINK.sub(absolute, text)


def project_urls(repository: str) -> dict[str, str]:
    """Return the project links that PyPI shows."""
    return {
        "Source": repository,
        "Documentation": f"{repository}/blob/main/docs/index.md",
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }
