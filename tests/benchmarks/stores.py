"""Stores on this machine: Ceph's S3 gateway, and nginx with and without a rate limit."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.processes import Processes, free_port
from tests.support.s3 import RADOSGW_PROGRAMS, S3Server, radosgw_server

__all__ = ["NAMES", "Store", "open_stores"]

NAMES = ("nginx", "nginx-60m", "radosgw")
"""nginx-60m limits each connection to 60 MB/s, like S3."""

_BUCKET = "bench"


@dataclass(frozen=True)
class Store:
    """A server with files.

    Attributes
    ----------
    name : str
    base : str
        URL of the folder with the files, as passed to fsspec.
    options : mapping
        Storage options.
    server : S3Server or None
    """

    name: str
    base: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    server: S3Server | None = None

    def url(self, name: str) -> str:
        return f"{self.base}/{name}"

    def put(self, path: Path) -> None:
        """Upload a file, except to nginx, which serves the folder itself."""
        if self.server is not None:
            self.server.client.upload_file(str(path), _BUCKET, path.name)

    def web_url(self, name: str) -> str:
        """Return a URL that any HTTP client can read."""
        if self.server is None:
            return self.url(name)
        url: str = self.server.client.generate_presigned_url(
            "get_object", Params={"Bucket": _BUCKET, "Key": name}, ExpiresIn=24 * 3600
        )
        return url


@contextmanager
def open_stores(names: tuple[str, ...], folder: Path) -> Iterator[list[Store]]:
    """Run the requested stores, as far as they are installed, within the block.

    Parameters
    ----------
    names : tuple of str
        Some of `NAMES`.
    folder : Path
        Folder served by nginx; files to be uploaded to other stores are written here, too.
    """
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mrcdist-stores-")))
        stores = []
        if shutil.which("nginx"):
            for name in set(names) & {"nginx", "nginx-60m"}:
                limit = "60m" if name == "nginx-60m" else "0"
                stores.append(stack.enter_context(_nginx(name, state / name, folder, limit)))
        if "radosgw" in names and all(map(shutil.which, RADOSGW_PROGRAMS)):
            server = stack.enter_context(radosgw_server(state / "radosgw", on_disk=True))
            server.create_bucket(_BUCKET)
            options = server.storage_options()
            stores.append(Store("radosgw", f"s3://{_BUCKET}", options, server))
        yield sorted(stores, key=lambda store: names.index(store.name))


@contextmanager
def _nginx(name: str, state: Path, folder: Path, limit: str) -> Iterator[Store]:
    """Run an nginx process that serves a folder on 127.0.0.1."""
    port = free_port()
    state.mkdir()
    scratch = "\n".join(
        f"    {kind}_temp_path {state}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = state / "nginx.conf"
    config.write_text(f"""\
daemon off;
worker_processes 1;
pid {state}/pid;
error_log {state}/error.log;
{"user root;" if os.geteuid() == 0 else ""}
events {{ }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
{scratch}
    default_type application/octet-stream;
    server {{
        listen 127.0.0.1:{port};
        root {folder};
        limit_rate {limit};
    }}
}}
""")
    with Processes(state) as processes:
        processes.start("nginx", ["nginx", "-c", config, "-p", state])
        processes.wait_until(lambda: (state / "pid").exists(), "nginx")
        yield Store(name, f"http://127.0.0.1:{port}")
