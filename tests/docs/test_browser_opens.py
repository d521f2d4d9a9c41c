"""The documentation is displayed in a browser without errors."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass

import pytest

from tests.support.processes import ends_with_parent, isolated_environment

CHROMIUM = shutil.which("chromium")

# Prefix of the theme's debug messages.
THEME_MESSAGE = '"[PST]: '

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

# Opens pages one by one at the width of a phone and records what is shown. Code lines that are cut
# off are found at a width of 1400 pixels, which includes both sidebars.
PROBE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<iframe width="400" height="800"></iframe><pre>not finished</pre>
<script>
const frame = document.querySelector("iframe"), seen = {};
const pages = PAGES;
frame.onload = () => {
  const shown = frame.contentDocument, heading = shown.querySelector("article h1");
  if (shown.URL === "about:blank") return;
  seen[pages[0]] = {
    heading: heading ? heading.innerText : "",
    height: heading ? heading.getBoundingClientRect().height : 0,
    width: shown.documentElement.scrollWidth,
    broken: [...shown.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src),
  };
  shown.head.insertAdjacentHTML("beforeend", "<style>* { transition: none !important }</style>");
  frame.width = 1400;
  seen[pages[0]].cut = [...shown.querySelectorAll("article pre")]
    .filter(e => e.scrollWidth > e.clientWidth)
    .map(e => e.innerText.split("\\n").sort((a, b) => b.length - a.length)[0]);
  frame.width = 400;
  pages.shift();
  open();
};
const open = () => {
  if (pages.length) frame.src = pages[0];
  else document.querySelector("pre").textContent = JSON.stringify(seen);
};
open();
</script>"""


@dataclass(frozen=True)
class Visit:
    """DOM of a page after its scripts have run, and the messages in the browser's console."""

    dom: str
    console: list[str]


def visit(url: str, tmp_path) -> Visit:
    """Open a page in headless Chromium with a new profile."""
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    flags += " --disable-background-networking --disable-component-update"
    flags += " --enable-logging=stderr --virtual-time-budget=20000 --dump-dom"
    with tempfile.TemporaryDirectory(dir=tmp_path, ignore_cleanup_errors=True) as profile:
        process = subprocess.run(
            ends_with_parent([CHROMIUM, *flags.split(), f"--user-data-dir={profile}", url]),
            env=isolated_environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    console = [line for line in process.stderr.splitlines() if ":CONSOLE" in line]
    return Visit(process.stdout, [line for line in console if THEME_MESSAGE not in line])


def test_front_page_opens_without_errors(served, tmp_path):
    front_page = visit(f"{served.address}/docs/index.html", tmp_path)
    assert re.search(r"<title>\s*mrcdist", front_page.dom)
    assert "Each worker opens the file itself" in front_page.dom
    theme = re.search(r'<html[^>]* data-theme="(light|dark)"', front_page.dom)
    assert theme, "scripts of the page did not run"
    assert front_page.console == []
    assert served.failed_requests == []


def test_root_address_redirects_to_the_front_page(served, tmp_path):
    assert "Each worker opens the file itself" in visit(f"{served.address}/", tmp_path).dom


def test_search_finds_a_page_by_a_word_in_it(served, tmp_path):
    results = visit(f"{served.address}/search.html?q=walltime", tmp_path)
    assert re.search(r'<a[^>]* href="[^"]*deploy/slurm/README.html', results.dom)
    assert results.console == []


class TestEveryPage:
    @pytest.fixture
    def pages(self, build, site):
        paths = [path.relative_to(build.folder.resolve()) for path in site]
        return sorted(f"/{path}" for path in paths if path.parent.name)

    @pytest.fixture
    def probe(self, pages):
        return PROBE.replace("PAGES", json.dumps(pages))

    def test_every_page_fits_a_phone_and_its_code_lines_fit_a_desktop_screen(
        self, served, pages, tmp_path
    ):
        probe = visit(f"{served.address}/probe.html", tmp_path)
        [text] = re.findall(r"<pre>(.*?)</pre>", probe.dom, re.S)
        views = json.loads(html.unescape(text))
        assert sorted(views) == pages
        no_heading = [page for page, v in views.items() if not v["heading"] or not v["height"]]
        assert no_heading == []
        assert {page: v["width"] for page, v in views.items() if v["width"] > 400} == {}
        assert {page: v["broken"] for page, v in views.items() if v["broken"]} == {}
        assert {page: v["cut"] for page, v in views.items() if v["cut"]} == {}
        assert probe.console == []
        assert served.failed_requests == []


class TestConsole:
    @pytest.fixture
    def probe(self):
        return "<link rel='icon' href='data:,'><script>missing()</script><img src='/missing.png'>"

    def test_script_errors_and_missing_images_of_a_page_are_detected(self, served, tmp_path):
        probe = visit(f"{served.address}/probe.html", tmp_path)
        assert any("missing is not defined" in line for line in probe.console)
        assert served.failed_requests == ["404 /missing.png"]
