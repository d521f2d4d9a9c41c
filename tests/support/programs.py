"""Programs with the names that job scripts call: mrcdist, dask, moto_server, python."""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAMS = {
    "mrcdist": "from mrcdist.cli import main",
    "dask": "from dask.__main__ import main",
    "moto_server": "from moto.server import main",
}


def install_programs(folder: Path) -> Path:
    """Write the programs to a new folder, to be added to PATH, and return it.

    They run this Python, whether or not the project is installed in it.
    """
    folder.mkdir(parents=True)
    texts = {
        name: f"#!{sys.executable}\n{line}\n"
        # Worker processes import their parent's main module.
        "if __name__ == '__main__':\n    main()\n"
        for name, line in _PROGRAMS.items()
    }
    # Not a link: the Python of a virtual environment finds its packages by its path.
    texts["python"] = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder
