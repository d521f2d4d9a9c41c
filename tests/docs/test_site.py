"""The documentation builds without a warning, and every link in it leads somewhere."""

from __future__ import annotations

import inspect
import json
import zlib

import pytest

import mrcdist
from tests.docs.html_pages import Page, fault_of, is_external
from tests.support.processes import ROOT


def test_the_site_builds_without_a_warning(build):
    assert build.status == 0, build.said
    assert build.said == ""


def test_the_site_has_the_pages_that_are_wanted(build):
    wanted = [
        *(path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md")),
        *(path.relative_to(ROOT) for path in (ROOT / "notebooks").glob("*.ipynb")),
        *(path.relative_to(ROOT) for path in (ROOT / "deploy").rglob("README.md")),
    ]
    assert len(wanted) > 15
    missing = [path for path in wanted if not (build.folder / path).with_suffix(".html").is_file()]
    assert missing == []


def test_every_link_leads_somewhere(site):
    assert sum(len(page.links) for page in site.values()) > 1000
    faults = [
        f"{page.path.name}: {fault}"
        for page in site.values()
        for link in {*page.links, *page.assets}
        if (fault := fault_of(link, page, site))
    ]
    assert faults == []


def test_a_page_needs_nothing_from_other_sites(site):
    fetched = {
        f"{page.path.name}: {asset}"
        for page in site.values()
        for asset in page.assets
        if is_external(asset) and not asset.startswith("data:")
    }
    assert fetched == set()


def test_every_public_name_is_in_the_reference(build, site):
    anchors = site[(build.folder / "docs/reference/api.html").resolve()].anchors
    assert [name for name in mrcdist.__all__ if f"mrcdist.{name}" not in anchors] == []


def test_other_projects_can_link_to_every_public_name(build):
    """Sphinx lists them in objects.inv, which the intersphinx of other projects reads."""
    *_, compressed = (build.folder / "objects.inv").read_bytes().split(b"\n", maxsplit=4)
    listed = {line.split()[0] for line in zlib.decompress(compressed).decode().splitlines()}
    assert [name for name in mrcdist.__all__ if f"mrcdist.{name}" not in listed] == []


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
        ("bin", "docs/howto/crop-and-bin"),  # of which "binning" is a form, for the search
        ("cite", "docs/index"),
    ],
)
def test_a_search_finds_the_page_by_its_heading(build, word, page):
    text = (build.folder / "searchindex.js").read_text("utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    found = index["titleterms"][word]
    names = [index["docnames"][i] for i in (found if isinstance(found, list) else [found])]
    assert page in names


def test_other_projects_can_link_to_names_of_the_reference(build):
    assert (build.folder / "objects.inv").is_file()


class TestFaults:
    """The check of links sees what it is there to see."""

    @pytest.fixture
    def page(self, tmp_path):
        (tmp_path / "other.html").write_text("<p id='here'>")
        (tmp_path / "folder").mkdir()
        return Page(tmp_path / "page.html", anchors={"top"})

    @pytest.mark.parametrize(
        "link",
        ["other.html", "other.html#here", "./other.html", "https://www.dask.org/x", "data:,"],
    )
    def test_good_links_have_no_fault(self, page, link):
        assert fault_of(link, page, {}) is None

    @pytest.mark.parametrize(
        "link",
        ["missing.html", "other.html#there", "folder", "https://nowhere", "htp://a.org", "../x"],
    )
    def test_bad_links_have_a_fault(self, page, link):
        assert fault_of(link, page, {}) is not None

    def test_links_to_places_on_the_page_itself_are_checked(self, page):
        page.path.write_text("")
        site = {page.path: page}
        assert fault_of("#top", page, site) is None
        assert fault_of("#bottom", page, site) is not None
