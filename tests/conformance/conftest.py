"""Fixtures of the conformance tests."""

from __future__ import annotations

import pytest

from tests.support.acquisitions import STORES, Store


@pytest.fixture(scope="session", params=list(STORES))
def store(request: pytest.FixtureRequest) -> Store:
    """Run a test with files on disk and with files in fsspec's memory filesystem."""
    return STORES[request.param]
