"""A browser opens the documentation: it shows its content, and has nothing to complain of."""

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

# How the theme begins what it tells its own developers.
CHATTER = '"[PST]: '

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

# Opens pages one by one at the width of a telephone, and writes down what it sees of each; which
# lines of code are cut it looks up at 1400 pixels, of which both sidebars take their parts.
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
    """A page as the browser has it once its scripts have run, and what it wrote to its console."""

    dom: str
    console: list[str]


def visit(url: str, tmp_path) -> Visit:
    """Open a page in headless Chromium, with a profile of its own."""
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    flags += " --disable-background-networking --disable-component-update"
    flags += " --enable-logging=stderr --virtual-time-budget=20000 --dump-dom"
    with tempfile.TemporaryDirectory(dir=tmp_path, ignore_cleanup_errors=True) as profile:
        done = subprocess.run(
            ends_with_parent([CHROMIUM, *flags.split(), f"--user-data-dir={profile}", url]),
            env=isolated_environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Visit(done.stdout, [line for line in console if CHATTER not in line])


def test_the_front_page_opens_without_errors(served, tmp_path):
    seen = visit(f"{served.address}/docs/index.html", tmp_path)
    assert re.search(r"<title>\s*mrcdist", seen.dom)
    assert "Each worker opens the file itself" in seen.dom
    assert re.search(r'<html[^>]* data-theme="(light|dark)"', seen.dom), "its scripts have not run"
    assert seen.console == []
    assert served.refused == []


def test_the_address_without_a_page_leads_to_the_front_page(served, tmp_path):
    assert "Each worker opens the file itself" in visit(f"{served.address}/", tmp_path).dom


def test_the_search_finds_a_page(served, tmp_path):
    seen = visit(f"{served.address}/search.html?q=walltime", tmp_path)
    assert re.search(r'<a[^>]* href="[^"]*deploy/slurm/README.html', seen.dom)
    assert seen.console == []


class TestEveryPage:
    @pytest.fixture
    def pages(self, build, site):
        inside = [path.relative_to(build.folder.resolve()) for path in site]
        return sorted(f"/{path}" for path in inside if path.parent.name)

    @pytest.fixture
    def probe(self, pages):
        return PROBE.replace("PAGES", json.dumps(pages))

    def test_every_page_shows_its_content_on_a_telephone_and_its_code_on_a_screen(
        self, served, pages, tmp_path
    ):
        seen = visit(f"{served.address}/probe.html", tmp_path)
        [text] = re.findall(r"<pre>(.*?)</pre>", seen.dom, re.S)
        found = json.loads(html.unescape(text))
        assert sorted(found) == pages
        assert [
            page for page, is_ in found.items() if not is_["heading"] or not is_["height"]
        ] == []
        assert {page: is_["width"] for page, is_ in found.items() if is_["width"] > 400} == {}
        assert {page: is_["broken"] for page, is_ in found.items() if is_["broken"]} == {}
        assert {page: is_["cut"] for page, is_ in found.items() if is_["cut"]} == {}
        assert seen.console == []
        assert served.refused == []


class TestConsole:
    @pytest.fixture
    def probe(self):
        return "<link rel='icon' href='data:,'><script>missing()</script><img src='/missing.png'>"

    def test_what_goes_wrong_on_a_page_is_seen(self, served, tmp_path):
        seen = visit(f"{served.address}/probe.html", tmp_path)
        assert any("missing is not defined" in line for line in seen.console)
        assert served.refused == ["404 /missing.png"]
