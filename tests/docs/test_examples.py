"""Examples in docstrings and pages run, and code blocks use existing names and options."""

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

# Modules that cannot be imported with zarr 2; tests/zarr3 runs their examples.
WITH_ZARR_3 = {"mrcdist.xarray_api", "mrcdist.interop.zarr_store"}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def docstrings() -> dict[str, doctest.DocTest]:
    """Return the docstrings of mrcdist that have examples, by name."""
    tests = {}
    for module in pkgutil.walk_packages(mrcdist.__path__, "mrcdist."):
        if module.name.endswith(".__main__") or module.name in WITH_ZARR_3:
            continue
        for test in doctest.DocTestFinder().find(importlib.import_module(module.name)):
            if test.examples:
                tests[test.name] = test
    return tests


def page_examples(path) -> doctest.DocTest:
    """Return all examples of a page as one test, since later ones use names of earlier ones."""
    code = "\n".join(block.code for block in blocks(path, "pycon"))
    return doctest.DocTestParser().get_doctest(code, {}, path.stem, str(path), 0)


def run(test: doctest.DocTest) -> None:
    """Run examples and compare their output."""
    for example in test.examples:
        for package in imported_packages(example.source):
            pytest.importorskip(package, minversion="3" if package == "zarr" else None)
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(test, out=report.append)
    assert result.failed == 0, "".join(report)


def imported_packages(source: str) -> list[str]:
    """Return the packages that a piece of code imports."""
    packages = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            packages += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            packages.append(node.module or "")
    return packages


DOCSTRINGS = docstrings()
WITH_EXAMPLES = {page: path for page, path in PAGES.items() if blocks(path, "pycon")}
PYTHON = all_blocks("python")
SHELL = all_blocks("sh")


@pytest.fixture
def _isolated(tmp_path, monkeypatch):
    """Run in a temporary folder, open no windows, and restore HyperSpy's list of formats."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    if not importlib.util.find_spec("rsciio"):
        yield
        return
    formats = importlib.import_module("rsciio").IO_PLUGINS
    before = list(formats)
    yield
    formats[:] = before  # in place: HyperSpy may refer to the same list


@pytest.mark.usefixtures("_isolated")
@pytest.mark.filterwarnings("ignore::hyperspy.exceptions.VisibleDeprecationWarning")
@pytest.mark.filterwarnings("ignore:browse.*has no window:mrcdist.MrcdistWarning")
@pytest.mark.filterwarnings("ignore:.*a sidecar cannot store offsets:mrcdist.MrcdistWarning")
class TestExamples:
    @pytest.mark.parametrize("name", DOCSTRINGS)
    def test_examples_of_a_docstring_give_the_output_shown(self, name):
        run(DOCSTRINGS[name])

    @pytest.mark.parametrize("page", WITH_EXAMPLES)
    def test_examples_of_a_page_give_the_output_shown(self, page):
        run(page_examples(WITH_EXAMPLES[page]))

    def test_no_example_in_a_docstring_has_a_skip_directive(self):
        skipped = [
            f"{name}: {example.source}"
            for name, test in DOCSTRINGS.items()
            for example in test.examples
            if doctest.SKIP in example.options
        ]
        assert skipped == []

    def test_main_functions_and_tutorial_have_examples(self):
        assert {"mrcdist.api.read_mrc", "mrcdist.api.plan_mrc"} <= set(DOCSTRINGS)
        assert "docs/tutorial.md" in WITH_EXAMPLES


PUBLIC = {
    name: inspect.signature(getattr(mrcdist, name)).parameters
    for name in ("browse", "file_reader", "plan_mrc", "read_mrc", "register_hyperspy")
}


def called_name(node: ast.Call) -> str:
    """Return the last part of the name of the function called."""
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


@pytest.mark.parametrize("block", PYTHON, ids=str)
class TestPython:
    """Code blocks that are not run, because they need a cluster or a bucket."""

    def test_python_block_can_be_parsed(self, block: Block):
        ast.parse(block.code)

    def test_python_block_imports_names_that_exist(self, block: Block):
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mrcdist"):
                module = importlib.import_module(node.module)
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert missing == []

    def test_python_block_passes_arguments_that_exist(self, block: Block):
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "mrcdist":
                assert node.attr in mrcdist.__all__
            if isinstance(node, ast.Call) and called_name(node) in PUBLIC:
                names = {keyword.arg for keyword in node.keywords}
                assert names <= set(PUBLIC[called_name(node)])
            # HyperSpy passes unknown arguments on to the reader.
            if isinstance(node, ast.Call) and called_name(node) in ("load", "load_with_reader"):
                names = {keyword.arg for keyword in node.keywords} - {"file_format", "signal_type"}
                assert names <= {*PUBLIC["file_reader"], *PUBLIC["read_mrc"]}


def commands(block: Block) -> list[list[str]]:
    """Return the arguments of each call of mrcdist in a shell block."""
    lines = block.code.replace("\\\n", " ").splitlines()
    arguments = [shlex.split(line, comments=True) for line in lines]
    return [line for line in arguments if line and line[0] == "mrcdist"]


CALLS = [(block, arguments) for block in SHELL for arguments in commands(block)]


@pytest.mark.parametrize(
    ("block", "arguments"), CALLS, ids=[f"{block}-{' '.join(a)}" for block, a in CALLS]
)
def test_command_in_the_documentation_has_valid_options(block, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobqueue.yaml").touch()
    command = main.commands[arguments[1]]
    command.make_context(arguments[1], arguments[2:], parent=click.Context(main))


def test_help_of_the_mrcdist_command_has_an_example():
    text = main.get_help(click.Context(main, info_name="mrcdist"))
    [_, example] = text.split("Example", 1)
    assert "mrcdist info " in example


@pytest.mark.parametrize("name", main.commands)
def test_cli_page_describes_every_command(name):
    assert f"`{name}" in PAGES["docs/cli.md"].read_text("utf-8")
