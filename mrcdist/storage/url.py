"""Parsing of paths and URLs, including chained ones: file name, folder, siblings."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import quote, unquote

import psutil
from fsspec.core import split_protocol

_WEB = ("http", "https")

_BLOCK_CACHES = ("blockcache", "cached")
_WHOLE_FILE_CACHES = ("simplecache", "filecache")

# Options of a member of a chain that say what it is a member of.
_OF_THE_CHAIN = ("target_options", "target_protocol", "fo")

# Parameters behind a file's name, such as ;token=... (RFC 3986, section 3.3).
_PARAMETERS = re.compile(r"(?:;[^;/=]+=[^;/]*)+$")

# What a URL's path may hold besides letters, digits and _.-~ (RFC 3986).
_UNQUOTED = "!$&'()*+,;=:@"

# Truncating a mapped file kills the process (SIGBUS). On network filesystems this happens in normal
# use, and read() raises an error that can be caught.
_NETWORK = (
    "nfs", "lustre", "gpfs", "cifs", "smb", "beegfs", "ceph", "glusterfs", "afs", "panfs", "wekafs",
    "orangefs", "pvfs", "9p", "fuse",
)  # fmt: skip


def as_path(text: str) -> str | None:
    """Return the absolute path that a text stands for; None where it is the URL of a store.

    A ``::`` joins the members of a chained URL, and may be part of a file's name too: it is the
    latter where there is such a file or folder.
    """
    path = Path(text)
    if "::" in text and not path.is_absolute():
        # False, too, for what is too long for a name.
        there, folder = os.path.exists(path), os.path.exists(path.parent)  # noqa: PTH110
        if not there and not ("::" in str(path.parent) and folder):
            return None
    elif not is_path(text):
        return None
    else:
        protocol, rest = split_protocol(text)
        # Not Path's: ./~ is a folder called so, and so is ~name where there is no such user.
        path = Path(os.path.expanduser(rest if protocol else text))  # noqa: PTH111
    return str(path.absolute())


def is_path(url: str) -> bool:
    """Whether a URL is of a file on a disk that this process mounts."""
    if "::" in url:
        return Path(url).is_absolute()
    return split_protocol(url)[0] in (None, "file", "local")


def is_upath(filename: object) -> TypeGuard[os.PathLike[str]]:
    """Whether it is a UPath: a URL with storage options, which need not be a PathLike."""
    return all(hasattr(filename, name) for name in ("protocol", "path", "storage_options"))


def is_filename(value: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a value is the name of a file: a str, a Path or a UPath."""
    return isinstance(value, str | os.PathLike) or is_upath(value)


def text_of(filename: str | os.PathLike[str]) -> str:
    """Return the path or URL of a str, a Path, a UPath or an entry of `os.scandir`."""
    return str(filename) if is_upath(filename) else os.fsdecode(filename)


def upath_options(path: Any) -> Mapping[str, Any]:
    """Return the storage options of a UPath, in the form that fsspec takes them in.

    Those of a chained one are those of its outer filesystem, with all others nested in them; fsspec
    wants them by protocol, and finds out itself what follows from the URL.
    """
    options: Mapping[str, Any] = path.storage_options
    members = chain(str(path))
    if len(members) == 1:
        return options
    by_protocol: dict[str, Any] = {}
    for member in members:
        own = {key: value for key, value in options.items() if key not in _OF_THE_CHAIN}
        if own:
            by_protocol[split_protocol(member)[0] or "file"] = own
        options = options.get("target_options") or {}
    return by_protocol


def chain(url: str) -> list[str]:
    """Return the members of a chained URL; a path is its only one."""
    return [url] if is_path(url) else url.split("::")


def without_unsafe_caches(url: str) -> tuple[str, tuple[str, ...]]:
    """Return a URL without the caches that keep old bytes, and the names of these caches.

    They are fsspec's caches of blocks, and its whole copies of the archive in which a file is: it
    keeps them whatever becomes of the file. Copies of the file itself are those of `layers`.
    """
    kept: list[str] = []
    dropped: list[str] = []
    for part in chain(url):
        name = part.partition("://")[0]
        if name in _BLOCK_CACHES or (name in _WHOLE_FILE_CACHES and kept):
            dropped.append(name)
        else:
            kept.append(part)
    return ("::".join(kept), tuple(dropped)) if any(kept) and dropped else (url, ())


def lies_in(file: Path, folder: Path) -> bool:
    """Whether a file is in a folder, however deep, be it through links or another mount of it."""
    if not folder.is_dir():
        return False
    return any(parent.exists() and folder.samefile(parent) for parent in file.resolve().parents)


@lru_cache(maxsize=256)
def on_network(path: str) -> bool:
    """Whether a path is on a network or user-space filesystem."""
    real = Path(path).resolve()
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    kind = next(
        (mounts[str(folder)] for folder in (real, *real.parents) if str(folder) in mounts), ""
    )
    return kind.startswith(_NETWORK)


def name_of(url: str) -> str:
    """Return the file's own name, the last part of its path; a web URL's without its %20."""
    main = _main(url)
    return _plain(main, _cut(main)[1])


def listed_name(url: str, path: str) -> str:
    """Return a file's own name, of its path in a listing of the folder of `url`."""
    return _plain(_main(url), path.rstrip("/").rsplit("/", 1)[-1])


def folder_on_the_web(url: str) -> str | None:
    """Return a web URL without the file's name and its query; None for any other path."""
    return _cut(url)[0] if _is_web(url) else None


def url_beside(url: str, name: str) -> str:
    """Return the URL of the file with that name in the folder of `url`."""
    main = _main(url)
    folder, _, query = _cut(main)
    if _is_web(main) and not _stays_quoted(name):
        name = quote(name, safe=_UNQUOTED)
    return url.replace(main, f"{folder}{name}{query}", 1)


def _main(url: str) -> str:
    """The member of a chain that holds the file's path: the first one with a path."""
    parts = chain(url)
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
        if parameters := _PARAMETERS.search(path):  # such as ;token=, which is no part of the name
            path, query = path[: parameters.start()], parameters.group() + query
    else:  # ? and # are part of a name, but for S3's version, which no other file has
        path, _, _ = path.partition("?versionId=")
    folder, slash, name = path.rpartition("/")
    return f"{scheme}{mark}{folder}{slash}", name, query
