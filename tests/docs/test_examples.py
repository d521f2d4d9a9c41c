"""What the documentation shows runs: docstrings, pages, and the commands in them."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import shlex

import click
import pytest

import mrcdist
from mrcdist.cli import main
from tests.docs.pages import PAGES, Block, all_blocks, blocks

# Modules that cannot be imported beside zarr 2; tests/zarr3 runs what needs zarr 3.
WITH_ZARR_3 = {"mrcdist.xarray_api", "mrcdist.interop.zarr_store"}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def docstrings() -> dict[str, doctest.DocTest]:
    """Find the docstrings of mrcdist that have examples."""
    found = {}
    for module in pkgutil.walk_packages(mrcdist.__path__, "mrcdist."):
        if module.name.endswith(".__main__") or module.name in WITH_ZARR_3:
            continue
        for test in doctest.DocTestFinder().find(importlib.import_module(module.name)):
            if test.examples:
                found[test.name] = test
    return found


def examples(path) -> doctest.DocTest:
    """Take the examples of a page together, as a reader would type them one after the other."""
    code = "\n".join(block.code for block in blocks(path, "pycon"))
    return doctest.DocTestParser().get_doctest(code, {}, path.stem, str(path), 0)


def run(test: doctest.DocTest) -> None:
    """Run examples; what differs from what they promise is the failure."""
    for example in test.examples:
        for package in imported(example.source):
            pytest.importorskip(package, minversion="3" if package == "zarr" else None)
    told: list[str] = []
    result = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(test, out=told.append)
    assert result.failed == 0, "".join(told)


def imported(source: str) -> list[str]:
    """Name the packages that a piece of code imports."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
    return found


DOCSTRINGS = docstrings()
WITH_EXAMPLES = {page: path for page, path in PAGES.items() if blocks(path, "pycon")}
PYTHON = all_blocks("python")
SHELL = all_blocks("sh")


@pytest.fixture
def _somewhere_else(tmp_path, monkeypatch):
    """Examples write into a folder of their own, open no windows, and leave HyperSpy as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    if not importlib.util.find_spec("rsciio"):
        yield
        return
    formats = importlib.import_module("rsciio").IO_PLUGINS
    before = list(formats)
    yield
    formats[:] = before  # HyperSpy may hold on to this very list


@pytest.mark.usefixtures("_somewhere_else")
@pytest.mark.filterwarnings("ignore::hyperspy.exceptions.VisibleDeprecationWarning")
@pytest.mark.filterwarnings("ignore:the figure has no window:mrcdist.MrcdistWarning")
@pytest.mark.filterwarnings("ignore:.*a sidecar cannot store offsets:mrcdist.MrcdistWarning")
class TestExamples:
    @pytest.mark.parametrize("name", DOCSTRINGS)
    def test_examples_of_docstrings_run(self, name):
        run(DOCSTRINGS[name])

    @pytest.mark.parametrize("page", WITH_EXAMPLES)
    def test_examples_of_pages_run(self, page):
        run(examples(WITH_EXAMPLES[page]))

    def test_no_example_is_skipped_for_good(self):
        skipped = [
            f"{name}: {example.source}"
            for name, test in DOCSTRINGS.items()
            for example in test.examples
            if doctest.SKIP in example.options
        ]
        assert skipped == []

    def test_the_main_functions_and_the_tutorial_have_examples(self):
        assert {"mrcdist.api.read_mrc", "mrcdist.api.plan_mrc"} <= set(DOCSTRINGS)
        assert "docs/tutorial.md" in WITH_EXAMPLES


PUBLIC = {
    name: inspect.signature(getattr(mrcdist, name)).parameters
    for name in ("browse", "file_reader", "plan_mrc", "read_mrc", "register_hyperspy")
}


def called(node: ast.Call) -> str:
    """The last part of the name that is called."""
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


@pytest.mark.parametrize("block", PYTHON, ids=str)
class TestPython:
    """Blocks that need a cluster or a bucket do not run here. What they name must be there."""

    def test_blocks_of_python_parse(self, block: Block):
        ast.parse(block.code)

    def test_blocks_of_python_import_what_there_is(self, block: Block):
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mrcdist"):
                module = importlib.import_module(node.module)
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert missing == []

    def test_blocks_of_python_pass_arguments_that_there_are(self, block: Block):
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "mrcdist":
                assert node.attr in mrcdist.__all__
            if isinstance(node, ast.Call) and called(node) in PUBLIC:
                given = {keyword.arg for keyword in node.keywords}
                assert given <= set(PUBLIC[called(node)])
            # HyperSpy passes on what it does not know itself.
            if isinstance(node, ast.Call) and called(node) in ("load", "load_with_reader"):
                given = {keyword.arg for keyword in node.keywords} - {"file_format", "signal_type"}
                assert given <= {*PUBLIC["file_reader"], *PUBLIC["read_mrc"]}


def commands(block: Block) -> list[list[str]]:
    """Take the calls of mrcdist out of a block of shell."""
    lines = block.code.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line for line in words if line and line[0] == "mrcdist"]


CALLS = [(block, words) for block in SHELL for words in commands(block)]


@pytest.mark.parametrize(("block", "words"), CALLS, ids=[f"{b}-{' '.join(w)}" for b, w in CALLS])
def test_commands_take_the_options_that_are_shown(block, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobqueue.yaml").touch()
    command = main.commands[words[1]]
    command.make_context(words[1], words[2:], parent=click.Context(main))


def test_the_help_of_the_command_itself_has_an_example():
    text = main.get_help(click.Context(main, info_name="mrcdist"))
    [_, example] = text.split("Example", 1)
    assert "mrcdist info " in example


@pytest.mark.parametrize("name", main.commands)
def test_the_page_names_every_command(name):
    assert f"`{name}" in PAGES["docs/cli.md"].read_text("utf-8")
