"""The published documentation: a folder for each version, and one list of all versions."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from tests.support.processes import ROOT

ADDRESS = "https://em.example.org/mrcdist"
list_versions = runpy.run_path(str(ROOT / "release" / "publish_docs.py"))["list_versions"]


def make_site(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name / "docs").mkdir(parents=True)
        (folder / name / "docs" / "index.html").touch()
    (folder / "not-a-version").mkdir()
    list_versions(folder, f"{ADDRESS}/")
    return folder


def versions(site: Path) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = json.loads((site / "versions.json").read_text("utf-8"))
    return entries


def test_versions_are_listed_newest_first_and_dev_last(tmp_path: Path) -> None:
    site = make_site(tmp_path, "v0.9.0", "dev", "v0.10.0", "v0.11.0rc1")
    names = [entry["version"] for entry in versions(site)]
    assert names == ["v0.11.0rc1", "v0.10.0", "v0.9.0", "dev"]
    assert [entry["preferred"] for entry in versions(site)] == [False, True, False, False]
    assert versions(site)[2]["url"] == f"{ADDRESS}/v0.9.0/docs/index.html"


@pytest.mark.parametrize(
    ("names", "newest"), [(["v0.1.0", "dev", "v0.2.0"], "v0.2.0"), (["dev"], "dev")]
)
def test_front_page_redirects_to_the_newest_release(
    tmp_path: Path, names: list[str], newest: str
) -> None:
    page = (make_site(tmp_path, *names) / "index.html").read_text("utf-8")
    assert f'content="0; url={newest}/docs/index.html"' in page


class TestConfiguration:
    def settings(self, monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, object]:
        pytest.importorskip("sphinx", reason="the documentation is built with Sphinx")
        for name in ("MRCDIST_DOCS", "MRCDIST_DOCS_VERSION"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(ROOT / "docs" / "conf.py"))

    def test_published_pages_have_a_version_switcher(self, monkeypatch: pytest.MonkeyPatch) -> None:
        variables = {"MRCDIST_DOCS": ADDRESS, "MRCDIST_DOCS_VERSION": "v0.2.0"}
        options = self.settings(monkeypatch, **variables)["html_theme_options"]
        assert isinstance(options, dict)
        assert "version-switcher" in options["navbar_end"]
        assert options["switcher"] == {
            "json_url": f"{ADDRESS}/versions.json",
            "version_match": "v0.2.0",
        }

    def test_local_build_needs_no_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = self.settings(monkeypatch)
        assert "intersphinx_mapping" not in settings
        assert "version-switcher" not in str(settings["html_theme_options"])
