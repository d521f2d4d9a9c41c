"""What the pages say of the code holds: settings, error messages, extras, files, the two tables."""

from __future__ import annotations

import ast
import re
import tomllib

import pytest
from dask.utils import parse_bytes

import mrcdist
from mrcdist.config import DEFAULTS
from tests.docs.pages import PAGES
from tests.parity.format_table import ROWS
from tests.support.processes import ROOT
from tests.support.raised import KINDS, RAISED

README = PAGES["README.md"].read_text("utf-8")
TROUBLESHOOTING = PAGES["docs/howto/troubleshooting.md"].read_text("utf-8")


def table(text: str) -> list[list[str]]:
    """Take the rows of the first table of a text, without its head."""
    lines = [line for line in text[text.index("\n|") :].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


SETTINGS = {
    row[0].strip("`"): row[1]
    for row in table(PAGES["docs/reference/settings.md"].read_text("utf-8"))
}


class TestSettings:
    def test_every_setting_is_in_the_table_and_no_other(self):
        assert set(SETTINGS) == set(DEFAULTS)

    @pytest.mark.parametrize("key", DEFAULTS)
    def test_default_of_a_setting_is_the_codes(self, key):
        shown, default = SETTINGS[key], DEFAULTS[key]
        if isinstance(default, str):
            assert shown == f'"{default}"'
        elif "iB" in shown:
            assert parse_bytes(shown) == default
        else:
            assert float(shown.removesuffix(" s")) == default


# Sections are by class; headings in them are messages, with … for what differs.
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", TROUBLESHOOTING, re.M | re.S))
MESSAGES = [
    message
    for section in SECTIONS.values()
    for line in re.findall(r"^### (.*)$", section, re.M)
    for message in re.findall("`([^`]+)`", line)
]


@pytest.fixture(scope="module")
def words() -> str:
    """All texts in mrcdist's code, each on a line, without docstrings."""
    trees = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "mrcdist").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
    texts = [node for node in nodes if isinstance(node, ast.Constant) and node not in docstrings]
    return "\n".join(node.value for node in texts if isinstance(node.value, str))


# Under each heading: the codes of the errors that it explains.
CODES = {
    name: {
        code
        for line in re.findall(r"^Codes?: (.*)$", section, re.M)
        for code in re.findall("`([^`]+)`", line)
    }
    for name, section in SECTIONS.items()
}


class TestTroubleshooting:
    @pytest.mark.parametrize("raised", RAISED, ids=lambda raised: raised.place)
    def test_every_error_has_an_entry(self, raised):
        if raised.known_as != "error.code":
            assert raised.known_as in CODES[raised.kind.__name__]

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_codes_named_are_those_of_the_class(self, kind):
        known = {raised.known_as for raised in RAISED if raised.kind.__name__ == kind}
        assert known >= CODES[kind]

    def test_every_entry_names_its_codes(self):
        for name in set(KINDS) - {"MrcdistWarning"}:
            entries = re.split(r"^### .*$", SECTIONS[name], flags=re.M)[1:]
            assert [entry for entry in entries if not entry.startswith("\n\nCode")] == []

    def test_every_class_of_errors_has_a_section(self):
        assert set(KINDS) <= set(SECTIONS)
        assert [name for name in KINDS if not SECTIONS[name].strip()] == []

    @pytest.mark.parametrize("name", KINDS)
    def test_the_builtin_that_catches_an_error_is_named(self, name):
        rows = {row[0]: row[1] for row in table(TROUBLESHOOTING)}
        bases = [base.__name__ for base in getattr(mrcdist, name).__bases__]
        assert rows[f"[{name}](#{name.lower()})"].strip("`") == bases[-1]

    @pytest.mark.parametrize("message", MESSAGES)
    def test_words_of_a_heading_are_those_of_the_code(self, message, words):
        pieces = [piece for piece in re.split(r"\s*…\s*", message) if piece.strip(" :")]
        assert pieces
        assert [piece for piece in pieces if piece not in words] == []


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_the_browser_is_shown_where_one_begins(page):
    assert re.search(r"\bbrowse\(plan\)", PAGES[page].read_text("utf-8"))


class TestReadme:
    def test_the_readme_is_one_page(self):
        assert len(README.splitlines()) <= 110

    @pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)", README))
    def test_links_of_the_readme_lead_to_files(self, link):
        assert (ROOT / link).is_file()

    def test_the_readme_has_the_part_that_the_comparison_shows(self):
        part = README.split("<!-- peers -->")[1].split("<!-- end of peers -->")[0]
        assert "python tests/benchmarks/run.py" in part
        assert len(table(part)) >= 4


FORMATS = table(PAGES["docs/reference/formats.md"].read_text("utf-8"))


class TestFormatTable:
    """The rows are those of the script; what stands in them is what it printed."""

    def test_the_table_has_every_file(self):
        assert [row[0] for row in FORMATS[:-1]] == list(ROWS)

    def test_sums_of_the_table_are_right_in_the_comparison_and_in_the_readme(self):
        *rows, sums = FORMATS
        for column in range(1, len(sums)):
            right = sum(row[column] == "right" for row in rows)
            assert sums[column] == f"{right} of {len(rows)}"
        [line] = [line for line in README.splitlines() if line.startswith("| right |")]
        assert [cell.strip() for cell in line.strip("|").split("|")][1:] == sums[1:]


def test_extras_that_are_shown_can_be_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = "\n".join(path.read_text("utf-8") for path in PAGES.values())
    shown = re.findall(r"""pip install ["']?[\w./]*\[([\w,-]+)\]""", text)
    assert shown
    assert re.findall(r"pip install .?mrcdist.*", text) == [], "it is on no index"
    named = {extra for extras in shown for extra in extras.split(",")}
    assert named <= set(project["optional-dependencies"])


def test_extras_that_remedies_name_can_be_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = "\n".join(path.read_text("utf-8") for path in (ROOT / "mrcdist").rglob("*.py"))
    named = set(re.findall(r"""install_command\(["']([\w-]+)["']\)""", text))
    assert {"plot", "mrcz", "xarray"} <= named <= set(project["optional-dependencies"])
    assert re.findall(r"""pip install ["']?mrcdist\[""", text) == []
