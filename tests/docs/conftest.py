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

# Where nobody listens: whatever tries to reach the network fails at once.
NOWHERE = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")


@dataclass(frozen=True)
class Build:
    """What came of building the documentation."""

    folder: Path
    status: int
    said: str


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build as conf.py says, without network, any warning being an error."""
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-n", "-q", "-c", "docs", "-d", f"{folder}-doctrees"]
    done = subprocess.run(
        ends_with_parent([sys.executable, "-m", "sphinx", *options, ".", str(folder)]),
        cwd=ROOT,
        env=isolated_environment(NOWHERE),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    return Build(folder, done.returncode, done.stdout)


@pytest.fixture(scope="session")
def site(build: Build) -> dict[Path, Page]:
    """All pages of the site, parsed, by path."""
    return read_site(build.folder)


@dataclass
class Server:
    """The site on this machine, and what was asked of it in vain."""

    address: str
    refused: list[str] = field(default_factory=list)


@pytest.fixture
def served(build: Build, probe: str) -> Iterator[Server]:
    """Serve the site for one test, and beside it `/probe.html`."""
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
            server.refused.append(f"{code} {self.path}")
            super().send_error(code)

        def log_message(self, *_: object) -> None:
            """Keep the test's output to itself."""

    handler = functools.partial(Handler, directory=str(build.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        server.address = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


@pytest.fixture
def probe() -> str:
    """What `/probe.html` is; nothing, unless a test has its own."""
    return ""
