"""Build the documentation as one version of a site that has all of them.

    python release/publish_docs.py SITE NAME

builds it in `SITE/NAME`, where `NAME` is a version such as `v0.2.0`, or `dev`; writes
`SITE/versions.json`, from which each page's switcher offers the versions, and `SITE/index.html`,
which leads to the newest release. `MRCDIST_DOCS` is the address at which `SITE` is published.
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
    """Build one version, and bring what leads to it up to date."""
    if name != DEVELOPMENT:
        Version(name)  # raises where it is none
    build(Path(site) / name, name)
    describe(Path(site), os.environ["MRCDIST_DOCS"])


def build(folder: Path, name: str) -> None:
    """Build the documentation in a folder, in place of what is there; warnings are errors."""
    made = HERE / "build" / "docs" / name  # pages of notebooks leave files beside it
    sphinx = [sys.executable, "-m", "sphinx", "-E", "-W", "-n", "-q", "-c", "docs"]
    environment = {**os.environ, "MRCDIST_DOCS_VERSION": name}
    subprocess.run([*sphinx, ".", str(made)], cwd=HERE, env=environment, check=True)  # noqa: S603
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, folder, ignore=shutil.ignore_patterns(".doctrees"))


def describe(site: Path, address: str) -> None:
    """List the versions that a site has, newest first, and lead to the newest release."""
    names = [path.parent.parent.name for path in site.glob(f"*/{_START}")]
    releases = sorted((name for name in names if name != DEVELOPMENT), key=Version, reverse=True)
    final = [name for name in releases if not Version(name).is_prerelease]
    newest = next(iter(final or releases), DEVELOPMENT)
    ordered = releases + [DEVELOPMENT] * (DEVELOPMENT in names)
    listed = [
        {
            "name": f"{name} (newest)" if name == newest else name,
            "version": name,
            "url": f"{address.rstrip('/')}/{name}/{_START}",
            "preferred": name == newest,
        }
        for name in ordered
    ]
    (site / "versions.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    redirect = _REDIRECT.format(target=f"{newest}/{_START}")
    (site / "index.html").write_text(redirect, encoding="utf-8")
    (site / ".nojekyll").touch()  # GitHub Pages would leave out folders such as _static


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
