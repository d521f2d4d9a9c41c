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

# Options of a member of a chain that refer to the next member.
_CHAIN_OPTIONS = ("target_options", "target_protocol", "fo")

# Parameters after a file's name, such as ;token=... (RFC 3986, section 3.3).
_PARAMETERS = re.compile(r"(?:;[^;/=]+=[^;/]*)+$")

# Characters allowed in the path of a URL besides letters, digits and _.-~ (RFC 3986).
_SAFE_IN_PATH = "!$&'()*+,;=:@"

# Truncating a mapped file kills the process (SIGBUS). On network filesystems this happens in normal
# use, and read() raises an error that can be caught.
_NETWORK = (
    "nfs", "lustre", "gpfs", "cifs", "smb", "beegfs", "ceph", "glusterfs", "afs", "panfs", "wekafs",
    "orangefs", "pvfs", "9p", "fuse",
)  # fmt: skip


def as_path(text: str) -> str | None:
    """Return the absolute path of a path or a ``file:`` URL, or None for the URL of a store.

    ``::`` joins the members of a chained URL, but may also be part of a file name; the latter is
    assumed if such a file or folder exists.
    """
    path = Path(text)
    if "::" in text and not path.is_absolute():
        # Unlike Path.exists, False for names that are too long.
        exists, in_folder = os.path.exists(path), os.path.exists(path.parent)  # noqa: PTH110
        if not exists and not ("::" in str(path.parent) and in_folder):
            return None
    elif not is_path(text):
        return None
    else:
        protocol, rest = split_protocol(text)
        # Unlike Path.expanduser, leaves ./~ alone, and ~name if there is no such user.
        path = Path(os.path.expanduser(rest if protocol else text))  # noqa: PTH111
    return str(path.absolute())


def is_path(url: str) -> bool:
    """Whether a URL refers to a file on a mounted filesystem."""
    if "::" in url:
        return Path(url).is_absolute()
    return split_protocol(url)[0] in (None, "file", "local")


def is_upath(filename: object) -> TypeGuard[os.PathLike[str]]:
    """Whether an object is a UPath: a URL with storage options, not necessarily a PathLike."""
    return all(hasattr(filename, name) for name in ("protocol", "path", "storage_options"))


def is_filename(value: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a value is a file name: a str, a Path or a UPath."""
    return isinstance(value, str | os.PathLike) or is_upath(value)


def text_of(filename: str | os.PathLike[str]) -> str:
    """Return the path or URL of a str, a Path, a UPath or an entry of `os.scandir`."""
    return str(filename) if is_upath(filename) else os.fsdecode(filename)


def upath_options(path: Any) -> Mapping[str, Any]:
    """Return the storage options of a UPath in the form that fsspec accepts.

    A chained UPath nests the options of inner filesystems in those of the outer one; fsspec groups
    them by protocol, and derives from the URL what the URL contains.
    """
    options: Mapping[str, Any] = path.storage_options
    members = chain(str(path))
    if len(members) == 1:
        return options
    by_protocol: dict[str, Any] = {}
    for member in members:
        own = {key: value for key, value in options.items() if key not in _CHAIN_OPTIONS}
        if own:
            by_protocol[split_protocol(member)[0] or "file"] = own
        options = options.get("target_options") or {}
    return by_protocol


def chain(url: str) -> list[str]:
    """Return the members of a chained URL; a path is a single member."""
    return [url] if is_path(url) else url.split("::")


def without_unsafe_caches(url: str) -> tuple[str, tuple[str, ...]]:
    """Return a URL without caches that may serve stale bytes, and the names of these caches.

    These are fsspec's block caches, and its caches of the archive that contains a file: they keep
    their content even if the file changes. Caches of the file itself are replaced in `layers`.
    """
    remaining: list[str] = []
    dropped: list[str] = []
    for part in chain(url):
        name = part.partition("://")[0]
        if name in _BLOCK_CACHES or (name in _WHOLE_FILE_CACHES and remaining):
            dropped.append(name)
        else:
            remaining.append(part)
    return ("::".join(remaining), tuple(dropped)) if any(remaining) and dropped else (url, ())


def lies_in(file: Path, folder: Path) -> bool:
    """Whether a file is in a folder or its subfolders, also through links or another mount."""
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
    """Return the file name, the last part of the path; unquoted if the URL is a web URL."""
    main = _main(url)
    return _unquoted(main, _split(main)[1])


def listed_name(url: str, path: str) -> str:
    """Return the file name of a path in a listing of the folder of `url`."""
    return _unquoted(_main(url), path.rstrip("/").rsplit("/", 1)[-1])


def web_folder(url: str) -> str | None:
    """Return a web URL without file name and query, or None for any other path."""
    return _split(url)[0] if is_web(url) else None


def sibling_url(url: str, name: str) -> str:
    """Return the URL of the file with this name in the folder of `url`."""
    main = _main(url)
    folder, _, query = _split(main)
    if is_web(main) and not _stays_quoted(name):
        name = quote(name, safe=_SAFE_IN_PATH)
    return url.replace(main, f"{folder}{name}{query}", 1)


def _main(url: str) -> str:
    """Return the member of a chain that contains the path of the file: the first with a path."""
    parts = chain(url)
    return next((part for part in parts if "/" in part), parts[-1])


def is_web(url: str) -> bool:
    """Whether a URL refers to a web server."""
    return url.partition("://")[0].lower() in _WEB


def _unquoted(main: str, name: str) -> str:
    return unquote(name) if is_web(main) and not _stays_quoted(name) else name


def _stays_quoted(name: str) -> bool:
    """Whether a quoted name must stay quoted: it contains a slash or bytes that are not UTF-8."""
    unquoted = unquote(name)
    return "/" in unquoted or "\N{REPLACEMENT CHARACTER}" in unquoted


def _split(main: str) -> tuple[str, str, str]:
    """Split a path or URL into folder, file name and query."""
    scheme, mark, path = main.partition("://")
    if not mark:
        name = Path(main).name
        return main.removesuffix(name), name, ""
    query = ""
    if is_web(main):
        path, _, _ = path.partition("#")
        path, question, query = path.partition("?")
        query = question + query
        if parameters := _PARAMETERS.search(path):
            path, query = path[: parameters.start()], parameters.group() + query
    else:  # ? and # are part of the name, except S3's versionId, which applies to one file
        path, _, _ = path.partition("?versionId=")
    folder, slash, name = path.rpartition("/")
    return f"{scheme}{mark}{folder}{slash}", name, query
