"""Statements of the documentation about the code: settings, error messages, extras, tables."""

from __future__ import annotations

import re
import tomllib

import pytest
from dask.utils import parse_bytes

import mrcdist
from mrcdist.config import DEFAULTS
from tests.docs.pages import PAGES
from tests.parity.format_table import ROWS
from tests.support.processes import ROOT
from tests.support.raised import KINDS, NOTE_CODES, RAISED

README = PAGES["README.md"].read_text("utf-8")
TROUBLESHOOTING = PAGES["docs/howto/troubleshooting.md"].read_text("utf-8")


def table(text: str) -> list[list[str]]:
    """Return the rows of the first table in a text, without its header."""
    lines = [line for line in text[text.index("\n|") :].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


SETTINGS = {
    row[0].strip("`"): row[1]
    for row in table(PAGES["docs/reference/settings.md"].read_text("utf-8"))
}


class TestSettings:
    def test_table_of_settings_has_every_setting_and_no_other(self):
        assert set(SETTINGS) == set(DEFAULTS)

    @pytest.mark.parametrize("key", DEFAULTS)
    def test_documented_default_of_a_setting_equals_that_of_the_code(self, key):
        shown, default = SETTINGS[key], DEFAULTS[key]
        if isinstance(default, str):
            assert shown == f'"{default}"'
        elif "iB" in shown:
            assert parse_bytes(shown) == default
        else:
            assert float(shown.removesuffix(" s")) == default


# One section per class.
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", TROUBLESHOOTING, re.M | re.S))

# Class → codes explained in its section: those in headings, and in the first column of tables.
CODES = {
    name: {
        code
        for cell in re.findall(r"^(?:###|\|) (`[^|\n]*)", section, re.M)
        for code in re.findall("`([^`]+)`", cell)
    }
    for name, section in SECTIONS.items()
}


class TestTroubleshooting:
    @pytest.mark.parametrize("raised", RAISED, ids=lambda raised: raised.place)
    def test_every_error_has_an_entry_in_troubleshooting(self, raised):
        if raised.code != "error.code":
            assert raised.code in CODES[raised.kind.__name__]

    @pytest.mark.parametrize("kind", sorted(set(KINDS) - {"MrcdistWarning"}))
    def test_codes_in_troubleshooting_are_in_the_section_of_their_class(self, kind):
        known = {raised.code for raised in RAISED if raised.kind.__name__ == kind}
        assert known >= CODES[kind]

    def test_troubleshooting_has_the_codes_of_all_warnings_and_no_others(self):
        assert sorted(CODES["MrcdistWarning"]) == NOTE_CODES

    def test_every_error_class_has_a_section_in_troubleshooting(self):
        assert set(KINDS) <= set(SECTIONS)
        assert [name for name in KINDS if not SECTIONS[name].strip()] == []

    @pytest.mark.parametrize("name", KINDS)
    def test_documented_builtin_base_of_an_error_class_is_its_last_base(self, name):
        rows = {row[0]: row[1] for row in table(TROUBLESHOOTING)}
        bases = [base.__name__ for base in getattr(mrcdist, name).__bases__]
        assert rows[f"[{name}](#{name.lower()})"].strip("`") == bases[-1]


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_readme_and_tutorial_show_browse(page):
    assert re.search(r"\bbrowse\(plan\)", PAGES[page].read_text("utf-8"))


class TestReadme:
    def test_readme_has_at_most_110_lines(self):
        assert len(README.splitlines()) <= 110

    @pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)", README))
    def test_link_in_the_readme_leads_to_a_file(self, link):
        assert (ROOT / link).is_file()

    def test_readme_has_the_table_that_the_comparison_page_includes(self):
        part = README.split("<!-- peers -->")[1].split("<!-- end of peers -->")[0]
        assert "python tests/benchmarks/run.py" in part
        assert len(table(part)) >= 4


FORMATS = table(PAGES["docs/reference/formats.md"].read_text("utf-8"))


class TestFormatTable:
    """Rows of tests/parity/format_table.py, with its results."""

    def test_format_table_has_a_row_for_every_file(self):
        assert [row[0] for row in FORMATS[:-1]] == list(ROWS)

    def test_totals_of_the_format_table_are_correct_there_and_in_the_readme(self):
        *rows, sums = FORMATS
        for column in range(1, len(sums)):
            right = sum(row[column] == "right" for row in rows)
            assert sums[column] == f"{right} of {len(rows)}"
        [line] = [line for line in README.splitlines() if line.startswith("| read correctly |")]
        assert [cell.strip() for cell in line.strip("|").split("|")][1:] == sums[1:]


def test_extras_in_the_documentation_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = "\n".join(path.read_text("utf-8") for path in PAGES.values())
    commands = re.findall(r"""pip install ["']?[\w./]*\[([\w,-]+)\]""", text)
    assert commands
    assert re.findall(r"pip install .?mrcdist.*", text) == [], "mrcdist is not on PyPI"
    extras = {extra for command in commands for extra in command.split(",")}
    assert extras <= set(project["optional-dependencies"])


def test_extras_in_remedies_of_errors_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = "\n".join(path.read_text("utf-8") for path in (ROOT / "mrcdist").rglob("*.py"))
    extras = set(re.findall(r"""install_command\(["']([\w-]+)["']\)""", text))
    assert {"plot", "mrcz", "xarray"} <= extras <= set(project["optional-dependencies"])
    assert re.findall(r"""pip install ["']?mrcdist\[""", text) == []
