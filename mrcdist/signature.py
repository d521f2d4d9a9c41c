"""Functions that have the signature of a dataclass with their arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, get_type_hints

_Parameters = ParamSpec("_Parameters")
_Arguments = TypeVar("_Arguments")
_Result = TypeVar("_Result")


def signature_of(
    kind: Callable[_Parameters, _Arguments],
) -> Callable[[Callable[[_Arguments], _Result]], Callable[_Parameters, _Result]]:
    """Give a function of a dataclass `kind` the parameters of that dataclass.

    Names, types and defaults of arguments that several functions share are then defined once.
    `help`, `inspect.signature`, Sphinx and type checkers show them as usual; editors that neither
    check types nor run the code, such as those that use Jedi, show the dataclass instead.
    """

    def decorate(
        function: Callable[[_Arguments], _Result],
    ) -> Callable[_Parameters, _Result]:
        returned = inspect.signature(function).return_annotation
        signature = inspect.signature(kind).replace(return_annotation=returned)

        @functools.wraps(function)
        def call(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            return function(kind(*args, **kwargs))

        shown: Any = call
        shown.__signature__ = signature
        shown.__annotations__ = get_type_hints(kind)
        shown.__annotations__["return"] = get_type_hints(function)["return"]
        return call

    return decorate
