"""MRC files as Zarr stores: numbers compared with numpy, keys, and requests."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pickle
import threading
from dataclasses import replace

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcdist
from mrcdist import FileChangedError, plan_mrc, read_mrc, zarr_store
from mrcdist.interop.labelled_array import LabelledArray
from mrcdist.testing.acquisition import write_acquisition
from tests.support.examples import examples
from tests.support.mrc_files import counting, header_bytes, mrc_bytes, write_mrc
from tests.support.random_mrc import random_chunks
from tests.zarr3.conftest import FRAME_BYTES, FRAMES
from tests.zarr3.random_selection import forwards, outer, positions, sound_case, take_outer

zarr = pytest.importorskip("zarr", minversion="3", reason="stores need zarr 3")

from mrcdist.interop.zarr_store import MrcStore  # noqa: E402 needs zarr 3

pytestmark = pytest.mark.filterwarnings("ignore::mrcdist.MrcdistWarning")


def planned_case(number, folder):
    """Return the plan of a random dataset with random chunks, its array, and the generator."""
    url, options, truth, rng = sound_case(number, folder)
    return plan_mrc(url, chunks=random_chunks(rng, truth.shape), **options), truth, rng


def keys_of(store, prefix=""):
    async def collect():
        return [key async for key in store.list_prefix(prefix)]

    return asyncio.run(collect())


def names_in(store, folder):
    async def collect():
        return [name async for name in store.list_dir(folder)]

    return asyncio.run(collect())


def get(store, key, byte_range=None):
    prototype = zarr.core.buffer.default_buffer_prototype()
    buffer = asyncio.run(store.get(key, prototype, byte_range))
    return None if buffer is None else buffer.to_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cases")


@pytest.fixture
def movie(acquisition):
    return acquisition.movie


class TestAnyDataset:
    """Any mode, byte order, scan, parts, compression and chunks, compared with the source."""

    @given(number=st.integers(0, 2**32))
    @examples(200)
    def test_any_selection_with_zarr_equals_numpy(self, folder, number):
        plan, truth, rng = planned_case(number, folder)
        array = zarr.open_array(zarr_store(plan))
        assert (array.shape, array.dtype) == (truth.shape, truth.dtype)
        np.testing.assert_array_equal(array[...], truth)
        basic = forwards(rng, truth.shape)
        np.testing.assert_array_equal(array[basic], truth[basic], err_msg=str(basic))
        index = outer(rng, truth.shape)
        np.testing.assert_array_equal(
            array.get_orthogonal_selection(index), take_outer(truth, index), err_msg=str(index)
        )
        points = tuple(rng.choices(range(size), k=4) for size in truth.shape)
        np.testing.assert_array_equal(array.vindex[points], truth[points], err_msg=str(points))
        mask = np.random.default_rng(number).random(truth.shape) < 0.2
        np.testing.assert_array_equal(array.get_mask_selection(mask), truth[mask])

    @given(number=st.integers(0, 2**32))
    @examples(100)
    def test_copied_keys_are_a_valid_zarr_array(self, folder, number):
        plan, truth, _ = planned_case(number, folder)
        store = zarr_store(plan)
        copy = zarr.storage.MemoryStore()
        for key in keys_of(store):
            raw = get(store, key)
            assert len(raw) == asyncio.run(store.getsize(key))
            asyncio.run(copy.set(key, zarr.core.buffer.cpu.Buffer.from_bytes(raw)))
        document = json.loads(get(store, "zarr.json"))
        [codec] = document["codecs"]
        document["codecs"] = [{**codec, "name": "bytes"}]
        plain = zarr.core.buffer.cpu.Buffer.from_bytes(json.dumps(document).encode())
        asyncio.run(copy.set("zarr.json", plain))
        np.testing.assert_array_equal(zarr.open_array(copy, mode="r")[...], truth)

    @given(number=st.integers(0, 2**32))
    @examples(100)
    def test_byte_range_of_a_chunk_equals_a_slice_of_its_bytes(self, folder, number):
        plan, _, rng = planned_case(number, folder)
        store = zarr_store(plan)
        key = rng.choice(keys_of(store))
        whole = get(store, key)
        start, stop = sorted(rng.randint(0, len(whole)) for _ in range(2))
        abc = zarr.abc.store
        assert get(store, key, abc.RangeByteRequest(start, stop)) == whole[start:stop]
        assert get(store, key, abc.RangeByteRequest(start, stop + 2**40)) == whole[start:]
        assert get(store, key, abc.OffsetByteRequest(start)) == whole[start:]
        assert get(store, key, abc.SuffixByteRequest(stop)) == whole[len(whole) - stop :]

    @given(number=st.integers(0, 2**32))
    @examples(50)
    def test_increasing_positions_with_zarr_equal_numpy(self, folder, number):
        plan, truth, rng = planned_case(number, folder)
        index = tuple(positions(rng, size, repeated=False) for size in truth.shape)
        found = zarr.open_array(zarr_store(plan)).oindex[index]
        np.testing.assert_array_equal(found, truth[np.ix_(*index)])


class TestChunks:
    def test_last_chunk_is_padded_with_the_fill_value(self, tmp_path):
        path = write_mrc(tmp_path / "a.mrc", counting((5, 4, 7), "int16") + 1)
        store = zarr_store(path, chunks=(2, 3, 4))
        expected = np.zeros((2, 3, 4), "<i2")
        expected[:1, :1, :3] = counting((5, 4, 7), "int16")[4:, 3:, 4:] + 1
        assert get(store, "c/2/1/1") == expected.tobytes()

    def test_chunks_of_the_zarr_array_are_those_of_the_plan(self, movie):
        plan = plan_mrc(movie, chunks=(2, 3, -1, -1))
        assert zarr.open_array(zarr_store(plan)).chunks == (2, 3, 6, 10)

    @pytest.mark.parametrize(
        "key",
        ["c/0/0/0", "c/2/0/0/0", "c/00/0/0/0", "c/-1/0/0/0", "c/²/0/0/0", "d/0/0/0/0", "c", ""],
    )
    def test_keys_that_are_not_of_the_array_do_not_exist(self, movie, key):
        store = zarr_store(movie, chunks=(2, -1, -1, -1))
        assert get(store, "c/1/0/0/0") is not None
        assert get(store, key) is None
        assert not asyncio.run(store.exists(key))
        with pytest.raises(FileNotFoundError):
            asyncio.run(store.getsize(key))

    def test_list_dir_yields_the_names_in_a_folder(self, movie):
        store = zarr_store(movie, chunks=(2, 2, -1, -1))
        assert names_in(store, "") == ["zarr.json", "c"]
        assert names_in(store, "c") == ["0", "1"]
        assert names_in(store, "c/1") == ["0", "1", "2", "3"]
        assert names_in(store, "c/1/3/0/") == ["0"]
        for missing in ("c/2", "c/01", "c/1/3/0/0", "d", "cc", "c/x"):
            assert names_in(store, missing) == []

    @pytest.mark.timeout(30)
    def test_folder_is_listed_without_walking_the_other_chunks(self, tmp_path):
        path = tmp_path / "sparse.mrc"
        path.write_bytes(header_bytes(nx=4096, ny=4096, nz=64, mode=0))
        os.truncate(path, 1024 + 64 * 2**24)
        array = LabelledArray.of(plan_mrc(path))
        store = MrcStore({"movie": replace(array, chunk_shape=(1, 1, 1))})  # 2**30 chunks
        assert names_in(store, "") == ["zarr.json", "movie"]
        assert names_in(store, "movie") == ["zarr.json", "c"]
        assert len(names_in(store, "movie/c/63")) == 4096
        assert keys_of(store, "movie/c/63/4095/1") == [
            f"movie/c/63/4095/{n}" for n in range(4096) if str(n).startswith("1")
        ]

    def test_list_prefix_yields_the_keys_that_begin_with_it(self, movie):
        store = zarr_store(movie, chunks=(2, 2, -1, -1))
        keys = keys_of(store)
        assert len(keys) == len(set(keys)) == 9
        for prefix in ("c", "c/1", "c/1/", "c/1/2", "zarr", "c/0/0/0/0", "x"):
            assert keys_of(store, prefix) == [key for key in keys if key.startswith(prefix)]


class TestRequests:
    def test_one_frame_with_zarr_takes_one_request_with_any_chunks(self, stack):
        for chunks in ("auto", (10, -1, -1), (1, -1, -1)):
            store = zarr_store(stack.url, chunks=chunks, storage_options=stack.options)
            array = zarr.open_array(store)
            stack.proxy.clear()
            np.testing.assert_array_equal(array[17], FRAMES[17])
            assert stack.ranges == [FRAME_BYTES]

    def test_opening_a_zarr_array_makes_no_requests(self, stack):
        store = zarr_store(stack.url, storage_options=stack.options)
        stack.proxy.clear()
        zarr.open_array(store)
        assert stack.ranges == []

    def test_two_distant_frames_with_zarr_take_two_requests(self, stack):
        array = zarr.open_array(zarr_store(stack.url, storage_options=stack.options))
        stack.proxy.clear()
        with dask.config.set({"mrcdist.max-gap": "1 MiB"}):  # not as measured
            np.testing.assert_array_equal(array.oindex[[3, 90]], FRAMES[[3, 90]])
        assert stack.ranges == [FRAME_BYTES, FRAME_BYTES]

    def test_byte_range_reads_only_a_part_of_a_chunk(self, stack):
        store = zarr_store(stack.url, storage_options=stack.options)
        stack.proxy.clear()
        row = zarr.abc.store.RangeByteRequest(5 * FRAME_BYTES + 256, 5 * FRAME_BYTES + 512)
        assert get(store, "c/0/0/0", row) == FRAMES[5, 1].tobytes()
        assert stack.ranges == [256]

    def test_number_of_concurrent_reads_follows_the_setting_of_zarr(self, movie, monkeypatch):
        together = threading.Barrier(10)

        class OpenedTogether(io.FileIO):
            def __init__(self, path, mode):
                together.wait(timeout=10)
                super().__init__(path, mode)

        array = zarr.open_array(zarr_store(movie, chunks=(1, 1, -1, -1)))
        expected = array[...]
        monkeypatch.setattr(io, "FileIO", OpenedTogether)
        with zarr.config.set({"async.concurrency": 10}):
            np.testing.assert_array_equal(array[:2, :5], expected[:2, :5])
        assert together.broken is False

    def test_neighbouring_chunks_share_one_request(self, stack):
        with dask.config.set({"mrcdist.max-gap": "1 MiB"}):
            plan = plan_mrc(stack.url, chunks=(1, -1, -1), storage_options=stack.options)
            array = zarr.open_array(zarr_store(plan))
            array[50]
            stack.proxy.clear()
            with zarr.config.set({"async.concurrency": 10}):
                np.testing.assert_array_equal(array[:40], FRAMES[:40])
        assert sum(stack.ranges) == 40 * FRAME_BYTES
        assert len(stack.ranges) < 40

    def test_reading_a_whole_zarr_array_fetches_each_byte_once(self, stack):
        array = zarr.open_array(
            zarr_store(stack.url, chunks=(40, -1, -1), storage_options=stack.options)
        )
        stack.proxy.clear()
        np.testing.assert_array_equal(array[...], FRAMES)
        assert sum(stack.ranges) == FRAMES.nbytes


class TestChangedFile:
    def test_reading_a_changed_file_with_zarr_is_an_error(self, tmp_path):
        path = write_mrc(tmp_path / "a.mrc", counting((5, 4, 7), "int16"))
        array = zarr.open_array(zarr_store(path))
        write_mrc(path, counting((5, 4, 7), "int16") + 1)
        os.utime(path, ns=(1, 1))
        with pytest.raises(FileChangedError):
            array[...]
        with pytest.raises(FileChangedError):
            array[3, 1]
        with pytest.raises(FileChangedError):
            get(array.store, "c/0/0/0")

    def test_reading_a_changed_object_with_zarr_is_an_error(self, moto):
        numbers = counting((5, 4, 7), "int16")
        with moto.bucket() as bucket:
            url = bucket.put("a.mrc", mrc_bytes(numbers))
            array = zarr.open_array(zarr_store(url, storage_options=moto.storage_options()))
            np.testing.assert_array_equal(array[1], numbers[1])
            bucket.put("a.mrc", mrc_bytes(numbers + 1))
            with pytest.raises(FileChangedError):
                array[...]
            with pytest.raises(FileChangedError):
                get(array.store, "c/0/0/0")


class TestAnyProcess:
    def test_pickled_zarr_store_is_smaller_than_2_kib(self, acquisition, moto):
        with moto.bucket() as bucket:
            folder = "a-long-name-of-a-session/of-2026-01-01/at-the-microscope"
            for path in (acquisition.movie, acquisition.sidecar):
                url = bucket.put(f"{folder}/{path.name}", path.read_bytes())
            url = bucket.url(f"{folder}/{acquisition.movie.name}")
            store = zarr_store(url, storage_options=moto.storage_options())
            pickled = pickle.dumps(store)
        assert len(pickled) < 2048

    def test_unpickled_zarr_store_is_equal_and_can_be_read(self, movie):
        store = zarr_store(movie)
        copy = pickle.loads(pickle.dumps(store))
        assert copy == store != zarr_store(movie, chunks=(1, 1, -1, -1))
        np.testing.assert_array_equal(zarr.open_array(copy)[1], zarr.open_array(store)[1])
        assert len(pickle.dumps(copy)) < 2048  # without open files

    def test_dask_reads_a_zarr_array_in_its_chunks(self, movie):
        array = zarr.open_array(zarr_store(movie, chunks=(3, 3, -1, -1)))
        lazy = da.from_zarr(array)
        assert lazy.chunksize == (3, 3, 6, 10)
        expected = read_mrc(movie, lazy=False)[0]["data"]
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy)).compute(), expected)


class TestSize:
    def test_a_million_chunks_are_opened_without_listing_them(self, tmp_path, monkeypatch):
        path = tmp_path / "sparse.mrc"
        path.write_bytes(header_bytes(nx=2, ny=2, nz=10**6, mode=6))
        os.truncate(path, 1024 + 8 * 10**6)
        store = zarr_store(path, chunks=(1, -1, -1))
        for name in ("list", "list_prefix", "list_dir"):
            monkeypatch.setattr(type(store), name, None)
        before = mrcdist.stats.snapshot()
        array = zarr.open_array(store)
        assert array.nchunks == 10**6
        assert mrcdist.stats.snapshot() == before
        np.testing.assert_array_equal(array[999_999], np.zeros((2, 2)))

    def test_size_of_zarr_metadata_does_not_depend_on_the_size_of_the_file(self, tmp_path):
        lengths = []
        for nz in (10, 2**19):
            path = tmp_path / f"{nz}.mrc"
            path.write_bytes(header_bytes(nx=2048, ny=2048, nz=nz, mode=6))
            os.truncate(path, 1024 + 2**23 * nz)
            lengths.append(len(get(zarr_store(path, chunks=(1, -1, -1)), "zarr.json")))
        assert max(lengths) - min(lengths) < 50
        assert max(lengths) < 2048


class TestMetadata:
    def test_zarr_attributes_contain_the_axes_of_read_mrc(self, movie):
        array = zarr.open_array(zarr_store(movie))
        [ds] = read_mrc(movie)
        assert array.attrs["axes"] == ds["axes"]
        assert array.metadata.dimension_names == ("y", "x", "ky", "kx")
        assert "ome" not in array.attrs

    def test_volume_has_ome_ngff_metadata(self, tmp_path):
        path = tmp_path / "volume.mrc"
        volume = counting((4, 5, 6), "float32")
        path.write_bytes(mrc_bytes(volume, cell=(60.0, 100.0, 120.0), ispg=1))
        expected = {
            "version": "0.5",
            "multiscales": [
                {
                    "axes": [
                        {"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"
                    ],
                    "datasets": [
                        {
                            "path": "movie",
                            "coordinateTransformations": [
                                {"type": "scale", "scale": [3.0, 2.0, 1.0]},
                                {"type": "translation", "translation": [0.0, 0.0, 0.0]},
                            ],
                        }
                    ],
                }
            ],
        }
        group = zarr.open_group(zarr_store(path, group=True), mode="r")
        assert group.attrs["ome"] == expected
        expected["multiscales"][0]["datasets"][0]["path"] = "."
        assert zarr.open_array(zarr_store(path)).attrs["ome"] == expected

    def test_tilt_axis_with_angles_that_are_not_monotonic_is_kept(self, tmp_path):
        path = write_mrc(tmp_path / "tilts.mrc", counting((3, 4, 5), "int16"))
        (tmp_path / "tilts.rawtlt").write_text("0\n3\n-3\n")
        store = zarr_store(path)
        assert zarr.open_array(store).metadata.dimension_names == ("tilt", "y", "x")

    def test_copy_of_a_zarr_array_has_the_standard_codec(self, movie):
        array = zarr.open_array(zarr_store(movie))
        copy = zarr.from_array(zarr.storage.MemoryStore(), data=array)
        [codec, *_] = copy.metadata.to_dict()["codecs"]
        assert codec["name"] == "bytes"
        np.testing.assert_array_equal(copy[1, 2], array[1, 2])


class TestGroup:
    def test_zarr_group_contains_the_movie_and_its_images(self, acquisition):
        group = zarr.open_group(zarr_store(acquisition.movie, group=True), mode="r")
        assert sorted(group.array_keys()) == ["BF", "Survey", "movie"]
        [ds] = read_mrc(acquisition.movie, lazy=False)
        np.testing.assert_array_equal(group["movie"][...], ds["data"])
        assert group["movie"].attrs["axes"] == ds["axes"]
        for name, image in ds["metadata"]["_HyperSpy"]["navigators"].items():
            array = group[name.removeprefix("_sig_")]
            np.testing.assert_array_equal(array[...], image["data"])
            np.testing.assert_array_equal(array[1, 2:], image["data"][1, 2:])
            assert array.attrs["axes"] == image["axes"]

    def test_image_called_movie_does_not_hide_the_movie(self, tmp_path):
        images = {"movie": np.ones((4, 8), "float32")}
        acquisition = write_acquisition(tmp_path, virtual_images=images)
        group = zarr.open_group(zarr_store(acquisition.movie, group=True), mode="r")
        assert sorted(group.array_keys()) == ["movie", "movie (image)"]
        assert group["movie"].ndim == 4

    def test_damaged_image_is_left_out_of_the_zarr_group_with_a_warning(self, tmp_path):
        images = {"BF": np.ones((4, 8), "float32")}
        acquisition = write_acquisition(tmp_path, virtual_images=images)
        acquisition.companions[0].write_bytes(b"no image")
        with pytest.warns(mrcdist.MrcdistWarning, match="BF.* is left out"):
            store = zarr_store(acquisition.movie, group=True)
        assert list(zarr.open_group(store, mode="r").array_keys()) == ["movie"]


class TestReadOnly:
    def test_writing_to_the_zarr_store_is_refused(self, movie):
        store = zarr_store(movie)
        array = zarr.open_array(store)
        with pytest.raises(ValueError, match="is read-only"):
            array[0, 0] = 1
        with pytest.raises(ValueError, match="is read-only"):
            asyncio.run(store.delete("zarr.json"))
        with pytest.raises(ValueError, match="is read-only"):
            asyncio.run(store.set("zarr.json", None))
        with pytest.raises(ValueError, match="is read-only"):
            store.with_read_only(False)

    def test_repr_of_a_zarr_store_shows_no_secrets(self, stack):
        store = zarr_store(stack.url, storage_options=stack.options)
        assert stack.options["secret"] not in f"{store!r} {store} {zarr.open_array(store)!r}"
