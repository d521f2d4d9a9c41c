"""Plans of unfinished files that other versions of mrcdist have stored."""

from __future__ import annotations

import json
from pathlib import Path

import dask.array as da
import pytest

import mrcdist
from mrcdist.errors import ArgumentError


def test_file_started_by_another_version_is_not_resumed_but_overwritten(tmp_path: Path) -> None:
    array = da.ones((2, 4, 4), dtype="int16")
    mrcdist.write_mrc(tmp_path / "a.mrc", array, resume=True, compute=False)
    path = tmp_path / ".a.mrc.mrcdist-write" / "plan.json"
    unfinished = json.loads(path.read_text())
    unfinished["format"] -= 1
    path.write_text(json.dumps(unfinished))
    with pytest.raises(ArgumentError) as error:
        mrcdist.write_mrc(tmp_path / "a.mrc", array, resume=True)
    assert error.value.code == "destination-differs"
    mrcdist.write_mrc(tmp_path / "a.mrc", array, overwrite=True)
    assert not path.exists()
