"""Import of optional packages."""

from __future__ import annotations

import ast
import sys

import pytest

from mrcdist.errors import MissingExtraError
from mrcdist.extras import import_optional
from tests.support.package_code import package_trees


def test_missing_package_is_an_error_with_purpose_and_remedy():
    with pytest.raises(MissingExtraError) as raised:
        import_optional("no_such_package.module", "it submits jobs", "install it", argument="queue")
    error = raised.value
    assert error.problem == "no-such-package is not installed here"
    assert (error.cause, error.remedy, error.argument) == ("it submits jobs", "install it", "queue")
    assert error.code == "package-missing"
    assert isinstance(error, ImportError)


def test_installed_module_is_returned():
    assert import_optional("sys", "", "") is sys


def test_one_function_translates_failed_imports():
    translating = {
        name
        for name, tree in package_trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and "ImportError" in ast.unparse(node.type or node)
        and "MissingExtraError" in ast.unparse(node)
    }
    assert translating == {"extras.py"}
