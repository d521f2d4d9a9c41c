"""Build one version of the documentation for a site with all versions.

    python release/publish_docs.py SITE NAME

`NAME` is a version such as `v0.2.0`, or `dev`. Builds the pages in `SITE/NAME`, and updates
`SITE/versions.json`, read by the version switcher on each page, and `SITE/index.html`, which
redirects to the newest release. `MRCDIST_DOCS` is the address at which `SITE` is published.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from packaging.version import Version

HERE = Path(__file__).resolve().parent.parent
DEVELOPMENT = "dev"
_START = "docs/index.html"
_REDIRECT = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={target}">
<title>mrcdist</title>
<a href="{target}">mrcdist</a>
"""


def main(site: str, name: str) -> None:
    """Build one version and update the list of versions."""
    if name != DEVELOPMENT:
        Version(name)  # raises InvalidVersion
    build(Path(site) / name, name)
    list_versions(Path(site), os.environ["MRCDIST_DOCS"])


def build(folder: Path, name: str) -> None:
    """Build the documentation, with warnings as errors, and replace the folder by the result."""
    output = HERE / "build" / "docs" / name  # not in SITE: notebooks leave files next to it
    sphinx = [sys.executable, "-m", "sphinx", "-E", "-W", "-n", "-q", "-c", "docs"]
    environment = {**os.environ, "MRCDIST_DOCS_VERSION": name}
    subprocess.run([*sphinx, ".", str(output)], cwd=HERE, env=environment, check=True)  # noqa: S603
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(output, folder, ignore=shutil.ignore_patterns(".doctrees"))


def list_versions(site: Path, address: str) -> None:
    """List the versions of a site, newest first, and redirect its front page to the newest."""
    names = [path.parent.parent.name for path in site.glob(f"*/{_START}")]
    releases = sorted((name for name in names if name != DEVELOPMENT), key=Version, reverse=True)
    final = [name for name in releases if not Version(name).is_prerelease]
    newest = next(iter(final or releases), DEVELOPMENT)
    ordered = releases + [DEVELOPMENT] * (DEVELOPMENT in names)
    versions = [
        {
            "name": f"{name} (newest)" if name == newest else name,
            "version": name,
            "url": f"{address.rstrip('/')}/{name}/{_START}",
            "preferred": name == newest,
        }
        for name in ordered
    ]
    (site / "versions.json").write_text(json.dumps(versions, indent=1) + "\n", encoding="utf-8")
    redirect = _REDIRECT.format(target=f"{newest}/{_START}")
    (site / "index.html").write_text(redirect, encoding="utf-8")
    (site / ".nojekyll").touch()  # otherwise GitHub Pages ignores folders such as _static


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
