"""The name of a file in a path or URL, chained ones included, and the URL of a file beside it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

__all__ = ["listed_name", "name_of", "url_beside"]

_WEB = ("http", "https")

# What a URL's path may hold besides letters, digits and _.-~ (RFC 3986).
_UNQUOTED = "!$&'()*+,;=:@"


def name_of(url: str) -> str:
    """Return the file's own name, the last part of its path; a web URL's without its %20."""
    main = _main(url)
    return _plain(main, _cut(main)[1])


def listed_name(url: str, path: str) -> str:
    """Return a file's own name, of its path in a listing of the folder of `url`."""
    return _plain(_main(url), path.rstrip("/").rsplit("/", 1)[-1])


def url_beside(url: str, name: str) -> str:
    """Return the URL of the file with that name in the folder of `url`."""
    main = _main(url)
    folder, _, query = _cut(main)
    if _is_web(main) and not _stays_quoted(name):
        name = quote(name, safe=_UNQUOTED)
    return url.replace(main, f"{folder}{name}{query}", 1)


def _main(url: str) -> str:
    """The member of a chain that holds the file's path: the first one with a path."""
    parts = url.split("::")
    return next((part for part in parts if "/" in part), parts[-1])


def _is_web(main: str) -> bool:
    return main.partition("://")[0] in _WEB


def _plain(main: str, name: str) -> str:
    return unquote(name) if _is_web(main) and not _stays_quoted(name) else name


def _stays_quoted(name: str) -> bool:
    """Whether a quoted name cannot be had otherwise: it has a slash, or bytes that are no UTF-8."""
    plain = unquote(name)
    return "/" in plain or "\N{REPLACEMENT CHARACTER}" in plain


def _cut(main: str) -> tuple[str, str, str]:
    """Cut a path or URL in all up to the file's name, the name, and a query where there is one."""
    scheme, mark, path = main.partition("://")
    if not mark:
        name = Path(main).name
        return main.removesuffix(name), name, ""
    query = ""
    if scheme in _WEB:
        path, _, _ = path.partition("#")
        path, question, query = path.partition("?")
        query = question + query
    else:  # ? and # are part of a name, but for S3's version, which no other file has
        path, _, _ = path.partition("?versionId=")
    folder, slash, name = path.rpartition("/")
    return f"{scheme}{mark}{folder}{slash}", name, query
