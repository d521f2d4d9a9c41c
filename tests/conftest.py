"""Fixtures shared by all tests: S3 servers, real files, and isolation of tests from each other."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

import mrcdist
from tests.support.examples import PROFILES
from tests.support.processes import ROOT, isolated_environment
from tests.support.s3 import S3_SERVERS, Bucket, S3Server, forget_s3

os.environ["NUMBA_CACHE_DIR"] = str(ROOT / "build" / "numba")

for name, profile in PROFILES.items():
    hypothesis.settings.register_profile(name, profile)
hypothesis.settings.load_profile("full")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip slow tests unless they are selected with -m."""
    if "slow" not in config.getoption("markexpr"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes; run with -m slow"))


def pytest_configure(config: pytest.Config) -> None:
    """Print all stack traces on a fatal signal, and on SIGUSR1 without ending the run.

    A shell starts background jobs with Ctrl-C ignored, which the commands started by tests would
    inherit: tests that interrupt them would wait forever.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not faulthandler.is_enabled():
        faulthandler.enable()
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, all_threads=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Ignore Ctrl-C in xdist workers at the end of the session.

    execnet interrupts them after five seconds, which would print tracebacks from finalizers.
    """
    if hasattr(session.config, "workerinput"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.fixture(scope="session", autouse=True)
def _isolated_environment() -> Iterator[None]:
    """Hide the user's S3 settings and credentials from the tests."""
    before, isolated = dict(os.environ), isolated_environment()
    os.environ.clear()
    os.environ.update(isolated)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _forget_s3() -> Iterator[None]:
    """Clear the caches of s3fs: filesystems and listings would outlive the test."""
    yield
    forget_s3()


@pytest.fixture
def registered() -> Iterator[None]:
    """Register the format with HyperSpy for one test."""
    rsciio = pytest.importorskip("rsciio", reason="RosettaSciIO is not installed")
    before = list(rsciio.IO_PLUGINS)
    mrcdist.register_hyperspy()
    yield
    rsciio.IO_PLUGINS[:] = before


@pytest.fixture
def unlistable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to list folders, as stores do that only allow reading."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise PermissionError

    for filesystem in (LocalFileSystem, MemoryFileSystem):
        monkeypatch.setattr(filesystem, "ls", refuse)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with files from real microscopes, next to the repository."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs files from real microscopes in {folder}")
    return folder


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server written in Python; it ignores signatures and is only fit for small objects."""
    with S3_SERVERS["moto"](tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Ceph's S3 gateway; tests are skipped if it is not installed."""
    with S3_SERVERS["radosgw"](tmp_path_factory.mktemp("radosgw")) as server:
        yield server


@pytest.fixture(scope="session", params=list(S3_SERVERS))
def s3(request: pytest.FixtureRequest) -> S3Server:
    """Each S3 server in turn."""
    server: S3Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def s3_bucket(s3: S3Server) -> Iterator[Bucket]:
    """An empty bucket on each S3 server in turn, deleted after the test.

    In tests with `@given`, which reject function-scoped fixtures: `with s3.bucket() as bucket:`.
    """
    with s3.bucket() as bucket:
        yield bucket
