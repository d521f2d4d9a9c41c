"""The documentation builds without warnings, and its links work."""

from __future__ import annotations

import inspect
import json
import zlib

import pytest

import mrcdist
from tests.docs.html_pages import Page, is_external, link_problem
from tests.support.processes import ROOT


def test_site_builds_without_warnings(build):
    assert build.status == 0, build.output
    assert build.output == ""


def test_site_has_all_pages_notebooks_and_deployment_guides(build):
    sources = [
        *(path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md")),
        *(path.relative_to(ROOT) for path in (ROOT / "notebooks").glob("*.ipynb")),
        *(path.relative_to(ROOT) for path in (ROOT / "deploy").rglob("README.md")),
    ]
    assert len(sources) > 15
    missing = [path for path in sources if not (build.folder / path).with_suffix(".html").is_file()]
    assert missing == []


def test_every_link_has_a_valid_target(site):
    assert sum(len(page.links) for page in site.values()) > 1000
    problems = [
        f"{page.path.name}: {problem}"
        for page in site.values()
        for link in {*page.links, *page.assets}
        if (problem := link_problem(link, page, site))
    ]
    assert problems == []


def test_pages_load_nothing_from_other_sites(site):
    external = {
        f"{page.path.name}: {asset}"
        for page in site.values()
        for asset in page.assets
        if is_external(asset) and not asset.startswith("data:")
    }
    assert external == set()


def test_every_public_name_is_in_the_api_reference(build, site):
    anchors = site[(build.folder / "docs/reference/api.html").resolve()].anchors
    assert [name for name in mrcdist.__all__ if f"mrcdist.{name}" not in anchors] == []


def test_every_public_name_is_a_target_for_links_of_other_projects(build):
    """Sphinx lists them in objects.inv, which intersphinx reads in other projects."""
    *_, compressed = (build.folder / "objects.inv").read_bytes().split(b"\n", maxsplit=4)
    names = {line.split()[0] for line in zlib.decompress(compressed).decode().splitlines()}
    assert [name for name in mrcdist.__all__ if f"mrcdist.{name}" not in names] == []


def test_every_public_function_has_an_example():
    functions = {name: getattr(mrcdist, name) for name in mrcdist.__all__}
    without = [
        name
        for name, function in functions.items()
        if inspect.isfunction(function) and "Examples\n" not in str(function.__doc__)
    ]
    assert without == []


@pytest.mark.parametrize(
    ("word", "page"),
    [
        ("save", "docs/howto/write"),
        ("convert", "docs/howto/zarr-xarray"),
        ("bin", "docs/howto/crop-and-bin"),  # the stem of "binning"
        ("cite", "docs/index"),
    ],
)
def test_search_index_finds_a_page_by_a_word_in_its_headings(build, word, page):
    text = (build.folder / "searchindex.js").read_text("utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    numbers = index["titleterms"][word]
    numbers = numbers if isinstance(numbers, list) else [numbers]
    assert page in [index["docnames"][number] for number in numbers]


class TestLinkProblems:
    """The check of links detects broken ones."""

    @pytest.fixture
    def page(self, tmp_path):
        (tmp_path / "other.html").write_text("<p id='here'>")
        (tmp_path / "folder").mkdir()
        return Page(tmp_path / "page.html", anchors={"top"})

    @pytest.mark.parametrize(
        "link",
        ["other.html", "other.html#here", "./other.html", "https://www.dask.org/x", "data:,"],
    )
    def test_valid_link_has_no_problem(self, page, link):
        assert link_problem(link, page, {}) is None

    @pytest.mark.parametrize(
        "link",
        ["missing.html", "other.html#there", "folder", "https://nowhere", "htp://a.org", "../x"],
    )
    def test_broken_link_has_a_problem(self, page, link):
        assert link_problem(link, page, {}) is not None

    def test_link_within_a_page_needs_an_existing_anchor(self, page):
        page.path.write_text("")
        site = {page.path: page}
        assert link_problem("#top", page, site) is None
        assert link_problem("#bottom", page, site) is not None
