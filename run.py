#!/usr/bin/env python3
"""Set up and run: `python3 run.py demo` or `python3 run.py test`.

    python3 run.py demo [--size-mib N] [--workers N] [--output FOLDER]
    python3 run.py test [--quick | --lowest | --versions | arguments of pytest]
    python3 run.py package

All install this checkout into `.venv` next to this file; they require Python 3.11 or newer.
`test` runs ruff, mypy and pytest; with arguments, only pytest. `--quick` runs only the unit tests,
in parallel and with fewer hypothesis examples: about a minute on two cores. `--lowest` runs
unit and conformance tests with the lowest versions that pyproject.toml allows, in `.venv-lowest`,
`--versions` also with other Pythons up to 3.13 that are found, in `.venv-3.12` and so on.
What needs zarr 3, with which HyperSpy cannot be installed, is in `tests/zarr3`, in `.venv-zarr3`.
`package` builds wheel and sdist in `build/package/dist` and tries them in an empty environment.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

OLDEST = (3, 11)
HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
ZARR3 = HERE / ".venv-zarr3"
LOWEST = HERE / ".venv-lowest"
VERSIONS = ("3.11", "3.12", "3.13")
CACHES = HERE / "build" / "pytest"

# Their names, and the module or script that each runs with its arguments.
if TYPE_CHECKING:  # Pythons that are too old get as far as the words that say so
    Checks = Mapping[str, Sequence[str]]

_TWO_AT_A_TIME = ("pytest", "--numprocesses=2", "--dist=worksteal")
_QUICK = (
    *("pytest", "--numprocesses=auto", "--maxprocesses=4", "--dist=worksteal"),
    *("--hypothesis-profile=quick", "tests/unit"),
)
# Tests that mostly wait for a Slurm of their own, and so run beside others; one Slurm at a time.
_SLURM = (
    "tests/integration/test_slurm.py",
    "tests/integration/test_notebooks_on_slurm.py",
)
# Tests that count on times: beside them runs only what gives way.
_ALONE = ("tests/integration/test_faults.py",)
# Tests that start the services of a whole cluster, or measure memory.
_BY_FILE = (
    "tests/integration/test_memory.py",
    "tests/integration/test_isolated_hosts.py",
    "tests/integration/test_deploy_commands.py",
)
_BENCHMARKS = "tests/benchmarks"
_COMPILING = (
    "tests/integration/test_compiled_loops.py",
    "tests/integration/test_compiled_code.py",
)
# The slowest tests first: short ones at the end keep both processes busy.
_SLOWEST = ("tests/docs", "tests/integration")
_ZARR3 = "tests/zarr3"
_APART = (*_ALONE, *_SLURM, *_BY_FILE, _BENCHMARKS, *_COMPILING, _ZARR3)
_ANY_VERSION = (*_TWO_AT_A_TIME, "--hypothesis-profile=quick", "tests/unit", "tests/conformance")
_PACKAGE = "release/check_package.py"
# Servers of the tests: the program that is looked for.
_SERVERS = {
    "radosgw (S3)": "radosgw",
    "nginx": "nginx",
    "Slurm": "slurmctld",
    "network namespaces": "ip",
    "chromium": "chromium",
}


def main(arguments: list[str]) -> int:
    """Run a command and return its exit status, or print the usage."""
    # Without bytecode on the disk, each of hundreds of processes compiles all that it imports.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    command, *rest = arguments or ["help"]
    if command not in ("demo", "package", "test"):
        print(__doc__)
        return 0 if command in ("help", "-h", "--help") else 2
    if command == "demo":
        install("demo", f"{HERE}[plot]")
        return run("-m", "demo", *rest, cwd=HERE)
    if command == "package":
        install_group("release")
        return run(_PACKAGE, *rest, cwd=HERE)
    if not rest:
        print(announcement(), flush=True)
    if rest[:1] in (["--lowest"], ["--versions"]):
        others = other_pythons() if rest[0] == "--versions" else {}
        return check_versions(others, rest[1:])
    install_group("test")
    if rest[:1] == ["--quick"]:
        return run("-m", *_QUICK, *rest[1:], cwd=HERE)
    if not rest:
        return check_all()
    if any(_ZARR3 in word for word in rest):
        install_group("test-zarr3", ZARR3)
        return run("-m", "pytest", *rest, cwd=HERE, venv=ZARR3)
    return run("-m", "pytest", *rest, cwd=HERE)


def check_all() -> int:
    """Run every check, even after failures, and list the failures at the end."""
    first = {
        "ruff check": ("ruff", "check", "."),
        "ruff format": ("ruff", "format", "--check", "."),
        "mypy": ("mypy",),
    }
    # Its compiled code is kept: all processes of later tests need it, and would compile it at once.
    compiling = ("pytest", "--hypothesis-profile=quick", *_COMPILING)
    beside_first = {"pytest of compiled loops": compiling}
    most = {
        "pytest, two at a time": (
            *_TWO_AT_A_TIME,
            *_SLOWEST,
            "tests",
            "--hypothesis-profile=quick",
            "--durations=50",
            *(f"--ignore={path}" for path in _APART),
        ),
    }
    beside_most = {"pytest of Slurm": ("pytest", "--durations=15", *_SLURM)}
    careful = {
        "pytest, two files at a time": (
            *("pytest", "--numprocesses=2", "--dist=loadfile", "--durations=25"),
            *_BY_FILE,
        ),
        "pytest, one at a time": ("pytest", "--durations=15", *_ALONE),
    }
    # These leave a part of two cores idle: time for what neither counts on times nor measures.
    giving_way = {
        "mypy, Windows": mypy_on("win32"),
        "mypy, macOS": mypy_on("darwin"),
        "package": (_PACKAGE,),
        "pytest of benchmarks": ("pytest", "--durations=5", _BENCHMARKS),
        "pytest with zarr 3": ("run.py", "test", _ZARR3, "--hypothesis-profile=quick"),
    }
    return check_in_rounds(
        ((first, beside_first, 0), (most, beside_most, 0), (careful, giving_way, 5))
    )


def check_versions(pythons: Mapping[str, Path], words: Sequence[str]) -> int:
    """Run unit and conformance tests with the lowest versions of packages, and with Pythons."""
    install_group("test", LOWEST, "--resolution", "lowest-direct")
    places = {"the lowest versions": LOWEST}
    for version, python in pythons.items():
        places[f"Python {version}"] = HERE / f".venv-{version}"
        install_group("test", places[f"Python {version}"], python=python)
    status = 0
    for name, venv in places.items():
        print(f"\n== pytest of unit and conformance tests with {name}", flush=True)
        status = run("-m", *_ANY_VERSION, *words, cwd=HERE, venv=venv) or status
    return status


def other_pythons() -> dict[str, Path]:
    """Return the Pythons that are supported and found, in the path or pyenv's, but for this one."""
    found = {}
    for version in VERSIONS:
        pyenv = (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python3")
        for program in (shutil.which(f"python{version}"), *map(str, sorted(pyenv))):
            # A shim of pyenv's is a program, but not always a Python.
            if program and not subprocess.call([program, "-c", ""], stderr=subprocess.DEVNULL):
                found[version] = Path(program)
    found.pop("{}.{}".format(*sys.version_info[:2]), None)
    print(f"other Pythons found: {', '.join(found) or 'none'}", flush=True)
    return found


def mypy_on(platform: str) -> tuple[str, ...]:
    """Return the words of mypy for another system; one cache for all would serve none of them."""
    return ("mypy", "--platform", platform, f"--cache-dir=build/mypy-{platform}", "mrcdist")


def check_in_rounds(rounds: Iterable[tuple[Checks, Checks, int]]) -> int:
    """Run checks round by round; beside each round run others, with the niceness that it says."""
    shutil.rmtree(CACHES, ignore_errors=True)
    done = []
    for checks, others, niceness in rounds:
        with started(others, niceness) as finish:
            done += [check(name, words) for name, words in checks.items()]
            done += finish()
    print("\n" + "\n".join(f"{each.seconds:6.0f} s  {each.name}" for each in done))
    failed = [each for each in done if each.status]
    for each in failed:
        print(f"\nfailed: {each.name}", *failing_tests(each.name), sep="\n  ")
    print("" if failed else "\nall checks passed", flush=True)
    return 1 if failed else 0


class Done(NamedTuple):
    """How a check ended."""

    name: str
    status: int
    seconds: float


def check(name: str, words: Sequence[str]) -> Done:
    """Run a check, a module or a script, after its name."""
    print(f"\n== {name}", flush=True)
    begin = time.monotonic()
    status = run(*command_of(name, words), cwd=HERE)
    return Done(name, status, time.monotonic() - begin)


def command_of(name: str, words: Sequence[str]) -> list[str]:
    """Return the arguments of Python that run a check; pytest notes which of its tests fail."""
    how = [] if words[0].endswith(".py") else ["-m"]
    noting = ["-o", f"cache_dir={cache_of(name)}"] if "pytest" in name else []
    return [*how, *words, *noting]


def cache_of(name: str) -> Path:
    """Return the folder of a check's pytest alone: they run beside each other."""
    return CACHES / name.replace(" ", "-").replace(",", "")


def failing_tests(name: str) -> list[str]:
    """Return the tests of a check that failed, as its pytest noted them."""
    try:
        noted = (cache_of(name) / "v" / "cache" / "lastfailed").read_text(encoding="utf-8")
    except OSError:  # no pytest, or one that came to no end
        return []
    return sorted(json.loads(noted))


@contextmanager
def started(checks: Checks, niceness: int) -> Iterator[Callable[[], list[Done]]]:
    """Run checks one after the other beside others; the function waits and prints their output."""
    nice = ("nice", "-n", str(niceness)) if niceness and shutil.which("nice") else ()
    running: list[subprocess.Popen[bytes]] = []
    done: list[Done] = []
    given_up = threading.Event()

    def work(output: IO[bytes]) -> None:
        for name, words in checks.items():
            if given_up.is_set():
                return
            output.write(f"\n== {name}, which ran beside others\n".encode())
            output.flush()
            begin = time.monotonic()
            command = [*nice, str(python_of(VENV)), *command_of(name, words)]
            process = subprocess.Popen(command, cwd=HERE, stdout=output, stderr=subprocess.STDOUT)
            running[:] = [process]
            done.append(Done(name, process.wait(), time.monotonic() - begin))

    with tempfile.TemporaryFile() as output:
        thread = threading.Thread(target=work, args=(output,))
        thread.start()

        def finish() -> list[Done]:
            thread.join()
            output.seek(0)
            print(output.read().decode("utf-8", "replace"), flush=True)
            # If the thread could not go on, checks that did not run are no success.
            return done + [Done(name, 1, 0) for name in list(checks)[len(done) :]]

        try:
            yield finish
        finally:
            given_up.set()
            for process in running:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)  # its fixtures stop what they started
            thread.join()


def announcement() -> str:
    """Say how long all tests take and which servers they found, before anything else happens."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    found = {name: bool(shutil.which(program, path=path)) for name, program in _SERVERS.items()}
    text = "all tests: about 30 minutes on two cores (--quick: about one); found: "
    text += ", ".join(name for name in found if found[name]) or "no servers"
    absent = ", ".join(name for name in found if not found[name])
    return text + (f"; not found, their tests are skipped: {absent}" if absent else "")


def install_group(group: str, venv: Path = VENV, *options: str, python: Path | None = None) -> None:
    """Install this checkout with a dependency group of pyproject.toml.

    Extras that the group names are asked for as the checkout's own: `lowest-direct` takes the
    lowest versions of what the checkout needs, but not of what a package in a group needs.
    """
    project = HERE / "pyproject.toml"
    extras = extras_of(group)
    checkout = f"{HERE}[{','.join(extras)}]" if extras else str(HERE)
    words = (checkout, "--group", f"{project}:{group}", *options)
    install(group, *words, venv=venv, python=python)


def extras_of(group: str) -> list[str]:
    """Return the extras of mrcdist that a dependency group names, itself or by another group."""
    import tomllib  # which Pythons that are too old lack

    groups = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[str] = []
    for each in groups["dependency-groups"][group]:
        if isinstance(each, dict):
            found += extras_of(each["include-group"])
        elif each.startswith("mrcdist["):
            found += each.removeprefix("mrcdist[").partition("]")[0].split(",")
    return found


def install(name: str, *requirements: str, venv: Path = VENV, python: Path | None = None) -> None:
    """Create the environment if needed, and update it if pyproject.toml has changed.

    It is of another `python`, or of that of `.venv`.
    """
    if not python_of(VENV).exists():
        make_venv()
    stamp = venv / f"installed-{name}"
    wanted = hashlib.sha256((HERE / "pyproject.toml").read_bytes() + bytes(str(HERE), "utf-8"))
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted.hexdigest():
        return
    print(
        f"installing mrcdist ({name}) into {venv}; the first time takes a minute or two", flush=True
    )
    # An interrupted installation must not be mistaken for a complete one next time.
    stamp.unlink(missing_ok=True)
    # uv, because pip takes a quarter of an hour to resolve these dependencies.
    pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "uv")
    new = (
        "-m",
        "uv",
        "venv",
        "--quiet",
        "--allow-existing",
        "--python",
        str(python or python_of(VENV)),
        str(venv),
    )
    # uv shows on a terminal what it is waiting for.
    uv = ("-m", "uv", "pip", "install", "--python", str(python_of(venv)))
    uv += () if sys.stderr.isatty() else ("--quiet",)
    begun = time.monotonic()
    if (
        run(*pip)
        or (not python_of(venv).exists() and run(*new))
        or run(*uv, "--editable", *requirements)
    ):
        sys.exit(
            f"error: installation failed, see above; if {venv} is broken, delete it and run again"
        )
    stamp.write_text(wanted.hexdigest(), encoding="utf-8")
    print(f"installed in {time.monotonic() - begun:.0f} s", flush=True)


def make_venv() -> None:
    """Create `.venv` with pip."""
    if VENV.exists():
        sys.exit(
            f"error: {VENV} has no working Python (moved or upgraded?); delete it and run again"
        )
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        sys.exit(
            f"error: this Python lacks {' and '.join(missing)}, needed for installation\n"
            f"  Debian, Ubuntu: apt install {package}; elsewhere: use Python from python.org"
        )
    print(f"creating {VENV}", flush=True)
    if subprocess.call([sys.executable, "-m", "venv", str(VENV)]):
        sys.exit(f"error: could not create {VENV}, see above; delete it before trying again")


def python_of(venv: Path) -> Path:
    """Return the Python of an environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(*arguments: str, cwd: Path | None = None, venv: Path = VENV) -> int:
    """Run the Python of an environment and return its exit status."""
    try:
        return subprocess.call([str(python_of(venv)), *arguments], cwd=cwd)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    if sys.version_info < OLDEST:
        sys.exit(
            f"error: Python {sys.version.split()[0]} is too old for mrcdist, which needs "
            f"{OLDEST[0]}.{OLDEST[1]}: try python3.11, python3.12 or newer"
        )
    sys.exit(main(sys.argv[1:]))
