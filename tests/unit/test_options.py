"""The arguments of a read: the public functions have them with the same defaults."""

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
def test_public_functions_have_every_argument_with_its_default(function, argument):
    parameter = inspect.signature(function).parameters[argument.name]
    assert parameter.default == argument.default
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("argument", fields(ReadOptions), ids=lambda argument: argument.name)
def test_every_argument_has_a_sentence_of_help(argument):
    assert argument.metadata["help"].endswith(".")


@pytest.mark.parametrize("endianness", ["big", "=", b"<", 1])
def test_only_the_signs_of_a_byte_order_are_accepted(endianness):
    with pytest.raises(ArgumentError, match="endianness=") as caught:
        ReadOptions(endianness=endianness)
    assert (caught.value.code, caught.value.argument) == ("byte-order-invalid", "endianness")


def test_an_entry_of_a_folder_is_the_name_of_a_file(tmp_path):
    """`str` of what `os.scandir` returns is no path."""
    (tmp_path / "a.rawtlt").touch()
    [entry] = os.scandir(tmp_path)
    assert ReadOptions(tilt_file=entry).command_line() == (f"--tilt-file={tmp_path / 'a.rawtlt'}",)
