"""Fixtures of the conformance tests."""

from __future__ import annotations

import pytest

from tests.support.acquisitions import KEEPERS, Keep


@pytest.fixture(scope="session", params=list(KEEPERS))
def keep(request: pytest.FixtureRequest) -> Keep:
    """Run a test with files on disk and with files in fsspec's memory filesystem."""
    return KEEPERS[request.param]
