"""A hash of a user's function, so that a pass is resumed only with the same version of it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def function_digest(function: Any) -> str:
    """Hash the code of a function, and of the functions that it refers to.

    `function` can be a method, a `functools.partial` or an object with ``__call__``. The hash
    covers functions of the same module, and functions of any module in a closure (such as a
    decorator's), in defaults, or in the arguments of a `functools.partial`. It does not cover other
    functions of other modules, classes, arrays, lists and other mutable objects.
    """
    digest = hashlib.sha256()
    pending = [function]
    seen: dict[int, Any] = {}  # keeps the objects alive, so that their ids stay unique
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen[id(each)] = each
        for part in _parts(each):
            if isinstance(part, str):
                digest.update(f"{len(part)}:{part}".encode())
            else:
                pending.append(part)
    return digest.hexdigest()


def _parts(function: Any) -> Iterator[Any]:
    """Yield texts that describe a function, and the functions that it refers to."""
    if isinstance(function, functools.partial):
        yield _text((function.args, tuple(function.keywords.items())))
        yield from _functions(*function.args, *function.keywords.values())
        yield function.func
    elif isinstance(function, MethodType):
        yield function.__func__
    elif isinstance(function, FunctionType):
        yield from _code_texts(function.__code__)
        defaults, keywords = function.__defaults__ or (), function.__kwdefaults__ or {}
        yield _text((function.__defaults__, tuple(keywords.items())))
        variables = dict(_closure(function))
        yield from _functions(*defaults, *variables.values())
        yield from _functions(*keywords.values())
        for name in _global_names(function.__code__):
            if name in function.__globals__:
                variables.setdefault(name, function.__globals__[name])
        for name, value in sorted(variables.items()):
            yield f"{name}={_text(value)}"
            if isinstance(value, functools.partial) or (
                callable(value)
                and not isinstance(value, type)
                and getattr(value, "__module__", None) == function.__module__
            ):
                yield value
    elif isinstance(getattr(function, "py_func", None), FunctionType):  # compiled by numba
        yield function.py_func
    elif not isinstance(function, BuiltinFunctionType | type):
        yield from _functions(type(function).__call__)


def _functions(*values: Any) -> Iterator[Any]:
    kinds = (FunctionType, MethodType, functools.partial)
    return (value for value in values if isinstance(value, kinds))


def _closure(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def _global_names(code: CodeType) -> set[str]:
    """Return the names of globals, including those used by inner functions."""
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return set(code.co_names).union(*map(_global_names, inner))


def _code_texts(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield ",".join((*code.co_names, *code.co_varnames))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_texts(constant)
        else:
            yield _text(constant)


def _text(value: Any) -> str:
    """Return a constant as text, the same in every process; for mutable objects, their type."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    return type(value).__name__
