"""Build wheel and sdist, and use them as someone would who has nothing else.

    python release/check_package.py [FOLDER]

The wheel is installed into an empty environment: first alone, to look at a file with the command
line, then with the extra `plot`, to run the demonstration of the sdist. FOLDER (build/package) then
contains the two files, in `dist`. `MRCDIST_REPOSITORY` is as in hatch_build.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = (sys.executable, "-m", "uv")

# Where the file comes from is no part of what is tried: the package's own synthetic acquisitions.
WRITE = (
    "from mrcdist.testing.acquisition import write_acquisition\n"
    "write_acquisition('acquired', scan_shape=(8, 8), frame_shape=(16, 16))\n"
)


def main(folder: Path) -> None:
    """Build, check, install and try; the first failure ends the program."""
    shutil.rmtree(folder, ignore_errors=True)
    dist, tried = folder / "dist", folder / "tried"
    run(*UV, "build", "--quiet", "--out-dir", dist, ROOT)
    (dist / ".gitignore").unlink(missing_ok=True)
    built = sorted(dist.iterdir())
    for path in built:
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")
    run(sys.executable, "-m", "twine", "check", "--strict", *built)
    [sdist], [wheel] = dist.glob("*.tar.gz"), dist.glob("*.whl")

    python = tried / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(*UV, "venv", "--quiet", "--python", sys.executable, tried / "venv")
    run(*UV, "pip", "install", "--quiet", "--python", python, wheel)
    run(python, "-c", WRITE, cwd=tried)
    [movie] = tried.glob("acquired/*_movie.mrc")
    program = python.with_name("mrcdist" + python.suffix)
    run(program, "info", movie, cwd=tried)
    run(program, "example", "slurm", cwd=tried)
    run(program, "mean", movie, "--out", "mean.npy", cwd=tried)

    run(*UV, "pip", "install", "--quiet", "--python", python, f"{wheel}[plot]")
    with tarfile.open(sdist) as archive:
        archive.extractall(tried, filter="data")
    # Beside the wheel's mrcdist, not the sdist's.
    shutil.move(tried / sdist.name.removesuffix(".tar.gz") / "demo", tried / "demo")
    run(python, "-m", "demo", "--size-mib", "16", "--output", "images", cwd=tried)


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a command in a folder, with nothing of this checkout on Python's path."""
    words = [str(word) for word in command]
    print(f"$ {' '.join(words)}", flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if status := subprocess.call(words, cwd=cwd, env=environment):
        sys.exit(f"error: exit status {status}")


if __name__ == "__main__":
    main(Path(*sys.argv[1:]).resolve() if sys.argv[1:] else ROOT / "build" / "package")
