"""Random datasets are read by mrcdist and by a simple reference reader; the arrays must be equal.

Cases are numbered, and failures state the number. To run some of them:

    python -m tests.conformance.test_differential FIRST STOP
"""

from __future__ import annotations

import bz2
import collections
import contextlib
import gzip
import json
import random
import sys
import tempfile
import traceback
import warnings
import zipfile
from pathlib import Path

import blosc
import dask
import fsspec
import numpy as np
import pytest

import mrcdist
from mrcdist.errors import MrcdistError, MrcdistWarning
from tests.support import plain_mrc
from tests.support.random_mrc import make_case, random_chunks, random_index
from tests.support.web import web_server

PIECE = 2_000


def urls_of(case, folder, server):
    """Store the files of a case, and return the URL of each file with frames."""
    for old in folder.iterdir():
        old.unlink()
    for name, raw in case.files.items():
        (folder / name).write_bytes(raw)
    if case.place == "disk":
        return [str(folder / name) for name in case.data]
    if case.place == "file":
        return [(folder / name).as_uri() for name in case.data]
    if case.place == "http":
        return [f"{server}/{name}" for name in case.data]
    if case.place == "zip":
        with zipfile.ZipFile(folder / "all.zip", "w") as archive:
            for name, raw in case.files.items():
                archive.writestr(name, raw)
        return [f"zip://{name}::{folder / 'all.zip'}" for name in case.data]
    memory = fsspec.filesystem("memory")
    if memory.exists("/differential"):
        memory.rm("/differential", recursive=True)
    for name, raw in case.files.items():
        memory.pipe_file(f"/differential/{case.number}/{name}", raw)
    prefix = "simplecache::" if case.place == "cache" else ""
    return [f"{prefix}memory://differential/{case.number}/{name}" for name in case.data]


def reference_array(case):
    """Read the files with the reference reader; return None if they must be refused."""
    unpack = {"gzip": gzip.decompress, "bzip2": bz2.decompress}.get(case.compression, bytes)
    options = {
        name: case.options.get(name)
        for name in ("mode0", "navigation_shape", "allow_truncated")
        if name in case.options
    }
    try:
        return plain_mrc.read(
            [unpack(case.files[name]) for name in case.data],
            scan=case.scan,
            points=case.points,
            decompress=blosc.decompress if case.codec else None,
            known_size=case.compression is None,
            **options,
        )
    except plain_mrc.RefusedError:
        return None


def array_and_axes(case, urls, rng):
    """Read the files with mrcdist, whole and in parts; return array and axes, None on error."""
    url = urls if case.as_list else urls[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MrcdistWarning)
        try:
            plan = mrcdist.plan_mrc(url, **case.options)
            [ds] = mrcdist.read_mrc(url, chunks=random_chunks(rng, plan.shape), **case.options)
            whole = ds["data"].compute(scheduler="synchronous")
            eager = np.asarray(mrcdist.read_mrc(url, lazy=False, **case.options)[0]["data"])
        except MrcdistError:
            return None
    assert whole.dtype == ds["data"].dtype == eager.dtype
    assert whole.dtype.isnative
    np.testing.assert_array_equal(whole, eager)
    for _ in range(3):
        index = random_index(rng, plan.shape)
        np.testing.assert_array_equal(plan.source[index], whole[index], err_msg=str(index))
    part = ds["data"][index].compute(scheduler="synchronous")
    np.testing.assert_array_equal(part, whole[index], err_msg=str(index))
    assert [axis["size"] for axis in ds["axes"]] == list(whole.shape)
    json.dumps([ds["metadata"], ds["original_metadata"]], allow_nan=False)
    return whole, ds["axes"]


def run_case(number, folder, server):
    """Run a case and return its outcome; raise if the readers differ."""
    case = make_case(number)
    rng = random.Random(-number)
    expected = reference_array(case)
    urls = urls_of(case, folder, server)
    try:
        if case.truth is not None:
            assert expected is not None, "the reference reader refuses a valid file"
            np.testing.assert_array_equal(
                expected, case.truth, err_msg="the reference reader is wrong"
            )
        with dask.config.set(case.settings):
            result = array_and_axes(case, urls, rng)
        if expected is None:
            assert result is None, "an array instead of an error"
            return "error"
        assert result is not None, "an error instead of an array"
        array, axes = result
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
        uncompressed_raster = case.compression is None and not case.codec and case.scan is None
        if uncompressed_raster and len(case.data) == 1:
            check_axes(case, axes, array)
    except Exception as error:
        error.add_note(f"case {number}: {'; '.join(case.words)}; {case.options}; {case.place}")
        raise
    return "array of parts" if len(case.data) > 1 else "array"


def check_axes(case, axes, array):
    """Compare the calibration of rows and columns with the reference reader's."""
    expected = plain_mrc.calibration(case.files[case.data[0]])
    signal = [axis for axis in axes if not axis["navigate"]][:2]
    for (name, scale, offset, units), axis in zip(expected, signal, strict=True):
        assert (axis["name"], axis["units"]) == (name, units)
        assert axis["scale"] == pytest.approx(scale)
        assert axis["offset"] == pytest.approx(offset)


def run_cases(numbers):
    """Count the outcomes of cases, printing each that fails."""
    outcomes = collections.Counter()
    with tempfile.TemporaryDirectory() as folder, web_server(Path(folder)) as server:
        for number in numbers:
            try:
                outcomes[run_case(number, Path(folder), server)] += 1
            except Exception:  # noqa: BLE001 all failures are wanted
                print(f"case {number}\n{traceback.format_exc()}", flush=True)
                outcomes["differs"] += 1
    return outcomes


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_mrcdist_agrees_with_the_reference_reader_on_100_random_datasets():
    outcomes = run_cases(range(100))
    assert outcomes["differs"] == 0, outcomes
    assert min(outcomes[kind] for kind in ("array", "array of parts", "error")) > 5, outcomes


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("first", range(0, 20_000, PIECE))
def test_mrcdist_agrees_with_the_reference_reader_on_20_000_random_datasets(request, first):
    if "slow" not in request.config.getoption("markexpr"):
        pytest.skip("takes minutes; run with -m slow")
    outcomes = run_cases(range(first, first + PIECE))
    assert outcomes["differs"] == 0, outcomes


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        print(dict(run_cases(range(int(sys.argv[1]), int(sys.argv[2])))))
