"""The command that installs an optional extra, for the remedies of errors."""

from __future__ import annotations

# Of the index instead, once mrcdist is on one.
_COMMAND = 'in a clone of mrcdist, pip install ".[{extra}]"'


def install_command(extra: str) -> str:
    """Return what to do to install one of the extras of pyproject.toml."""
    return _COMMAND.format(extra=extra)
