"""A hash of a user's function, so that a pass is resumed only with the same version of it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def function_digest(function: Any) -> str:
    """Hash the code of a function, and of the functions that it refers to.

    It may be a method, a `functools.partial` or an object with ``__call__``. Covered are functions
    of its own module and those that it was made with, wherever they are: in a closure (as of a
    decorator), as defaults, as arguments of a `functools.partial`. Not covered: other functions of
    other modules, classes, arrays, lists and other objects that can change.
    """
    digest = hashlib.sha256()
    left = [function]
    seen: dict[int, Any] = {}  # kept, or another object might get the same id
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen[id(each)] = each
        for part in _parts(each):
            if isinstance(part, str):
                digest.update(f"{len(part)}:{part}".encode())
            else:
                left.append(part)
    return digest.hexdigest()


def _parts(function: Any) -> Iterator[Any]:
    """Yield texts that describe a function, and functions that belong to it."""
    if isinstance(function, functools.partial):
        yield _value((function.args, tuple(function.keywords.items())))
        yield from _functions((*function.args, *function.keywords.values()))
        yield function.func
    elif isinstance(function, MethodType):
        yield function.__func__
    elif isinstance(function, FunctionType):
        yield from _code(function.__code__)
        yield _value((function.__defaults__, tuple((function.__kwdefaults__ or {}).items())))
        inside = dict(_closure(function))
        yield from _functions((*(function.__defaults__ or ()), *inside.values()))
        yield from _functions((function.__kwdefaults__ or {}).values())
        for name in sorted(_names(function.__code__)):
            if name in function.__globals__:
                inside.setdefault(name, function.__globals__[name])
        for name, value in sorted(inside.items()):
            yield f"{name}={_value(value)}"
            if isinstance(value, functools.partial) or (
                callable(value)
                and not isinstance(value, type)
                and getattr(value, "__module__", None) == function.__module__
            ):
                yield value
    elif isinstance(getattr(function, "py_func", None), FunctionType):  # compiled by numba
        yield function.py_func
    elif not isinstance(function, BuiltinFunctionType | type):
        called = type(function).__call__
        if isinstance(called, FunctionType):
            yield called


def _functions(values: Iterable[Any]) -> Iterator[Any]:
    kinds = (FunctionType, MethodType, functools.partial)
    return (value for value in values if isinstance(value, kinds))


def _closure(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def _names(code: CodeType) -> set[str]:
    """Names of globals, also those that functions within the function use."""
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _code(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield ",".join((*code.co_names, *code.co_varnames))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        else:
            yield _value(constant)


def _value(value: Any) -> str:
    """A constant as text, the same in every process; the type alone of what may change."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_value, value))})"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_value, value)))}}}"
    return type(value).__name__
