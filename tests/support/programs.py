"""The project's programs under the names that people and job scripts call them by."""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAMS = {
    "mrcdist": "from mrcdist.cli import main",
    "dask": "from dask.__main__ import main",
    "moto_server": "from moto.server import main",
}


def install_programs(folder: Path) -> Path:
    """Write `mrcdist`, `dask`, `moto_server` and `python` into a new folder, for a PATH.

    They run this Python, whether or not the project is installed in it.
    """
    folder.mkdir(parents=True)
    texts = {
        name: f"#!{sys.executable}\n{line}\n"
        # Worker processes import their parent's main module.
        "if __name__ == '__main__':\n    main()\n"
        for name, line in _PROGRAMS.items()
    }
    # Not a link: a virtual environment's Python finds its packages by its own path.
    texts["python"] = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder
