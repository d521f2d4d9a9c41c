"""`mrcdist convert` from one MRC file to another, on a cluster of processes."""

from __future__ import annotations

import bz2
import gzip
import json
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import mrcz
import numpy as np
import pytest
from click.testing import CliRunner
from distributed import Client, get_task_stream

import mrcdist
from mrcdist.cli import main
from mrcdist.convert_api import ConvertArguments, plan_conversion
from mrcdist.errors import ArgumentError
from mrcdist.testing.acquisition import write_acquisition
from tests.support.http_log import CountingProxy
from tests.support.jobs import mrcdist_fails, mrcdist_json
from tests.support.mrc_files import counting, mrc_bytes
from tests.support.s3 import Bucket


@pytest.fixture
def scheduler(cluster: Client) -> str:
    address: str = cluster.scheduler.address
    return address


def numbers_in(path: Any, **options: Any) -> np.ndarray[Any, Any]:
    [data] = mrcdist.read_mrc(path, distributed=False, **options)
    numbers: np.ndarray[Any, Any] = np.asarray(data["data"])
    return numbers


def test_gzip_is_converted_to_a_plain_file(tmp_path: Path, scheduler: str) -> None:
    numbers = counting((4, 20, 30), "int16")
    source = tmp_path / "a.mrc.gz"
    source.write_bytes(gzip.compress(mrc_bytes(numbers, byteorder=">"), mtime=0))
    target = tmp_path / "b.mrc"
    report = mrcdist_json("convert", source, target, "--scheduler", scheduler)
    assert report["shape"] == [4, 20, 30]
    np.testing.assert_array_equal(numbers_in(target), numbers)
    assert target.read_bytes()[212:214] == b"\x44\x44"


def test_bzip2_is_converted_to_a_plain_file(tmp_path: Path, scheduler: str) -> None:
    numbers = counting((4, 20, 30), "int16")
    source, target = tmp_path / "a.mrc.bz2", tmp_path / "b.mrc"
    source.write_bytes(bz2.compress(mrc_bytes(numbers)))
    mrcdist_json("convert", source, target, "--scheduler", scheduler)
    assert target.read_bytes()[1024:] == numbers.astype("<i2").tobytes()


def test_mrcz_is_converted_to_a_plain_file(tmp_path: Path, scheduler: str) -> None:
    numbers = counting((4, 20, 30), "int16")
    source, target = tmp_path / "a.mrcz", tmp_path / "b.mrc"
    mrcz.writeMRC(numbers, str(source), compressor="zstd")
    report = mrcdist_json("convert", source, target, "--scheduler", scheduler)
    assert report["mode"] == 1
    assert target.read_bytes()[1024:] == numbers.astype("<i2").tobytes()


@pytest.mark.parametrize(("order", "code"), [("little", "<"), ("big", ">")])
def test_file_is_converted_to_the_requested_byte_order(
    tmp_path: Path, scheduler: str, order: str, code: str
) -> None:
    numbers = counting((4, 20, 30), "int16")
    source, target = tmp_path / "a.mrc", tmp_path / "b.mrc"
    source.write_bytes(mrc_bytes(numbers))
    mrcdist_json("convert", source, target, "--byte-order", order, "--scheduler", scheduler)
    raw = target.read_bytes()
    assert struct.unpack(f"{code}3i", raw[:12]) == (30, 20, 4)
    assert raw[1024:] == numbers.astype(f"{code}i2").tobytes()


@pytest.mark.parametrize("compressor", ["zstd", "zlib"])
def test_compressed_file_is_read_by_the_mrcz_package(
    tmp_path: Path, scheduler: str, compressor: str
) -> None:
    numbers = counting((4, 20, 30), "int16")
    source, target = tmp_path / "a.mrc", tmp_path / "b.mrcz"
    source.write_bytes(mrc_bytes(numbers))
    mrcdist_json("convert", source, target, "--compressor", compressor, "--scheduler", scheduler)
    numbers_read, meta = mrcz.readMRC(str(target))
    np.testing.assert_array_equal(numbers_read, numbers)
    assert meta["compressor"] == compressor


@pytest.mark.parametrize("sections", [2, 4])
def test_each_task_writes_one_of_the_requested_chunks(
    tmp_path: Path, cluster: Client, scheduler: str, sections: int
) -> None:
    numbers = counting((8, 512, 512), "int16")
    source, target = tmp_path / "a.mrc", tmp_path / "b.mrc"
    source.write_bytes(mrc_bytes(numbers))
    chunks = ("--chunks", f"{sections},-1,-1")
    # Tasks run on the cluster even if the user has configured another scheduler.
    with dask.config.set(scheduler="synchronous"), get_task_stream(cluster) as tasks:
        mrcdist_json("convert", source, target, *chunks, "--scheduler", scheduler)
    written = [task["key"] for task in tasks.data]
    blocks = {key for key in written if re.fullmatch(r"write-mrc-[0-9a-f]+-\d+", str(key))}
    assert len(blocks) == 8 // sections
    assert target.read_bytes()[1024:] == numbers.tobytes()


@pytest.fixture(scope="module")
def small_cluster() -> Iterator[Client]:
    """A cluster with a small memory limit, which applies to plans but is not enforced."""
    off = {f"distributed.worker.memory.{what}": False for what in ("pause", "spill", "target")}
    small = {"n_workers": 1, "threads_per_worker": 4, "memory_limit": "400 MiB"}
    with (
        dask.config.set({**off, "distributed.worker.memory.terminate": False}),
        Client(
            processes=False, protocol="tcp", dashboard_address=None, set_as_default=False, **small
        ) as client,
    ):
        yield client


def test_default_blocks_of_convert_fit_into_the_memory_of_the_workers(
    tmp_path: Path, small_cluster: Client
) -> None:
    source, target = tmp_path / "a.mrc", tmp_path / "b.mrc"
    numbers = counting((8, 1024, 1024), "int16")
    source.write_bytes(mrc_bytes(numbers))
    with get_task_stream(small_cluster) as tasks:
        mrcdist_json("convert", source, target, "--scheduler", small_cluster.scheduler.address)
    blocks = {k for task in tasks.data if re.fullmatch(r"write-mrc-\w+-\d+", k := str(task["key"]))}
    # (400 - 150) MiB × 0.6 for 4 threads; 2 of 18 bytes are for the numbers: two frames.
    assert len(blocks) == 4
    assert target.read_bytes()[1024:] == numbers.tobytes()


class TestBlocksOfAnotherCluster:
    """The first run chose its blocks for workers with less memory."""

    @pytest.fixture
    def interrupted(
        self, tmp_path: Path, small_cluster: Client
    ) -> Callable[[str], tuple[Path, Path]]:
        """Convert all but the last of four blocks, which contains a value that does not fit."""
        numbers = np.ones((8, 1024, 1024), "int16")
        numbers[-1, -1, -1] = 1000
        source = tmp_path / "a.mrc"
        source.write_bytes(mrc_bytes(numbers))

        def begin(name: str) -> tuple[Path, Path]:
            target = tmp_path / name
            where = ("--scheduler", small_cluster.scheduler.address)
            stderr = mrcdist_fails("convert", source, target, *self.OPTIONS, *where)
            assert "value 1000 does not fit" in stderr
            return source, target

        return begin

    OPTIONS = ("--dtype", "uint8", "--resume")

    @pytest.mark.parametrize("name", ["b.mrc", "b.zspy"])
    def test_conversion_is_resumed_on_another_cluster_with_the_blocks_of_the_first(
        self, interrupted: Callable[[str], tuple[Path, Path]], cluster: Client, name: str
    ) -> None:
        source, target = interrupted(name)
        folder = target.with_name(f".{name}.mrcdist-write")
        before = {path.name for path in folder.iterdir()}
        where = ("--scheduler", cluster.scheduler.address)
        stderr = mrcdist_fails("convert", source, target, *self.OPTIONS, *where)
        assert "value 1000 does not fit" in stderr
        with pytest.raises(ArgumentError) as error:
            mrcdist.convert(source, target, dtype="uint8", resume=True)
        assert error.value.code == "value-does-not-fit"
        # Their names contain the mark of the first run, whose last tasks may still add some.
        assert before <= {path.name for path in folder.iterdir()}

    @pytest.mark.parametrize("name", ["b.mrc", "b.zspy"])
    def test_resuming_with_other_chunks_is_an_error_with_both(
        self, interrupted: Callable[[str], tuple[Path, Path]], name: str
    ) -> None:
        source, target = interrupted(name)
        with pytest.raises(ArgumentError) as error:
            mrcdist.convert(source, target, dtype="uint8", resume=True, chunks=-1)
        assert error.value.code == "destination-differs"
        assert "up to 2 × 1024 × 1024 then, 8 × 1024 × 1024 now" in error.value.cause

    def test_conversion_to_s3_is_resumed_on_another_cluster_with_the_blocks_of_the_first(
        self, tmp_path: Path, small_cluster: Client, s3_bucket: Bucket
    ) -> None:
        source, target = tmp_path / "a.mrc", s3_bucket.url("interrupted.mrc")
        source.write_bytes(mrc_bytes(counting((16, 1024, 1024), "int16")))
        options = s3_bucket.storage_options()
        begin = {"dtype": "uint8", "resume": True, "storage_options": options}
        with small_cluster.as_current(), pytest.raises(ArgumentError) as error:
            mrcdist.convert(source, target, **begin)
        assert error.value.code == "value-does-not-fit"
        with pytest.raises(ArgumentError) as error:
            mrcdist.convert(source, target, **begin)
        assert error.value.code == "value-does-not-fit"

    def test_conversion_is_not_resumed_with_another_input(
        self, interrupted: Callable[[str], tuple[Path, Path]], tmp_path: Path
    ) -> None:
        _, target = interrupted("b.mrc")
        other = tmp_path / "other.mrc"
        other.write_bytes(mrc_bytes(counting((3, 20, 30), "int16")))
        with pytest.raises(ArgumentError) as error:
            mrcdist.convert(other, target, dtype="uint8", resume=True)
        assert error.value.code == "destination-differs"


def test_convert_prints_progress_to_stderr_and_the_summary_to_stdout(
    tmp_path: Path, scheduler: str
) -> None:
    source, target = tmp_path / "a.mrc", tmp_path / "b.mrc"
    source.write_bytes(mrc_bytes(counting((4, 20, 30), "int16")))
    words = ["convert", str(source), str(target), "--scheduler", scheduler]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stderr.splitlines()[-1] == "writing blocks: 100 %"
    url, array, written, values = done.stdout.splitlines()
    assert url == str(target)
    assert array.strip() == "array    4 × 20 × 30, mode 1"
    assert re.fullmatch(r" +written +5\.69 kiB in [\d.]+ s, .+/s", written)
    low, high = counting((4, 20, 30), "int16").min(), counting((4, 20, 30), "int16").max()
    assert values.split()[:4] == ["values", str(low), "to", f"{high},"]


def test_parts_of_a_scan_are_cropped_and_joined_to_one_file(tmp_path: Path, scheduler: str) -> None:
    acquisition = write_acquisition(
        tmp_path / "in", scan_shape=(4, 8), frame_shape=(16, 20), parts=3
    )
    [data] = mrcdist.read_mrc(acquisition.movie, distributed=False)
    target = tmp_path / "crop_movie.mrc"
    select = "1:3,:,4:12,-10:"
    words = ("convert", acquisition.movie, target, "--select", select, "--scheduler", scheduler)
    mrcdist_json(*words)
    [written] = mrcdist.read_mrc(target, distributed=False)
    np.testing.assert_array_equal(written["data"], data["data"][1:3, :, 4:12, -10:])
    assert [axis["scale"] for axis in written["axes"]] == [axis["scale"] for axis in data["axes"]]
    assert "exists" in mrcdist_fails(*words)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_records_of_the_extended_header_are_selected_with_their_sections(
    tmp_path: Path, scheduler: str, byteorder: str
) -> None:
    numbers = counting((6, 8, 10), "int16")
    records = [struct.pack(f"{byteorder}i2f", number, number * 2.0, -1.0) for number in range(6)]
    source, target = tmp_path / "a.mrc", tmp_path / "b.mrc"
    source.write_bytes(
        mrc_bytes(
            numbers,
            byteorder=byteorder,
            extended=b"".join(records),
            exttyp=b"AGAR",
            nint=1,
            nreal=2,
        )
    )
    mrcdist_json("convert", source, target, "--select", "2:5", "--scheduler", scheduler)
    raw = target.read_bytes()
    assert struct.unpack(f"{byteorder}i", raw[92:96]) == (36,)
    assert struct.unpack(f"{byteorder}2h", raw[128:132]) == (1, 2)
    assert raw[1024:1060] == b"".join(records[2:5])
    stored = numbers[2:5].astype(numbers.dtype.newbyteorder(byteorder))
    assert raw[1060:] == stored.tobytes()


def test_file_in_s3_is_converted_to_another_object(
    tmp_path: Path, s3_bucket: Bucket, scheduler: str
) -> None:
    numbers = counting((4, 20, 30), "uint16")
    source = tmp_path / "a.mrc"
    source.write_bytes(mrc_bytes(numbers))
    options = [
        word
        for key, value in s3_bucket.storage_options().items()
        for word in ("--storage-option", f"{key}={json.dumps(value)}")
    ]
    source_url = s3_bucket.put("in.mrc", source.read_bytes())
    url = s3_bucket.url("out.mrc")
    mrcdist_json(
        "convert", source_url, url, *options, "--dtype", "float32", "--scheduler", scheduler
    )
    found = numbers_in(url, storage_options=s3_bucket.storage_options())
    np.testing.assert_array_equal(found, numbers)
    assert found.dtype == np.float32


def test_planning_a_conversion_to_s3_takes_a_head_request_per_output(
    tmp_path: Path, s3_proxy: CountingProxy
) -> None:
    source = tmp_path / "a.mrc"
    source.write_bytes(mrc_bytes(counting((4, 20, 30), "uint16")))
    with s3_proxy.server.bucket() as bucket:
        url, options = bucket.url("out.mrc"), bucket.storage_options()
        plan = mrcdist.plan_mrc(source)
        s3_proxy.clear()
        plan_conversion(plan, ConvertArguments(plan, url, storage_options=options))
        requests = [(each.method, each.path.rpartition("/")[2]) for each in s3_proxy.requests]
    assert requests == [("HEAD", "out.mrc"), ("HEAD", "out.rawtlt")]


@pytest.mark.parametrize("select", ["a", "1", "0:2,0:1,0:1,0:1", "3:2", "9:"])
def test_error_for_an_invalid_selection_names_the_option(
    tmp_path: Path, scheduler: str, select: str
) -> None:
    source = tmp_path / "a.mrc"
    source.write_bytes(mrc_bytes(counting((4, 20, 30), "int16")))
    stderr = mrcdist_fails(
        "convert", source, tmp_path / "b.mrc", "--select", select, "--scheduler", scheduler
    )
    assert "--select" in stderr
    assert [each.name for each in tmp_path.iterdir()] == ["a.mrc"]


def test_tilt_angles_that_are_not_monotonic_are_cropped_with_the_sections(
    tmp_path: Path, scheduler: str
) -> None:
    (tmp_path / "a.mrc").write_bytes(mrc_bytes(counting((5, 4, 6), "int16")))
    (tmp_path / "a.rawtlt").write_text("0\n3\n-3\n6\n-6\n")
    options = ("--select", "1:", "--scheduler", scheduler)
    report = mrcdist_json("convert", tmp_path / "a.mrc", tmp_path / "b.mrc", *options)
    assert (tmp_path / "b.rawtlt").read_text().split() == ["3", "-3", "6", "-6"]
    assert report["notes"] == []
