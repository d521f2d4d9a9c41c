#!/usr/bin/env python3
"""Set up and run: `python3 run.py demo` or `python3 run.py test`.

    python3 run.py demo [--size-mib N] [--workers N] [--output FOLDER]
    python3 run.py test [--quick | --lowest | --versions | arguments of pytest]
    python3 run.py package

All commands install this checkout into `.venv` next to this file and need Python 3.11 or newer.
`test` runs ruff, mypy and pytest; with arguments, only pytest. `--quick` runs only the unit tests,
in parallel and with fewer hypothesis examples: about a minute on two cores. `--lowest` runs the
unit and conformance tests with the lowest versions that pyproject.toml allows, in `.venv-lowest`;
`--versions` also runs them with every other Python up to 3.13 on this machine, in `.venv-3.12` etc.
Tests that need zarr 3, which cannot be installed together with HyperSpy, are in `tests/zarr3` and
run in `.venv-zarr3`. `package` builds wheel and sdist in `build/package/dist` and tests them in an
empty environment.
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

# Name of a check → the module or script that it runs, with arguments.
if TYPE_CHECKING:  # so that a Python that is too old gets as far as the message that says so
    Checks = Mapping[str, Sequence[str]]

_TWO_PROCESSES = ("pytest", "--numprocesses=2", "--dist=worksteal")
_QUICK = (
    *("pytest", "--numprocesses=auto", "--maxprocesses=4", "--dist=worksteal"),
    *("--hypothesis-profile=quick", "tests/unit"),
)
# These mostly wait for their own Slurm, so they run next to other tests; one Slurm at a time.
_SLURM = (
    "tests/integration/test_slurm.py",
    "tests/integration/test_notebooks_on_slurm.py",
)
# These depend on timing: only checks with a lower priority may run at the same time.
_TIMING = ("tests/integration/test_faults.py",)
# These start all services of a cluster, or measure memory: one process per file.
_BY_FILE = (
    "tests/integration/test_memory.py",
    "tests/integration/test_isolated_hosts.py",
    "tests/integration/test_deploy_commands.py",
)
_BENCHMARKS = "tests/benchmarks"
_COMPILED = (
    "tests/integration/test_compiled_loops.py",
    "tests/integration/test_compiled_code.py",
)
# The slowest tests run first: short ones at the end keep both processes busy.
_SLOWEST = ("tests/docs", "tests/integration")
_ZARR3 = "tests/zarr3"
_RUN_SEPARATELY = (*_TIMING, *_SLURM, *_BY_FILE, _BENCHMARKS, *_COMPILED, _ZARR3)
_VERSION_TESTS = (*_TWO_PROCESSES, "--hypothesis-profile=quick", "tests/unit", "tests/conformance")
_PACKAGE = "release/check_package.py"
# Servers used by the tests → the program that shows that they are installed.
_SERVERS = {
    "radosgw (S3)": "radosgw",
    "nginx": "nginx",
    "Slurm": "slurmctld",
    "network namespaces": "ip",
    "chromium": "chromium",
}


def main(arguments: list[str]) -> int:
    """Run a command and return its exit status, or print the usage."""
    # Without bytecode on disk, each of hundreds of processes would compile everything it imports.
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
        print(duration_and_servers(), flush=True)
    if rest[:1] in (["--lowest"], ["--versions"]):
        pythons = other_pythons() if rest[0] == "--versions" else {}
        return check_versions(pythons, rest[1:])
    install_group("test")
    if rest[:1] == ["--quick"]:
        return run("-m", *_QUICK, *rest[1:], cwd=HERE)
    if not rest:
        return check_all()
    if any(_ZARR3 in argument for argument in rest):
        install_group("test-zarr3", ZARR3)
        return run("-m", "pytest", *rest, cwd=HERE, venv=ZARR3)
    return run("-m", "pytest", *rest, cwd=HERE)


def check_all() -> int:
    """Run every check, even after failures, and list the failures at the end."""
    linters = {
        "ruff check": ("ruff", "check", "."),
        "ruff format": ("ruff", "format", "--check", "."),
        "mypy": ("mypy",),
    }
    # Compiled code is cached; without it, all processes of the next round would compile it at once.
    compiling = ("pytest", "--hypothesis-profile=quick", *_COMPILED)
    next_to_linters = {"pytest, compiled loops": compiling}
    most_tests = {
        "pytest, two processes": (
            *_TWO_PROCESSES,
            *_SLOWEST,
            "tests",
            "--hypothesis-profile=quick",
            "--durations=50",
            *(f"--ignore={path}" for path in _RUN_SEPARATELY),
        ),
    }
    next_to_most_tests = {"pytest, Slurm": ("pytest", "--durations=15", *_SLURM)}
    sensitive_tests = {
        "pytest, two files at a time": (
            *("pytest", "--numprocesses=2", "--dist=loadfile", "--durations=25"),
            *_BY_FILE,
        ),
        "pytest, timing": ("pytest", "--durations=15", *_TIMING),
    }
    # Sensitive tests leave part of two cores idle: enough for checks that measure nothing.
    low_priority = {
        "mypy, Windows": mypy_arguments("win32"),
        "mypy, macOS": mypy_arguments("darwin"),
        "package": (_PACKAGE,),
        "pytest, benchmarks": ("pytest", "--durations=5", _BENCHMARKS),
        "pytest, zarr 3": ("run.py", "test", _ZARR3, "--hypothesis-profile=quick"),
    }
    return check_in_rounds(
        (
            (linters, next_to_linters, 0),
            (most_tests, next_to_most_tests, 0),
            (sensitive_tests, low_priority, 5),
        )
    )


def check_versions(pythons: Mapping[str, Path], arguments: Sequence[str]) -> int:
    """Run unit and conformance tests with the lowest versions, and with each of these Pythons."""
    install_group("test", LOWEST, "--resolution", "lowest-direct")
    environments = {"the lowest versions": LOWEST}
    for version, python in pythons.items():
        environments[f"Python {version}"] = HERE / f".venv-{version}"
        install_group("test", environments[f"Python {version}"], python=python)
    status = 0
    for name, venv in environments.items():
        print(f"\n== pytest, unit and conformance tests with {name}", flush=True)
        status = run("-m", *_VERSION_TESTS, *arguments, cwd=HERE, venv=venv) or status
    return status


def other_pythons() -> dict[str, Path]:
    """Return the other supported Pythons on the search path or installed by pyenv, by version."""
    pythons = {}
    for version in VERSIONS:
        pyenv = (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python3")
        for program in (shutil.which(f"python{version}"), *map(str, sorted(pyenv))):
            # pyenv has shims also for versions that are not active; those cannot be run.
            if program and not subprocess.call([program, "-c", ""], stderr=subprocess.DEVNULL):
                pythons[version] = Path(program)
    pythons.pop("{}.{}".format(*sys.version_info[:2]), None)
    print(f"other Pythons found: {', '.join(pythons) or 'none'}", flush=True)
    return pythons


def mypy_arguments(platform: str) -> tuple[str, ...]:
    """Return the command of mypy for another platform, with a cache of its own."""
    return ("mypy", "--platform", platform, f"--cache-dir=build/mypy-{platform}", "mrcdist")


def check_in_rounds(rounds: Iterable[tuple[Checks, Checks, int]]) -> int:
    """Run rounds of checks: (in the foreground, in the background, niceness of the latter)."""
    shutil.rmtree(CACHES, ignore_errors=True)
    results = []
    for foreground, background, niceness in rounds:
        with in_background(background, niceness) as finish:
            results += [check(name, command) for name, command in foreground.items()]
            results += finish()
    print("\n" + "\n".join(f"{result.seconds:6.0f} s  {result.name}" for result in results))
    failed = [result for result in results if result.status]
    for result in failed:
        print(f"\nfailed: {result.name}", *failing_tests(result.name), sep="\n  ")
    print("" if failed else "\nall checks passed", flush=True)
    return 1 if failed else 0


class Result(NamedTuple):
    """The exit status and duration of a check."""

    name: str
    status: int
    seconds: float


def check(name: str, command: Sequence[str]) -> Result:
    """Print the name of a check and run it."""
    print(f"\n== {name}", flush=True)
    start = time.monotonic()
    status = run(*python_arguments(name, command), cwd=HERE)
    return Result(name, status, time.monotonic() - start)


def python_arguments(name: str, command: Sequence[str]) -> list[str]:
    """Return Python's arguments to run a check; pytest gets a cache to record failed tests in."""
    module = [] if command[0].endswith(".py") else ["-m"]
    cache = ["-o", f"cache_dir={pytest_cache(name)}"] if "pytest" in name else []
    return [*module, *command, *cache]


def pytest_cache(name: str) -> Path:
    """Return the cache folder of a check; each has its own, because several run at a time."""
    return CACHES / name.replace(" ", "-").replace(",", "")


def failing_tests(name: str) -> list[str]:
    """Return the failed tests of a check, as recorded in its pytest cache."""
    try:
        record = (pytest_cache(name) / "v" / "cache" / "lastfailed").read_text(encoding="utf-8")
    except OSError:  # not a pytest check, or it did not finish
        return []
    return sorted(json.loads(record))


@contextmanager
def in_background(checks: Checks, niceness: int) -> Iterator[Callable[[], list[Result]]]:
    """Run checks one after the other in a thread.

    Yields a function that waits for them, prints their output and returns their results.
    """
    nice = ("nice", "-n", str(niceness)) if niceness and shutil.which("nice") else ()
    running: list[subprocess.Popen[bytes]] = []
    results: list[Result] = []
    cancelled = threading.Event()

    def run_checks(output: IO[bytes]) -> None:
        for name, command in checks.items():
            if cancelled.is_set():
                return
            output.write(f"\n== {name} (in the background)\n".encode())
            output.flush()
            start = time.monotonic()
            arguments = [*nice, str(python_of(VENV)), *python_arguments(name, command)]
            process = subprocess.Popen(arguments, cwd=HERE, stdout=output, stderr=subprocess.STDOUT)
            running[:] = [process]
            results.append(Result(name, process.wait(), time.monotonic() - start))

    with tempfile.TemporaryFile() as output:
        thread = threading.Thread(target=run_checks, args=(output,))
        thread.start()

        def finish() -> list[Result]:
            thread.join()
            output.seek(0)
            print(output.read().decode("utf-8", "replace"), flush=True)
            # Checks that the thread could not start count as failed.
            return results + [Result(name, 1, 0) for name in list(checks)[len(results) :]]

        try:
            yield finish
        finally:
            cancelled.set()
            for process in running:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)  # so that fixtures stop their servers
            thread.join()


def duration_and_servers() -> str:
    """Return the line that is printed first: the duration of all tests, and the servers found."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    found = {name: bool(shutil.which(program, path=path)) for name, program in _SERVERS.items()}
    text = "all tests: 11 to 15 minutes on two idle cores (--quick: about one); found: "
    text += ", ".join(name for name in found if found[name]) or "no servers"
    missing = ", ".join(name for name in found if not found[name])
    return text + (f"; not found (their tests are skipped): {missing}" if missing else "")


def install_group(group: str, venv: Path = VENV, *options: str, python: Path | None = None) -> None:
    """Install this checkout with a dependency group of pyproject.toml.

    Extras in the group are requested for the checkout itself: `lowest-direct` takes the lowest
    versions of the checkout's requirements, but not of those of packages in a group.
    """
    project = HERE / "pyproject.toml"
    extras = extras_of(group)
    checkout = f"{HERE}[{','.join(extras)}]" if extras else str(HERE)
    requirements = (checkout, "--group", f"{project}:{group}", *options)
    install(group, *requirements, venv=venv, python=python)


def extras_of(group: str) -> list[str]:
    """Return the extras of mrcdist in a dependency group and in the groups it includes."""
    import tomllib  # new in Python 3.11: older ones must still get the message at the end

    groups = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))
    extras: list[str] = []
    for entry in groups["dependency-groups"][group]:
        if isinstance(entry, dict):
            extras += extras_of(entry["include-group"])
        elif entry.startswith("mrcdist["):
            extras += entry.removeprefix("mrcdist[").partition("]")[0].split(",")
    return extras


def install(name: str, *requirements: str, venv: Path = VENV, python: Path | None = None) -> None:
    """Create the environment if needed, and update it if pyproject.toml has changed.

    The environment uses `python`, by default the Python of `.venv`.
    """
    if not python_of(VENV).exists():
        make_venv()
    stamp = venv / f"installed-{name}"
    digest = hashlib.sha256((HERE / "pyproject.toml").read_bytes() + bytes(str(HERE), "utf-8"))
    if stamp.exists() and stamp.read_text(encoding="utf-8") == digest.hexdigest():
        return
    print(
        f"installing mrcdist ({name}) into {venv}; the first time takes a minute or two", flush=True
    )
    # Otherwise, an interrupted installation would count as complete next time.
    stamp.unlink(missing_ok=True)
    # uv, because pip takes a quarter of an hour to resolve these dependencies.
    pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "uv")
    create = (
        "-m",
        "uv",
        "venv",
        "--quiet",
        "--allow-existing",
        "--python",
        str(python or python_of(VENV)),
        str(venv),
    )
    # On a terminal, uv shows its progress.
    uv = ("-m", "uv", "pip", "install", "--python", str(python_of(venv)))
    uv += () if sys.stderr.isatty() else ("--quiet",)
    start = time.monotonic()
    if (
        run(*pip)
        or (not python_of(venv).exists() and run(*create))
        or run(*uv, "--editable", *requirements)
    ):
        sys.exit(
            f"error: installation failed, see above; if {venv} is broken, delete it and run again"
        )
    stamp.write_text(digest.hexdigest(), encoding="utf-8")
    print(f"installed in {time.monotonic() - start:.0f} s", flush=True)


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
            f"error: this Python has no {' and no '.join(missing)}, needed for installation\n"
            f"  Debian, Ubuntu: apt install {package}; elsewhere: use Python from python.org"
        )
    print(f"creating {VENV}", flush=True)
    if subprocess.call([sys.executable, "-m", "venv", str(VENV)]):
        sys.exit(f"error: could not create {VENV}, see above; delete it before trying again")


def python_of(venv: Path) -> Path:
    """Return the path of an environment's Python."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(*arguments: str, cwd: Path | None = None, venv: Path = VENV) -> int:
    """Run an environment's Python and return its exit status."""
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
