"""shellcheck for scripts."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def shellcheck(text: str) -> str:
    """Return shellcheck's findings, "" if there are none; skip the test if it is not installed."""
    if not shutil.which("shellcheck"):
        pytest.skip("needs shellcheck: apt-get install shellcheck")
    process = subprocess.run(
        ["shellcheck", "--severity", "info", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    return process.stdout
