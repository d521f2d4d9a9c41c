"""The arguments of a read, and their defaults in the public functions."""

from __future__ import annotations

import inspect
import os
from dataclasses import fields

import pytest

import mrcdist
from mrcdist.errors import ArgumentError
from mrcdist.options import ReadOptions


@pytest.mark.parametrize("function", [mrcdist.read_mrc, mrcdist.plan_mrc])
@pytest.mark.parametrize("argument", fields(ReadOptions), ids=lambda argument: argument.name)
def test_public_function_has_every_read_option_with_the_same_default(function, argument):
    parameter = inspect.signature(function).parameters[argument.name]
    assert parameter.default == argument.default
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("argument", fields(ReadOptions), ids=lambda argument: argument.name)
def test_every_read_option_has_a_help_text_that_ends_with_a_full_stop(argument):
    assert argument.metadata["help"].endswith(".")


@pytest.mark.parametrize("endianness", ["big", "=", b"<", 1])
def test_invalid_byte_order_is_refused(endianness):
    with pytest.raises(ArgumentError, match="endianness=") as caught:
        ReadOptions(endianness=endianness)
    assert (caught.value.code, caught.value.argument) == ("byte-order-invalid", "endianness")


def test_result_of_scandir_is_accepted_as_a_path(tmp_path):
    """`str` of an `os.DirEntry` is not a path."""
    (tmp_path / "a.rawtlt").touch()
    [entry] = os.scandir(tmp_path)
    assert ReadOptions(tilt_file=entry).command_line() == (f"--tilt-file={tmp_path / 'a.rawtlt'}",)
