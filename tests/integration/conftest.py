"""Fixtures of tests that need several processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from distributed import Client

from tests.support.cluster import dask_cluster
from tests.support.http_log import CountingProxy
from tests.support.s3 import S3Server, forget_s3


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of two worker processes that know nothing of the tests' S3 servers.

    It is the default scheduler in tests that ask for it, and in no others.
    """
    with dask_cluster(tmp_path_factory.mktemp("cluster"), default=False) as client:
        yield client


@pytest.fixture(autouse=True)
def _on_cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    if "cluster" not in request.fixturenames:
        yield
        return
    client: Client = request.getfixturevalue("cluster")
    with client.as_current():
        yield
    client.run(forget_s3)


@pytest.fixture
def s3_proxy(s3: S3Server) -> Iterator[CountingProxy]:
    """A counting proxy in front of each S3 server in turn; `s3_proxy.server` is the way through."""
    with CountingProxy(s3) as proxy:
        yield proxy
