"""Small HTTP servers whose responses are defined by the test."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote


@contextmanager
def serving(do_get: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Run a server on 127.0.0.1 within the block; yield `http://host:port`.

    Parameters
    ----------
    do_get : callable
        Handles GET and HEAD requests.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

    Handler.do_GET = Handler.do_HEAD = do_get  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def refusing(
    status: int, body: bytes, *, requests: list[str] | None = None
) -> AbstractContextManager[str]:
    """Run a server that answers every request with the same status and body.

    Parameters
    ----------
    status : int
    body : bytes
    requests : list, optional
        List to which the path of every request is appended.
    """

    def do_get(request: BaseHTTPRequestHandler) -> None:
        if requests is not None:
            requests.append(request.path)
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return serving(do_get)


@contextmanager
def file_server(
    content: bytes,
    *,
    pieces: int = 1,
    pause: float = 0.0,
    tell_size: bool = True,
    etag: Callable[[BaseHTTPRequestHandler], str | None] = lambda _: '"1"',
    modified: str | None = None,
) -> Iterator[str]:
    """Serve one file, with byte ranges; yield its URL.

    Parameters
    ----------
    content : bytes
        Content of the file; a bytearray if it will change.
    pieces : int, default 1
        Number of pieces in which a body is sent.
    pause : float, default 0
        Seconds before each piece.
    tell_size : bool, default True
        Whether responses contain the size of the file.
    etag : callable, optional
        Request → ETag of the response, or None.
    modified : str, optional
        Date for Last-Modified.
    """

    def do_get(request: BaseHTTPRequestHandler) -> None:
        start, stop = 0, len(content)
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", "")):
            start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(content))
        if start >= stop:
            request.send_response(416)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if wanted else 200)
        if wanted:
            total = len(content) if tell_size else "*"
            request.send_header("Content-Range", f"bytes {start}-{stop - 1}/{total}")
        if (version := etag(request)) is not None:
            request.send_header("ETag", version)
        if modified is not None:
            request.send_header("Last-Modified", modified)
        if wanted or tell_size:
            request.send_header("Content-Length", str(stop - start))
        else:
            request.send_header("Connection", "close")
        request.end_headers()
        if request.command == "HEAD":
            return
        step = -(-(stop - start) // pieces)
        for at in range(start, stop, step):
            time.sleep(pause)
            request.wfile.write(content[at : min(at + step, stop)])

    with serving(do_get) as endpoint:
        yield f"{endpoint}/movie.mrc"


@contextmanager
def folder_server(
    folder: Path, *, listing: bool = True, requests: list[str] | None = None
) -> Iterator[str]:
    """Serve the files of a folder, with byte ranges; yield its URL without a trailing slash.

    Parameters
    ----------
    folder : Path
    listing : bool, default True
        Whether there is a page with links to the files; otherwise its status is 403.
    requests : list, optional
        List to which the decoded name of every file requested is appended.
    """

    def send(request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
        request.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(key.replace("_", "-"), value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def do_get(request: BaseHTTPRequestHandler) -> None:
        name = unquote(request.path).removeprefix("/run").strip("/")
        if not name:
            links = "".join(f'<a href="{quote(path.name)}">x</a>' for path in folder.iterdir())
            send(request, *((200, links.encode()) if listing else (403, b"")))
            return
        if requests is not None:
            requests.append(name)
        if not (folder / name).is_file():
            send(request, 404, b"")
            return
        content = (folder / name).read_bytes()
        changed = (folder / name).stat().st_mtime_ns
        version = {"ETag": f'"{changed:x}-{len(content):x}"'}  # like common web servers
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if wanted is None:
            send(request, 200, content, Accept_Ranges="bytes", **version)
            return
        part = content[int(wanted[1]) : int(wanted[2]) + 1]
        span = f"bytes {wanted[1]}-{int(wanted[1]) + len(part) - 1}/{len(content)}"
        send(request, 206 if part else 416, part, Content_Range=span, **version)

    with serving(do_get) as endpoint:
        yield f"{endpoint}/run"
