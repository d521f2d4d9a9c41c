"""What shellcheck says of a script."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def shellcheck(text: str) -> str:
    """Return what shellcheck finds, "" if nothing; skip the test where it is not installed."""
    if not shutil.which("shellcheck"):
        pytest.skip("no shellcheck: apt-get install shellcheck")
    done = subprocess.run(
        ["shellcheck", "--severity", "info", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout
