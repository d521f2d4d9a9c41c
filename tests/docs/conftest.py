"""The built site, on disk and served."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.docs.html_pages import Page, read_site
from tests.support.processes import ROOT, ends_with_parent, isolated_environment

# A port without a server, so that any attempt to use the network fails at once.
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")


@dataclass(frozen=True)
class Build:
    """A build of the documentation: its folder, exit status and output."""

    folder: Path
    status: int
    output: str


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build the documentation without network and with warnings as errors."""
    pytest.importorskip("sphinx", reason="needs the dependency group docs")
    folder = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-n", "-q", "-c", "docs", "-d", f"{folder}-doctrees"]
    process = subprocess.run(
        ends_with_parent([sys.executable, "-m", "sphinx", *options, ".", str(folder)]),
        cwd=ROOT,
        env=isolated_environment(NO_NETWORK),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    return Build(folder, process.returncode, process.stdout)


@pytest.fixture(scope="session")
def site(build: Build) -> dict[Path, Page]:
    """Path → parsed page, for all pages of the site."""
    return read_site(build.folder)


@dataclass
class Server:
    """A local web server for the site, with the requests that failed."""

    address: str
    failed_requests: list[str] = field(default_factory=list)


@pytest.fixture
def served(build: Build, probe: str) -> Iterator[Server]:
    """Serve the site, and the page `probe` as `/probe.html`."""
    server = Server("")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/probe.html":
                body = probe.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            else:
                super().do_GET()

        def send_error(self, code: int, *args: object) -> None:  # type: ignore[override]
            server.failed_requests.append(f"{code} {self.path}")
            super().send_error(code)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    handler = functools.partial(Handler, directory=str(build.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        server.address = f"http://127.0.0.1:{http_server.server_port}"
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            http_server.shutdown()
            thread.join()


@pytest.fixture
def probe() -> str:
    """Content of `/probe.html`; empty unless a test overrides this fixture."""
    return ""
