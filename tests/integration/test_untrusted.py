"""Untrusted contents open no other file and take no excess memory; secrets are not logged."""

from __future__ import annotations

import io
import logging
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster

from mrcdist import FileChangedError, MrcdistError, plan_mrc, read_mrc
from mrcdist.storage.location import Location
from mrcdist.testing.acquisition import Acquisition, write_acquisition
from tests.support.http_log import CountingProxy
from tests.support.mrc_files import header_bytes, mrc_bytes
from tests.support.s3 import SECRET_KEY, Bucket, S3Server
from tests.support.serving import file_server, refusing

NUMBERS = np.arange(16 * 8 * 8, dtype=np.uint16).reshape(16, 8, 8)


@pytest.fixture
def bucket(moto: S3Server) -> Iterator[Bucket]:
    with moto.bucket() as bucket:
        yield bucket


class TestNames:
    """File names and URLs in a sidecar or in scan points are never opened."""

    @pytest.fixture
    def acquisition(self, tmp_path: Path) -> Acquisition:
        return write_acquisition(tmp_path / "acquisition", scan_shape=(2, 4))

    def hostile(self, written: Acquisition, name: str) -> None:
        """Replace every text value of the sidecar by a name, and add more keys with that name."""
        text = written.sidecar.read_text()
        lines = [re.sub(r"(?<== )[A-Za-z_/\\.:-]{6,}$", name, line) for line in text.splitlines()]
        assert name in "\n".join(lines)
        more = [f"{key} = {name}" for key in ("Image File", "Scan - XY File", "Movie", "URL")]
        written.sidecar.write_text("\n".join(lines + more))

    @pytest.mark.parametrize(
        "name",
        ["../../secret.mrc", "/etc/passwd", "s3://{bucket}/other.mrc", "simplecache::{canary}/x"],
    )
    def test_objects_named_in_a_sidecar_are_not_requested(
        self, acquisition: Acquisition, bucket: Bucket, name: str
    ) -> None:
        with (
            refusing(500, b"", requests=(requests := [])) as canary,
            CountingProxy(bucket.server) as proxy,
        ):
            self.hostile(acquisition, name.format(bucket=bucket.name, canary=canary))
            for path in acquisition.files:
                bucket.put(f"run/{path.name}", path.read_bytes())
            try:
                [ds] = read_mrc(
                    bucket.url(f"run/{acquisition.movie.name}"),
                    storage_options=proxy.server.storage_options(),
                )
                ds["data"].compute(scheduler="sync")
            except MrcdistError:
                pass  # an invalid sidecar may be refused
        known = {f"/{bucket.name}/run/{path.name}" for path in acquisition.files}
        opened = {urllib.parse.unquote(exchange.path) for exchange in proxy.requests}
        assert f"/{bucket.name}/run/{acquisition.movie.name}" in opened
        assert opened <= known | {f"/{bucket.name}", f"/{bucket.name}/"}
        assert requests == []

    def test_filename_that_contains_a_url_is_not_opened_as_a_url(
        self, acquisition: Acquisition, tmp_path: Path
    ) -> None:
        folder = acquisition.movie.parent
        stem = acquisition.movie.name.removesuffix("_movie.mrc")
        with refusing(500, b"", requests=(requests := [])) as canary:
            port = canary.rpartition(":")[2]
            (folder / f"{stem}_http::127.0.0.1:{port}_info.txt").write_text("")
            (folder / f"simplecache::{stem}_scan_coordinates.csv").write_text("")
            read_mrc(acquisition.movie)
        assert requests == []


class TestMemory:
    def test_header_of_an_impossibly_large_image_takes_no_memory_if_the_file_size_is_unknown(
        self,
    ) -> None:
        header = header_bytes(nx=65536, ny=65536, nz=4, mode=6)
        with file_server(header + bytes(4096), tell_size=False) as url:
            source = plan_mrc(url, metadata_file=None).source
            assert source.parts[0].file.version.size is None
            before = psutil.Process().memory_info().rss
            with pytest.raises(FileChangedError):
                source[0]
            assert psutil.Process().memory_info().rss < before + 2**26


class TestSecrets:
    @pytest.fixture
    def log(self) -> Iterator[io.StringIO]:
        """All log messages of the level DEBUG and above."""
        text = io.StringIO()
        handler = logging.StreamHandler(text)
        root = logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            yield text
        finally:
            root.removeHandler(handler)
            root.setLevel(level)

    def test_logs_do_not_contain_the_secret_key_of_s3(
        self, bucket: Bucket, log: io.StringIO
    ) -> None:
        url = bucket.put("movie.mrc", mrc_bytes(NUMBERS))
        with Client(processes=False, n_workers=1, dashboard_address="127.0.0.1:0") as client:
            plan = plan_mrc(url, chunks=(4, -1, -1), storage_options=bucket.storage_options())
            client.compute(plan.to_dask()).result()
        assert "s3.GetObject" in log.getvalue()
        assert SECRET_KEY not in log.getvalue()

    def test_logs_do_not_contain_session_tokens(self, moto: S3Server, log: io.StringIO) -> None:
        with moto.bucket() as moto_bucket:  # moto accepts any token
            url = moto_bucket.put("movie.mrc", mrc_bytes(NUMBERS))
            options = {**moto.storage_options(), "token": "session-token-not-real"}
            np.testing.assert_array_equal(
                plan_mrc(url, storage_options=options).source[...], NUMBERS
            )
        assert "x-amz-security-token:***" in log.getvalue()
        assert "session-token-not-real" not in log.getvalue()

    @pytest.mark.parametrize("status", [404, 503])
    def test_logged_traceback_of_a_refused_request_contains_no_secret(
        self, log: io.StringIO, status: int
    ) -> None:
        with refusing(status, b"") as url, dask.config.set({"mrcdist.retries": 0}):
            secret = url.replace("http://", "http://somebody:password-not-real@")
            with pytest.raises(MrcdistError):
                Location.of(f"{secret}/movie.mrc?X-Amz-Signature=signature-not-real").find_version()
        assert "Traceback" in log.getvalue()
        assert "password-not-real" not in log.getvalue()
        assert "signature-not-real" not in log.getvalue()

    def test_logs_contain_neither_password_nor_signature_of_a_url(self, log: io.StringIO) -> None:
        with file_server(mrc_bytes(NUMBERS)) as url:
            secret = url.replace("http://", "http://somebody:password-not-real@")
            plan = plan_mrc(f"{secret}?signature=signature-not-real")
            assert plan.location.find_version() == plan.source.parts[0].file.version
            np.testing.assert_array_equal(plan.source[...], NUMBERS)
        assert "http://127.0.0.1" in log.getvalue()
        assert "password-not-real" not in log.getvalue()
        assert "signature-not-real" not in log.getvalue()

    def test_pages_of_the_dask_dashboard_contain_no_secret(self, bucket: Bucket) -> None:
        """The pages contain the error of a failed task, which names the file."""
        url = bucket.put("movie.mrc", mrc_bytes(NUMBERS))
        source = plan_mrc(url, storage_options=bucket.storage_options()).source
        bucket.delete("movie.mrc")
        data = dask.array.from_array(source, chunks=(4, -1, -1), name="read", asarray=False)
        with (
            LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
            Client(cluster) as client,
        ):
            future = client.compute(data)
            with pytest.raises(FileNotFoundError):
                future.result()
            base = f"http://127.0.0.1:{client.scheduler_info()['services']['dashboard']}"
            tasks = client.run_on_scheduler(keys_of_tasks)
            assert tasks
            pages = [f"info/main/{name}.html" for name in ("workers", "exceptions")]
            pages += [f"info/task/{urllib.parse.quote(task, safe='')}.html" for task in tasks]
            text = "".join(page_of(f"{base}/{page}") for page in pages)
        assert "movie.mrc" in text
        assert SECRET_KEY not in text


def keys_of_tasks(dask_scheduler: Any) -> list[str]:
    return [str(key) for key in dask_scheduler.tasks]


def page_of(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        text: str = answer.read().decode()
    return text
