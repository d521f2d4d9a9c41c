"""Fixtures of the conformance tests."""

from __future__ import annotations

import pytest

from tests.support.acquisitions import KEEPERS, Keep


@pytest.fixture(scope="session", params=list(KEEPERS))
def keep(request: pytest.FixtureRequest) -> Keep:
    """Keep the files of a folder on disk, and in a store without files, in turn."""
    return KEEPERS[request.param]
