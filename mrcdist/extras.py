"""The command that installs an optional extra, for error messages."""

from __future__ import annotations


def install_command(extra: str) -> str:
    """Return how to install one of the extras in pyproject.toml."""
    # mrcdist is not on a package index yet.
    return f'in a clone of mrcdist, pip install ".[{extra}]"'
