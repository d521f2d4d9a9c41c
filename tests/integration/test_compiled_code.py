"""Compiled code is cached on disk without conflicts between processes."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.processes import ROOT, isolated_environment

pytest.importorskip("numba", reason="numba is not installed")

SUM_FRAMES = """
import numpy as np
from mrcdist.compute.compiled import add_frames
for dtype in {dtypes}:
    total = np.zeros((2, 3), "int64")
    add_frames(np.full((5, 2, 3), 7, dtype), total)
    assert (total == 5 * 7).all()
"""


def sum_frames(dtypes: list[str], **environment: object) -> None:
    variables = {name: str(value) for name, value in environment.items()}
    subprocess.run(
        [sys.executable, "-c", SUM_FRAMES.format(dtypes=dtypes)],
        env=isolated_environment({"PYTHONPATH": str(ROOT), **variables}),
        check=True,
    )


def test_cached_code_for_each_dtype_has_its_own_filename(tmp_path: Path) -> None:
    """Processes that compile at the same time would otherwise use the same filenames."""
    sum_frames(["uint8", "uint16"], NUMBA_CACHE_DIR=tmp_path)
    cached = Counter(path.name.rsplit(".", 2)[0] for path in tmp_path.rglob("*.nbc"))
    assert len(cached) == 2
    assert set(cached.values()) == {1}


def test_loops_are_compiled_although_the_cache_folder_cannot_be_used(tmp_path: Path) -> None:
    not_a_folder = tmp_path / "file"
    not_a_folder.touch()
    sum_frames(
        ["uint8"],
        NUMBA_CACHE_DIR=not_a_folder,
        NUMBA_CACHE_LOCATOR_CLASSES="numba.core.caching.UserProvidedCacheLocator",
    )
