"""A URL with its storage options: filesystem, siblings, identity, and what of it may be shown."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import fsspec
from fsspec.core import split_protocol, url_to_fs
from fsspec.implementations.local import LocalFileSystem

from mrcdist.config import read_settings
from mrcdist.errors import ArgumentError, MissingFileError
from mrcdist.read.failures import explain_failure

__all__ = ["Identity", "Location", "here"]

_SECRET_KEY = re.compile(
    r"key|secret|token|password|passwd|passphrase|credential|sas|auth|cookie|signature", re.I
)


@dataclass(frozen=True)
class Identity:
    """Which version of a file was planned for.

    Attributes
    ----------
    size : int or None
        Bytes; None where the store does not say.
    kind : str
        What tells versions apart: "version_id", "etag", "mtime_ns", "modified" or "" (nothing but
        the size).
    version : str
        Its value.
    """

    size: int | None
    kind: str = ""
    version: str = ""

    def __str__(self) -> str:
        size = "unknown size" if self.size is None else f"{self.size} bytes"
        return f"{size}, {self.kind} {self.version}" if self.kind else size


@dataclass(frozen=True)
class Location:
    """Where a file is; picklable, and safe to show.

    Parameters
    ----------
    url : str
        An absolute local path or any fsspec URL, chained ones included.
    storage_options : mapping
        What `fsspec.core.url_to_fs` is called with. Never shown.
    """

    url: str
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, filename: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None
    ) -> Location:
        """Take what a user passes: a str, a Path or a URL; local paths become absolute."""
        if not isinstance(filename, str | os.PathLike):
            raise ArgumentError(
                f"filename is a {type(filename).__name__}",
                cause="tasks open the file themselves and need its name",
                remedy="pass a path or an fsspec URL",
            )
        url = os.fspath(filename)
        if not url:
            raise ArgumentError("filename is empty", remedy="pass a path or an fsspec URL")
        if "::" not in url:
            protocol, path = split_protocol(url)
            if protocol in (None, "file", "local"):
                url = str(Path(path).expanduser().absolute())
        return cls(url, dict(storage_options or {}))

    def __repr__(self) -> str:
        return f"Location({self.shown!r})"

    @property
    def shown(self) -> str:
        """The URL without user, password and the values of its query."""
        return "::".join(_redact(part) for part in self.url.split("::"))

    @property
    def name(self) -> str:
        """The file's own name, the last part of its path."""
        return (
            urlsplit(self._main).path.rsplit("/", 1)[-1]
            if "://" in self._main
            else Path(self._main).name
        )

    @property
    def _main(self) -> str:
        """The member of a chain that holds the file's path: the first one with a path."""
        parts = self.url.split("::")
        return next((part for part in parts if "/" in part), parts[-1])

    def sibling(self, name: str) -> Location:
        """Return a file beside this one."""
        main = self._main
        if "://" in main:
            parts = urlsplit(main)
            folder = parts.path.rpartition("/")[0]
            if parts.path.count("/"):
                other = urlunsplit(parts._replace(path=f"{folder}/{name}"))
            else:  # memory://file: the name stands where others have a host
                other = urlunsplit(parts._replace(netloc=name))
        else:
            other = str(Path(main).with_name(name))
        return replace(self, url=self.url.replace(main, other, 1))

    def scrub(self, text: str) -> str:
        """Remove from a text whatever of the URL and the options must not be shown."""
        text = text.replace(self.url, self.shown)
        for part in self.url.split("::"):
            for _, value in parse_qsl(urlsplit(part).query):
                text = text.replace(value, "***")
        for secret in _secrets(self.storage_options):
            text = text.replace(secret, "***")
        return text

    def filesystem(self) -> tuple[Any, str]:
        """Return this process's filesystem for the URL, and the path on it.

        Raises
        ------
        ArgumentError
            No such protocol, or its package is not installed.
        """
        try:
            fs, path = url_to_fs(self.url, **self._tuned_options())
        except (ImportError, ValueError, TypeError) as error:
            raise ArgumentError(
                f"no filesystem for {self.shown}",
                cause=self.scrub(str(error)),
                remedy="check the URL's protocol and storage_options, and install the package "
                "that serves it here "
                "and on the workers",
            ) from None
        return fs, path

    @property
    def is_local(self) -> bool:
        """Whether the file is on a disk that this process mounts."""
        return "::" not in self.url and split_protocol(self.url)[0] in (None, "file", "local")

    def identify(self) -> Identity:
        """Ask the store which version of the file it has now.

        Raises
        ------
        MissingFileError, AccessDeniedError, ReadError
        """
        try:
            if self.is_local:
                return local_identity(Path(self.filesystem()[1]).stat())
            fs, path = self.filesystem()
            # A listing that s3fs keeps may be older than the file.
            info = fs.info(path, refresh=True) if _is_s3(fs) else fs.info(path)
        except Exception as error:  # noqa: BLE001 each store has its own errors
            raise explain_failure(error, self.shown, self.scrub).located(here(self)) from None
        if info.get("type") == "directory":
            raise MissingFileError(
                f"{self.shown} is a folder",
                remedy="name the .mrc file in it",
                where=here(self),
            )
        return remote_identity(info)

    def read_head(self, size: int, start: int = 0) -> bytes:
        """Read up to `size` bytes from byte `start`, fewer where the file ends.

        Raises
        ------
        MissingFileError, AccessDeniedError, ReadError
        """
        try:
            fs, path = self.filesystem()
            if isinstance(fs, LocalFileSystem):
                with Path(path).open("rb") as file:
                    file.seek(start)
                    return file.read(size)
            raw: bytes = fs.cat_file(path, start=start, end=start + size)
        except Exception as error:  # noqa: BLE001 each store has its own errors
            raise explain_failure(error, self.shown, self.scrub).located(here(self)) from None
        # A server that ignores Range sends everything, from byte 0.
        return raw if len(raw) <= size else raw[start : start + size]

    def list_folder(self) -> dict[str, Identity | None] | None:
        """Names of the files beside this one; None where the store cannot list.

        With each name its identity, where a listing tells the same as asking for the file.
        """
        try:
            fs, path = self.filesystem()
            folder = fs._parent(path)
            # A listing that s3fs keeps may be older than the files.
            found = fs.ls(folder, detail=True, **({"refresh": True} if _is_s3(fs) else {}))
        except Exception:  # noqa: BLE001 not being able to list is an answer, whatever the reason
            return None
        return {
            str(info["name"]).rstrip("/").rsplit("/", 1)[-1]: (
                remote_identity(info) if _is_s3(fs) and info.get("ETag") else None
            )
            for info in found
        }

    def _tuned_options(self) -> dict[str, Any]:
        """Give s3fs as many connections as we use, and only one owner of retries: us."""
        options = dict(self.storage_options)
        if "::" in self.url or split_protocol(self.url)[0] not in ("s3", "s3a"):
            return options
        given = dict(options.get("config_kwargs") or {})
        given.setdefault("max_pool_connections", max(10, int(read_settings().process_concurrency)))
        given.setdefault("retries", {"total_max_attempts": 1, "mode": "standard"})
        return {**options, "config_kwargs": given}


def here(location: Location, start: int | None = None, stop: int | None = None) -> str:
    """Where something happened: redacted URL, byte range, host."""
    span = "" if start is None or stop is None else f", bytes {start}-{stop - 1}"
    return f"{location.shown}{span}, host {socket.gethostname()} (pid {os.getpid()})"


def local_identity(stat: os.stat_result) -> Identity:
    """Size and modification time of an open or named local file."""
    return Identity(stat.st_size, "mtime_ns", str(stat.st_mtime_ns))


def remote_identity(info: Mapping[str, Any]) -> Identity:
    """Find in fsspec's info what tells versions apart; the names differ between stores."""
    size = None if info.get("size") is None else int(info["size"])
    for kind, keys in (
        ("version_id", ("VersionId", "version_id")),
        ("etag", ("ETag", "etag", "e_tag")),
        (
            "modified",
            ("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "created"),
        ),
    ):
        for key in keys:
            # S3 without versioning says "null".
            if info.get(key) and info[key] != "null":
                return Identity(size, kind, str(info[key]))
    return Identity(size)


def _is_s3(fs: fsspec.AbstractFileSystem) -> bool:
    protocol = fs.protocol if isinstance(fs.protocol, tuple | list) else (fs.protocol,)
    return "s3" in protocol


def _redact(part: str) -> str:
    if "://" not in part:
        return part
    url = urlsplit(part)
    host = url.netloc.rpartition("@")[2]
    query = "&".join(f"{key}=***" for key, _ in parse_qsl(url.query, keep_blank_values=True))
    if url.query and not query:
        query = "***"
    return urlunsplit(url._replace(netloc=host, query=query, fragment=""))


def _secrets(options: Any, *, secret: bool = False) -> list[str]:
    """Every text in the options that stands under a name that suggests a secret; longest first."""
    found: list[str] = []
    if isinstance(options, Mapping):
        for key, value in options.items():
            found += _secrets(value, secret=secret or bool(_SECRET_KEY.search(str(key))))
    elif isinstance(options, list | tuple):
        for value in options:
            found += _secrets(value, secret=secret)
    elif secret and isinstance(options, str) and len(options) > 3:
        found.append(options)
    return sorted(found, key=len, reverse=True)
