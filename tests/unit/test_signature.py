"""Functions with the signature of a dataclass."""

from __future__ import annotations

import inspect
import pickle
import typing
from dataclasses import dataclass, field

import pytest

import mrcdist
from mrcdist.signature import signature_of


@dataclass(frozen=True, kw_only=True)
class Shared:
    size: int = 3


@dataclass(frozen=True, kw_only=True)
class Arguments(Shared):
    url: str = field(kw_only=False)


@signature_of(Arguments)
def describe(arguments: Arguments) -> tuple[str, int]:
    """Describe a file."""
    return arguments.url, arguments.size


def test_function_is_called_with_the_fields_of_its_dataclass():
    assert describe("a") == describe(url="a") == ("a", 3)
    assert describe("a", size=4) == ("a", 4)


def test_signature_type_hints_and_docstring_are_shown():
    assert str(inspect.signature(describe)).replace("'", "") == (
        "(url: str, *, size: int = 3) -> tuple[str, int]"
    )
    assert typing.get_type_hints(describe) == {"url": str, "size": int, "return": tuple[str, int]}
    assert (describe.__name__, describe.__doc__) == ("describe", "Describe a file.")


@pytest.mark.parametrize(
    ("positional", "named", "message"),
    [
        ((), {}, r"describe\(\) missing a required argument: 'url'"),
        (("a",), {"length": 4}, r"describe\(\) got an unexpected keyword argument 'length'"),
        (("a", 4), {}, r"describe\(\) too many positional arguments"),
    ],
)
def test_wrong_arguments_are_refused_with_the_name_of_the_function(positional, named, message):
    with pytest.raises(TypeError, match=message):
        describe(*positional, **named)


def test_public_functions_can_be_pickled():
    for function in (mrcdist.read_mrc, mrcdist.plan_mrc):
        assert pickle.loads(pickle.dumps(function)) is function
