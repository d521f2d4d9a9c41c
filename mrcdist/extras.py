"""Import of optional packages, and the command that installs an extra."""

from __future__ import annotations

import importlib
from typing import Any

from mrcdist.errors import MissingExtraError


def install_command(extra: str) -> str:
    """Return how to install one of the extras in pyproject.toml."""
    # mrcdist is not on a package index yet.
    return f'in a clone of mrcdist, pip install ".[{extra}]"'


def import_optional(module: str, purpose: str, remedy: str, *, argument: str = "") -> Any:
    """Import and return a module of an optional package.

    Raises `MissingExtraError`, with the purpose of the package as the cause, if that fails.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0].replace("_", "-")
        raise MissingExtraError(
            f"{package} is not installed here", argument=argument, cause=purpose, remedy=remedy
        ) from None
