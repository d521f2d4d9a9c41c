"""S3 servers that run on 127.0.0.1 within a `with` block.

`moto_server` needs only Python packages; it does not check signatures and is slow, so keep objects
small. `radosgw_server` is a real Ceph object gateway with one disk; it checks signatures, and is
meant for tests with clusters, faults or large objects.
"""

from __future__ import annotations

import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.processes import Processes, free_port

ACCESS_KEY = "test-access-key-not-real"
SECRET_KEY = "test-secret-key-not-real"
WRONG_SECRET = "wrong-secret-key-not-real"


@dataclass(frozen=True)
class S3Server:
    """Address and credentials of an S3 server, and operations that tests need.

    Parameters
    ----------
    name : str
        "moto", "radosgw", …
    endpoint : str
        `http://host:port`, without a trailing slash.
    key, secret : str
        Credentials with all permissions.
    region : str, default "us-east-1"
        Region used in signatures.
    """

    name: str
    endpoint: str
    key: str = ACCESS_KEY
    secret: str = SECRET_KEY
    region: str = "us-east-1"

    def storage_options(self) -> dict[str, Any]:
        """Return the options of s3fs (and so fsspec) for this server."""
        return {
            "key": self.key,
            "secret": self.secret,
            "client_kwargs": {"endpoint_url": self.endpoint, "region_name": self.region},
        }

    def environment(self) -> dict[str, str]:
        """Return environment variables with which a process needs no storage options."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": self.region,
        }

    def reached_at(self, endpoint: str) -> S3Server:
        """Return the same server with another address, such as that of a proxy."""
        return replace(self, endpoint=endpoint)

    def with_secret(self, secret: str) -> S3Server:
        """Return the same server with another secret key."""
        return replace(self, secret=secret)

    @property
    def client(self) -> Any:
        """A boto3 client, for operations without a method here."""
        return _client(self)

    def create_bucket(self, name: str) -> None:
        """Create the bucket `name`."""
        self.client.create_bucket(Bucket=name)

    def put(self, bucket_key: str, data: bytes) -> str:
        """Write one object; `bucket_key` is "bucket/key". Return its `s3://` URL."""
        bucket, key = bucket_key.split("/", 1)
        self.client.put_object(Bucket=bucket, Key=key, Body=data)
        return f"s3://{bucket_key}"

    def delete(self, bucket_key: str) -> None:
        """Delete one object."""
        bucket, key = bucket_key.split("/", 1)
        self.client.delete_object(Bucket=bucket, Key=key)

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket and all versions of all objects in it."""
        for page in self.client.get_paginator("list_object_versions").paginate(Bucket=name):
            for item in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                self.client.delete_object(Bucket=name, Key=item["Key"], VersionId=item["VersionId"])
        self.client.delete_bucket(Bucket=name)

    @contextmanager
    def bucket(self) -> Iterator[Bucket]:
        """Create a bucket with a new name; delete it with its objects at the end of the block."""
        name = f"test-{uuid.uuid4().hex[:16]}"
        self.create_bucket(name)
        try:
            yield Bucket(self, name)
        finally:
            self.delete_bucket(name)


@dataclass(frozen=True)
class Bucket:
    """One bucket of a server."""

    server: S3Server
    name: str

    def url(self, key: str) -> str:
        """Return the `s3://` URL of `key`."""
        return f"s3://{self.name}/{key}"

    def put(self, key: str, data: bytes) -> str:
        """Write one object; return its `s3://` URL."""
        return self.server.put(f"{self.name}/{key}", data)

    def delete(self, key: str) -> None:
        """Delete one object."""
        self.server.delete(f"{self.name}/{key}")

    def storage_options(self) -> dict[str, Any]:
        """Return the server's storage options."""
        return self.server.storage_options()


@lru_cache(maxsize=32)
def _client(server: S3Server) -> Any:
    # Imported only if a server is used: it takes longer than most tests.
    import boto3  # type: ignore[import-untyped]
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
        region_name=server.region,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            # Errors that a test provokes should be raised at once, without retries.
            retries={"total_max_attempts": 1},
            # Older releases of Ceph do not support the checksum trailers boto3 sends by default.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@contextmanager
def moto_server(folder: Path) -> Iterator[S3Server]:
    """Run moto in a separate process.

    Parameters
    ----------
    folder : Path
        Folder for its log; objects are kept in memory.
    """
    port = free_port()
    server = S3Server("moto", f"http://127.0.0.1:{port}")
    with Processes(folder) as processes:
        processes.start(
            "moto", [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        )
        processes.wait_until(lambda: _answers(server.endpoint), "moto")
        yield server


RADOSGW_PROGRAMS = {
    "radosgw": "radosgw",
    "radosgw-admin": "ceph-common",
    "ceph-mon": "ceph-mon",
    "monmaptool": "ceph-base",
    "ceph": "ceph-common",
    "ceph-osd": "ceph-osd",
}


@contextmanager
def radosgw_server(
    folder: Path,
    start: Callable[[Processes, Path, S3Server], None] | None = None,
    *,
    on_disk: bool = False,
) -> Iterator[S3Server]:
    """Run Ceph on one node with an S3 gateway; skip the test if Ceph is not installed.

    Parameters
    ----------
    folder : Path
        Folder for all state; at the end, the disk is deleted and the logs are kept.
    start : callable, optional
        Function that starts the processes (default: those of Ceph).
    on_disk : bool, default False
        Keep objects in a sparse file instead of in memory.

    Notes
    -----
    There are three daemons, started in this order: monitor (the cluster map), OSD (one disk) and
    gateway. They listen on 127.0.0.1 only and do not authenticate each other; S3 requests have to
    be signed.
    """
    missing = {pkg for program, pkg in RADOSGW_PROGRAMS.items() if not shutil.which(program)}
    if missing:
        pytest.skip(f"needs a Ceph S3 gateway: apt-get install {' '.join(sorted(missing))}")
    server = S3Server("radosgw", f"http://127.0.0.1:{free_port()}")
    try:
        with Processes(folder) as processes:
            (start or partial(_start_ceph, on_disk=on_disk))(processes, folder, server)
            yield server
    finally:
        shutil.rmtree(folder / "osd", ignore_errors=True)


def _start_ceph(processes: Processes, folder: Path, server: S3Server, *, on_disk: bool) -> None:
    cluster_id, osd_id = str(uuid.uuid4()), str(uuid.uuid4())
    monitor = f"v2:127.0.0.1:{free_port()}"
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()
    keyring, monmap, conf = folder / "keyring", folder / "monmap", folder / "ceph.conf"
    keyring.touch()
    gateway = urlsplit(server.endpoint).netloc
    conf.write_text(_ceph_conf(folder, cluster_id, monitor, gateway, on_disk))

    def run(program: str, *arguments: str | Path) -> None:
        processes.run([program, "-c", conf, *arguments])

    def start(name: str, program: str, *arguments: str | Path) -> None:
        processes.start(name, [program, "-c", conf, *arguments, "-f"])

    run("monmaptool", "--create", "--addv", "a", f"[{monitor}]", "--fsid", cluster_id, monmap)
    run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
    start("mon", "ceph-mon", "-i", "a")
    run("ceph", "--connect-timeout", "30", "osd", "new", osd_id)
    run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd_id)
    start("osd", "ceph-osd", "-i", "0")
    start("rgw", "radosgw", "-n", "client.rgw")
    processes.wait_until(lambda: _answers(server.endpoint), "radosgw", timeout=90)
    credentials = ["--access-key", server.key, "--secret", server.secret]
    new_user = ["user", "create", "--uid", "tester", "--display-name", "tester"]
    run("radosgw-admin", "-n", "client.rgw", *new_user, *credentials)


def _ceph_conf(folder: Path, cluster_id: str, monitor: str, gateway: str, on_disk: bool) -> str:
    return f"""\
[global]
fsid = {cluster_id}
keyring = {folder}/keyring
run dir = {folder}
log file = {folder}/$name.log
# no control sockets: their paths must not be longer than 107 characters
admin socket =

# one machine
mon host = {monitor}
public network = 127.0.0.0/8
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none

# one disk, no replicas
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd crush chooseleaf type = 0
osd pool default pg num = 8
osd pool default pg autoscale mode = off
mon max pg per osd = 1000
osd objectstore = {"bluestore" if on_disk else "memstore"}
bluestore block size = 6G
memstore device bytes = 4G
osd memory target = 939524096
mon data = {folder}/mon
osd data = {folder}/osd

# a single monitor need not collect changes for a second before it commits them
paxos propose interval = 0.02
paxos min wait = 0.01

[client.rgw]
rgw data = {folder}/rgw
# without tcp_nodelay, small responses wait 40 ms for the client's delayed acknowledgement
rgw frontends = beast endpoint={gateway} tcp_nodelay=1
rgw dns name = 127.0.0.1
# encryption, the default, needs keys, which "auth none" does not create
ms mon client mode = crc
rgw enable usage log = false
rgw run sync thread = false
rgw thread pool size = 32
# free the space of deleted objects within seconds, not hours
rgw gc obj min wait = 1
rgw gc processor period = 5
"""


S3_SERVERS: dict[str, Callable[[Path], AbstractContextManager[S3Server]]] = {
    "moto": moto_server,
    "radosgw": radosgw_server,
}


def forget_s3() -> None:
    """Clear the filesystems and listings cached by s3fs in this process."""
    s3fs = sys.modules.get("s3fs")
    if s3fs is None:
        return
    for filesystem in list(s3fs.S3FileSystem._cache.values()):
        filesystem.invalidate_cache()
    s3fs.S3FileSystem.clear_instance_cache()


def _answers(endpoint: str) -> bool:
    address = urlsplit(endpoint)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
