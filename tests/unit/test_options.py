"""The arguments of a read, and their defaults in the public functions."""

from __future__ import annotations

import ast
import inspect
import os
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import mrcdist
from mrcdist.errors import ArgumentError
from mrcdist.options import ReadOptions
from tests.support.package_code import package_trees

PACKAGE = Path(mrcdist.__file__).parent
# Pure functions, whose default None means that nothing is known, and writers of files.
OTHER_MEANING = ("format/", "plan/", "testing/", "validate/checks.py", "write_api.py")


@pytest.mark.parametrize("function", [mrcdist.read_mrc, mrcdist.plan_mrc])
@pytest.mark.parametrize("argument", fields(ReadOptions), ids=lambda argument: argument.name)
def test_public_function_has_every_read_option_with_the_same_default(function, argument):
    parameter = inspect.signature(function).parameters[argument.name]
    assert parameter.default == argument.default
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


def test_every_argument_of_read_mrc_is_documented():
    documented = re.findall(r"^(\w[\w, ]*) : ", inspect.getdoc(mrcdist.read_mrc), re.M)
    names = [name for line in documented for name in line.split(", ")]
    assert sorted(names) == sorted(inspect.signature(mrcdist.read_mrc).parameters)


def test_defaults_of_read_options_are_not_repeated():
    """Functions that do not take a whole `ReadOptions` refer to its defaults by name."""
    names = {argument.name for argument in fields(ReadOptions)}
    repeated = []
    for module, tree in package_trees().items():
        if module.startswith(OTHER_MEANING):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                repeated += [
                    f"{module}: {node.name}({name}={default})"
                    for name, default in defaults_of(node).items()
                    if name in names and default != f"ReadOptions.{name}"
                ]
    assert repeated == []


def test_each_read_option_is_interpreted_in_one_place():
    """The planner turns each option into an object or passes it to the one function that reads it.

    `validate` checks a header without a plan; `convert` passes its own `chunks` on.
    """
    names = {argument.name for argument in fields(ReadOptions)}
    read = [
        (module, node.attr)
        for module, tree in package_trees().items()
        if not module.startswith(("options.py", "convert_api.py", "cli/options.py", "validate/"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in names
        and ast.unparse(node.value) in ("options", "arguments")
    ]
    assert sorted(read) == [("planner.py", name) for name in sorted(names)]


def defaults_of(function):
    """Return the defaults of a function's parameters, as source text."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    with_default = positional[len(positional) - len(arguments.defaults) :]
    pairs = [*zip(with_default, arguments.defaults, strict=True)]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {name.arg: ast.unparse(value) for name, value in pairs if value is not None}


@pytest.mark.parametrize("argument", fields(ReadOptions), ids=lambda argument: argument.name)
def test_every_read_option_has_a_help_text_that_ends_with_a_full_stop(argument):
    assert argument.metadata["help"].endswith(".")


@pytest.mark.parametrize("endianness", ["big", "=", b"<", 1])
def test_invalid_byte_order_is_refused(endianness):
    with pytest.raises(ArgumentError) as caught:
        ReadOptions(endianness=endianness)
    assert (caught.value.code, caught.value.argument) == ("byte-order-invalid", "endianness")


def test_result_of_scandir_is_accepted_as_a_path(tmp_path):
    """`str` of an `os.DirEntry` is not a path."""
    (tmp_path / "a.rawtlt").touch()
    [entry] = os.scandir(tmp_path)
    assert ReadOptions(tilt_file=entry).command_line() == (f"--tilt-file={tmp_path / 'a.rawtlt'}",)


@pytest.mark.parametrize("shape", [(True, 6.0), {1: 1, 6: 6}, range(1, 7, 5), np.array([1, 6])])
def test_command_line_has_any_accepted_navigation_shape_as_integers(shape):
    assert ReadOptions(navigation_shape=shape).command_line() == ("--navigation-shape=1,6",)
