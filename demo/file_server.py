"""Read-only S3 server for a folder: ranges, ETags and listings, sent from the page cache.

    python demo/file_server.py FOLDER

The kernel sends the bytes (`os.sendfile`), with one thread per connection; Python handles only the
headers. The server is local and accepts any key. It prints its address and a line per request, and
ends when its standard input is closed.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_XML = '<?xml version="1.0" encoding="UTF-8"?>'


class Handler(BaseHTTPRequestHandler):
    """GetObject, HeadObject and ListObjectsV2, for any name of the bucket."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    folder = Path()

    def do_GET(self) -> None:
        """Send an object, a range of it, or a listing."""
        address = urlsplit(self.path)
        _, _, key = unquote(address.path).lstrip("/").partition("/")
        path = (self.folder / key).resolve()
        if not key:
            self._list(parse_qs(address.query).get("prefix", [""])[0])
        elif path.parent != self.folder or not path.is_file():
            self._refuse(404, "NoSuchKey")
        else:
            self._send(path)

    def do_HEAD(self) -> None:
        """Send only the headers."""
        self.do_GET()

    def _list(self, prefix: str) -> None:
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        listed = [path for path in files if path.name.startswith(prefix)]
        objects = "".join(
            f"<Contents><Key>{escape(path.name)}</Key><Size>{path.stat().st_size}</Size>"
            f"<ETag>{escape(_etag(path.stat()))}</ETag></Contents>"
            for path in listed
        )
        body = f"<ListBucketResult><KeyCount>{len(listed)}</KeyCount>{objects}</ListBucketResult>"
        self._answer(200, body)

    def _send(self, path: Path) -> None:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if self.headers.get("If-Match", _etag(status)) != _etag(status):
                self._refuse(412, "PreconditionFailed")
                return
            start, stop = 0, status.st_size
            byte_range = _RANGE.fullmatch(self.headers.get("Range", ""))
            if byte_range:
                start = int(byte_range[1])
                stop = min(stop, int(byte_range[2]) + 1) if byte_range[2] else stop
            if start >= status.st_size:
                self._refuse(416, "InvalidRange")
                return
            self.send_response(206 if byte_range else 200)
            if byte_range:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{status.st_size}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(stop - start))
            self.send_header("ETag", _etag(status))
            self.send_header("Last-Modified", self.date_time_string(status.st_mtime))
            self.end_headers()
            if self.command == "GET":
                self.connection.sendfile(file, start, stop - start)

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>")

    def _answer(self, status: int, xml: str) -> None:
        body = (_XML + xml).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _etag(status: os.stat_result) -> str:
    return f'"{status.st_mtime_ns:x}-{status.st_size:x}"'


def main(folder: str) -> None:
    """Serve a folder on a free port until standard input ends."""
    Handler.folder = Path(folder).resolve()
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(f"Running on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
