"""Records of written blocks, from which `resume` continues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mrcdist.errors import WriteError
from mrcdist.format.encode import NewHeader, Storage
from mrcdist.storage.location import Location
from mrcdist.write.grid import Grid
from mrcdist.write.local import LocalDestination
from mrcdist.write.statistics import statistics_of
from mrcdist.write.tasks import BlockRecord, Job, recall_block


@given(npst.arrays(st.sampled_from(["int8", "uint16", "float32", "complex64"]), (2, 3)))
def test_block_record_is_read_back_exactly(array: np.ndarray[Any, Any]) -> None:
    statistics = statistics_of(np.nan_to_num(array))
    record = BlockRecord(array.nbytes, statistics, ((3, b"abc"), (9, b"\n\0")))
    assert BlockRecord.from_bytes(record.to_bytes()) == record


def test_error_for_an_unreadable_block_record_has_the_block_and_a_remedy(
    tmp_path: Path,
) -> None:
    planned = LocalDestination(Location.of(tmp_path / "a.mrc"), Grid(1024, 1, 4096))
    destination = planned.begin({}, overwrite=False, resume=False)
    job = Job(destination, NewHeader(1, 1, 1, Storage(6, "uint16")), (1, 1), statistics=False)
    stored = BlockRecord(4, None, ((3, b"abc"),)).to_bytes()
    destination.keep(7, stored)
    assert recall_block(job, 7) == BlockRecord(4, None, ((3, b"abc"),))
    for length in range(len(stored)):
        destination.keep(7, stored[:length])
        with pytest.raises(WriteError, match=r"block 7 (?s:.*)overwrite=True"):
            recall_block(job, 7)
    with pytest.raises(WriteError, match=r"block 8 (?s:.*)overwrite=True"):
        recall_block(job, 8)


def test_missing_record_of_a_replaced_call_is_not_a_reason_to_overwrite(tmp_path: Path) -> None:
    planned = LocalDestination(Location.of(tmp_path / "a.mrc"), Grid(1024, 1, 4096))
    first = planned.begin({}, overwrite=False, resume=False)
    planned.begin({}, overwrite=True, resume=False)
    job = Job(first, NewHeader(1, 1, 1, Storage(6, "uint16")), (1, 1), statistics=False)
    with pytest.raises(WriteError) as error:
        recall_block(job, 0)
    assert error.value.code == "unfinished-file-missing"
