"""Fixtures of all tests: real files, S3 servers, and nothing that leaks from test to test."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import mrcdist
from tests.support.examples import PROFILES
from tests.support.processes import ROOT, isolated_environment
from tests.support.s3 import S3_SERVERS, Bucket, S3Server, forget_s3

os.environ["NUMBA_CACHE_DIR"] = str(ROOT / "build" / "numba")

for name, profile in PROFILES.items():
    hypothesis.settings.register_profile(name, profile)
hypothesis.settings.load_profile("full")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes, unless it is asked for."""
    if "slow" not in config.getoption("markexpr"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes; run with -m slow"))


def pytest_configure(config: pytest.Config) -> None:
    """Let a run that hangs say where: on a fatal signal, and on SIGUSR1 without ending it."""
    if not faulthandler.is_enabled():
        faulthandler.enable()
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, all_threads=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a worker of xdist end in peace.

    After five seconds execnet interrupts it, and finalizers that run then complain of it.
    """
    if hasattr(session.config, "workerinput"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.fixture(scope="session", autouse=True)
def _nobodys_credentials() -> Iterator[None]:
    """Keep the S3 settings of whoever runs the tests out of them."""
    before, isolated = dict(os.environ), isolated_environment()
    os.environ.clear()
    os.environ.update(isolated)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _forget_s3() -> Iterator[None]:
    """Drop s3fs's file systems and listings, which outlive a test and know its objects."""
    yield
    forget_s3()


@pytest.fixture
def registered() -> Iterator[None]:
    """HyperSpy knows the format by its name, for one test."""
    rsciio = pytest.importorskip("rsciio", reason="RosettaSciIO is not installed")
    before = list(rsciio.IO_PLUGINS)
    mrcdist.register_hyperspy()
    yield
    rsciio.IO_PLUGINS[:] = before


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with files from real microscopes, beside the repository."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"files from real microscopes are not here: no folder {folder}")
    return folder


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server in Python: no signatures, small objects."""
    with S3_SERVERS["moto"](tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Ceph's S3 gateway; skipped where it is not installed."""
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

    Under hypothesis, which wants no fixture of a single test: `with s3.bucket() as bucket:`.
    """
    with s3.bucket() as bucket:
        yield bucket
