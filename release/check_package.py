"""Build wheel and sdist, and test them in an empty environment.

    python release/check_package.py [FOLDER]

The wheel is installed on its own first, to run the command line, and then with the extra `plot`,
to run the demo of the sdist. Both files are left in `FOLDER/dist` (default: build/package).
`MRCDIST_REPOSITORY` is passed on to hatch_build.py.
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

WRITE_MOVIE = (
    "from mrcdist.testing.acquisition import write_acquisition\n"
    "write_acquisition('acquired', scan_shape=(8, 8), frame_shape=(16, 16))\n"
)


def main(folder: Path) -> None:
    """Build, check, install and run; exit at the first failure."""
    shutil.rmtree(folder, ignore_errors=True)
    dist, trial = folder / "dist", folder / "trial"
    run(*UV, "build", "--quiet", "--out-dir", dist, ROOT)
    (dist / ".gitignore").unlink(missing_ok=True)
    packages = sorted(dist.iterdir())
    for path in packages:
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")
    run(sys.executable, "-m", "twine", "check", "--strict", *packages)
    [sdist], [wheel] = dist.glob("*.tar.gz"), dist.glob("*.whl")

    python = trial / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(*UV, "venv", "--quiet", "--python", sys.executable, trial / "venv")
    run(*UV, "pip", "install", "--quiet", "--python", python, wheel)
    run(python, "-c", WRITE_MOVIE, cwd=trial)
    [movie] = trial.glob("acquired/*_movie.mrc")
    program = python.with_name("mrcdist" + python.suffix)
    run(program, "info", movie, cwd=trial)
    run(program, "example", "slurm", cwd=trial)
    run(program, "mean", movie, "--out", "mean.npy", cwd=trial)

    run(*UV, "pip", "install", "--quiet", "--python", python, f"{wheel}[plot]")
    with tarfile.open(sdist) as archive:
        archive.extractall(trial, filter="data")
    # Without the sdist's mrcdist next to it, so that the demo imports the wheel's.
    shutil.move(trial / sdist.name.removesuffix(".tar.gz") / "demo", trial / "demo")
    run(python, "-m", "demo", "--size-mib", "16", "--output", "images", cwd=trial)


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a command in a folder, without PYTHONPATH, so that it does not import this checkout."""
    arguments = [str(argument) for argument in command]
    print(f"$ {' '.join(arguments)}", flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if status := subprocess.call(arguments, cwd=cwd, env=environment):
        sys.exit(f"error: exit status {status}")


if __name__ == "__main__":
    main(Path(*sys.argv[1:]).resolve() if sys.argv[1:] else ROOT / "build" / "package")
