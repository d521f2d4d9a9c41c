"""A URL with its storage options: filesystem, siblings, version, and what of it may be shown."""

from __future__ import annotations

import os
import posixpath
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from aiohttp import ClientTimeout
from fsspec.core import split_protocol, url_to_fs
from fsspec.implementations.http import HTTPFileSystem
from s3fs import S3FileSystem

from mrcdist.config import read_settings
from mrcdist.errors import ArgumentError, FileChangedError, MrcdistError, ReadError
from mrcdist.printable import printable
from mrcdist.storage import layers, redact, url
from mrcdist.storage.local_files import remove_folder
from mrcdist.storage.retry import retried
from mrcdist.storage.store_errors import as_transient, explain_failure
from mrcdist.storage.version import Version, local_version, remote_version

_Result = TypeVar("_Result")

_NO_NAME = {
    "argument": "filename",
    "cause": "tasks open the file themselves and need its name",
    "remedy": "pass a path or an fsspec URL",
}


@dataclass(frozen=True)
class Location:
    """Location of a file; picklable, and safe to show.

    `url` is an absolute local path or any fsspec URL, chained ones included; `storage_options` is
    what `fsspec.core.url_to_fs` is called with, and never shown. What asks the store raises
    `MissingFileError`, `AccessDeniedError` or `ReadError`.
    """

    url: str
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, filename: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None
    ) -> Location:
        """Take what a user passes: a str, a Path, a UPath or a URL; local paths become absolute."""
        given: Mapping[str, Any] = {}
        if url.is_upath(filename):
            filename, given = url.text_of(filename), url.upath_options(filename)
        if not isinstance(filename, str | os.PathLike):
            problem = f"filename is a {type(filename).__name__}"
            raise ArgumentError(problem, code="argument-type-invalid", **_NO_NAME)
        text = os.fsdecode(filename)
        if not text or "\0" in text:
            problem = "filename contains a NUL character" if text else "filename is empty"
            raise ArgumentError(problem, code="filename-invalid", **_NO_NAME)
        if storage_options is not None and not isinstance(storage_options, Mapping):
            raise ArgumentError(
                f"storage_options is a {type(storage_options).__name__}",
                code="argument-type-invalid",
                argument="storage_options",
                cause="fsspec takes options by name",
                remedy='pass a dict, such as {"anon": True}',
            )
        options = {**given, **(storage_options or {})}
        if (path := url.as_path(text)) is not None:
            return cls(path, options)
        safe, dropped = url.without_unsafe_caches(text)
        return cls(url.as_path(safe) or safe, _options_without(safe, dropped, options))

    def __repr__(self) -> str:
        return f"Location({self.shown!r})"

    @property
    def shown(self) -> str:
        """The URL without user, password and the values of its query."""
        return redact.redact(self.url)

    @property
    def identity(self) -> str:
        """Identifier of the file, without secrets: for naming data, not for display."""
        return redact.identity(self.url, self.storage_options)

    @property
    def name(self) -> str:
        """The file's own name, the last part of its path."""
        return url.name_of(self.url)

    def sibling(self, name: str) -> Location:
        """Return a file beside this one."""
        return replace(self, url=url.url_beside(self.url, name))

    def scrub(self, text: str) -> str:
        """Remove from a text whatever of the URL and the options must not be shown."""
        return redact.scrub(text, self.url, self.storage_options)

    def filesystem(self) -> tuple[Any, str]:
        """Return this process's filesystem for the URL, and the path on it.

        `ArgumentError` says that there is no such protocol, or that its package is not installed.
        """
        return self._opened()[:2]

    def _opened(self) -> tuple[Any, str, Version | None]:
        """The filesystem, the path, and for a member of an archive the version of the archive."""
        fs, path = self._resolved()
        below = None if self.is_local else layers.file_below(fs)
        archive = None if below is None else self.retried(lambda: layers.version_now(below))
        if archive is not None and not archive.kind and read_settings().consistency == "strict":
            raise ReadError(
                f"{self.shown}: the archive has no version",
                code="archive-unversioned",
                cause="the store reports only a size (no ETag, version ID or modification time): "
                "replacement by another archive could not be detected, and frames of both be mixed",
                remedy="copy the archive to a disk, or unpack it; to read it nevertheless, set "
                'mrcdist.consistency to "size"',
                where=here(self),
            )
        if archive is not None and not layers.opened(self.identity, archive):
            layers.forget(fs)
            fs, path = self._resolved()
        return fs, path, archive

    def _resolved(self) -> tuple[Any, str]:
        redact.remember_secrets(self.url, self.storage_options)
        redact.filter_logs()
        try:
            options = self._tuned_options()
            if self.is_local:  # whatever its name is made of
                fs = fsspec.filesystem("file", **options)
                return fs, fs._strip_protocol(self.url)
            fs, path = url_to_fs(self.url, **options)
            if isinstance(fs, HTTPFileSystem):
                fs.encode_url(path)  # fails where there is no host, or no such port
        except MrcdistError:  # of a setting, and says so
            raise
        except (ImportError, ValueError, TypeError) as error:
            raise ArgumentError(
                f"no filesystem for {self.shown}",
                code="filesystem-unavailable",
                cause=self.scrub(str(error)),
                remedy="check the URL's protocol and storage_options, and install the package "
                "for it, here and on the workers",
            ) from None
        except Exception as error:  # noqa: BLE001 a chain looks into its outer file here
            raise self.explained(error) from None
        if "::" not in self.url and isinstance(fs, S3FileSystem):
            fs.retries = 1  # of this instance, which our options tell from all others
        return fs, path

    @property
    def is_local(self) -> bool:
        """Whether the file is on a disk that this process mounts."""
        return url.is_path(self.url)

    def exists(self) -> bool:
        """Whether there is such a file."""
        fs, path = self.filesystem()
        return bool(self.retried(lambda: fs.exists(path)))

    def find_version(self, *, first: bool = False) -> Version:
        """Ask the store which version of the file it has now.

        Where that is the `first` that is asked of the store and nobody is there, it is said soon.
        """
        fs, path, archive = self._opened()
        if self.is_local:
            return local_version(self.retried(Path(path).stat))
        copied = layers.is_whole_file_cache(fs)

        def ask() -> Any:
            fs.invalidate_cache()  # a listing that it keeps may be older than the file
            # Some caches look for a file in the listing of its folder, which web servers lack.
            info = (fs.fs if copied else fs).info(path)
            if info.get("type") == "directory":
                raise IsADirectoryError("a folder is not a dataset")
            return info

        info = self.retried(ask, first_contact=first)
        version = remote_version(info).within(archive)
        if version.kind or not copied or read_settings().consistency != "strict":
            return version
        # Only its bytes tell this file from another one.
        named = fs, path, printable(self.name), self.identity
        return self.retried(lambda: layers.fresh_copy(*named))

    def size(self) -> int:
        """Bytes of the file as it is now."""
        fs, path = self.filesystem()
        fs.invalidate_cache()
        return self.retried(lambda: int(fs.size(path)))

    def retried(
        self, call: Callable[[], _Result], *, first_contact: bool = False, long: bool = False
    ) -> _Result:
        """Call until it works; see `mrcdist.storage.retry`."""
        told = read_settings(), self.shown, self.scrub
        try:
            return retried(call, *told, first_contact=first_contact, long=long)
        except MrcdistError as error:
            raise error.located(here(self)) from None

    def explained(
        self, error: Exception, start: int | None = None, stop: int | None = None
    ) -> MrcdistError:
        """Turn a store's error into ours, with the file, the byte range and the host."""
        return explain_failure(error, self.shown, self.scrub).located(here(self, start, stop))

    def local_copy(self, version: Version | None) -> Path | None:
        """Return this process's whole copy of one version, where the URL asks for such a cache.

        None is the version that the store has now; `FileChangedError`: it has another one.
        """
        fs, path = self.filesystem()
        if not layers.is_whole_file_cache(fs):
            return None
        wanted = version or self.find_version()

        def verify(copy: Path) -> None:
            is_copy = wanted.kind == "copy"
            found = layers.copy_version(copy) if is_copy else self.find_version()
            require_version(self, wanted, found)

        named = fs, path, printable(self.name), self.identity
        return self.retried(lambda: layers.whole_copy(*named, wanted, verify))

    def list_siblings(self) -> tuple[str, ...] | None:
        """Return the names of the files beside this one; None where the store cannot list.

        A store that fails is an error: a listing that is only late must not hide a sidecar.
        """

        def ask() -> tuple[str, ...] | None:
            try:
                return self._listing()
            except Exception as error:
                if as_transient(error):
                    raise
                return None  # not being able to list is an answer, whatever the reason

        listing = self.retried(ask, first_contact=True)
        # A web server's page that is no listing may have links too.
        return listing if listing is not None and self.name in listing else None

    def list_files(self) -> tuple[str, ...]:
        """Return the names of the files in the folder of this one, which need not exist."""
        return self.retried(lambda: self._listing(folders=False), first_contact=True)

    def _listing(self, *, folders: bool = True) -> tuple[str, ...]:
        """List the folder; a page may link to a file more than once."""
        fs, path = self.filesystem()
        fs.invalidate_cache()  # a listing that it keeps may be older than the files
        folder = url.folder_on_the_web(path) or fs._parent(path)
        return tuple(
            dict.fromkeys(
                url.listed_name(self.url, str(info["name"]))
                for info in fs.ls(folder, detail=True)
                if folders or info.get("type") != "directory"
            )
        )

    def _tuned_options(self) -> dict[str, Any]:
        """Give the store's client as many connections as we use, our patience, and no retries."""
        options = dict(self.storage_options)
        protocol = split_protocol(self.url)[0]
        if "::" in self.url or protocol not in ("s3", "s3a", "http", "https"):
            return options
        settings = read_settings()
        if protocol in ("http", "https"):
            # aiohttp's own limit, five minutes for all of an answer, would cut slow links.
            options.setdefault(
                "timeout", ClientTimeout(total=None, sock_connect=30, sock_read=settings.stall)
            )
            return options
        given = dict(options.get("config_kwargs") or {})
        pool = given.setdefault("max_pool_connections", max(10, settings.process_concurrency))
        if not isinstance(pool, int | None) or (pool or 0) < 0:  # botocore would wait for ever
            raise ArgumentError(
                f"max_pool_connections in storage_options is {pool!r}",
                code="storage-options-invalid",
                argument="storage_options",
                cause="a whole number of connections is needed",
                remedy='pass {"config_kwargs": {"max_pool_connections": 32}}, or leave it out',
            )
        given.setdefault("retries", {"total_max_attempts": 1, "mode": "standard"})
        given.setdefault("read_timeout", settings.stall)
        # botocore makes its own anew for each request, for a tenth of the time that one takes.
        given.setdefault("user_agent", "mrcdist")
        return {**options, "config_kwargs": given}


class StoreCalls:
    """Calls for the files of a folder by their names; "" is the folder, or the one file, itself."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._fs, self._path = location.filesystem()

    def _at(self, name: str) -> str:
        return posixpath.join(self._path, name) if name else self._path

    def exists(self, name: str = "") -> bool:
        """Return whether there is a file or folder, now."""
        self._fs.invalidate_cache()
        return bool(self._location.retried(lambda: self._fs.exists(self._at(name))))

    def names(self) -> list[str]:
        """Return the names directly in the folder, as they are now."""
        self._fs.invalidate_cache()
        found = self._location.retried(lambda: self._fs.ls(self._path, detail=False))
        return [posixpath.basename(path.rstrip("/")) for path in found]

    def sizes(self) -> dict[str, int]:
        """Return the bytes of all files below the folder, by their paths in it."""
        self._fs.invalidate_cache()
        found = self._location.retried(lambda: self._fs.find(self._path, detail=True))
        return {posixpath.relpath(path, self._path): info["size"] for path, info in found.items()}

    def read(self, name: str = "") -> bytes:
        """Return the bytes of a file."""
        return bytes(self._location.retried(lambda: self._fs.cat_file(self._at(name))))

    def put(self, name: str, content: bytes, *, new: bool = False) -> None:
        """Write a file; raise if it is `new` but there, also if an answer got lost."""
        how = {"mode": "create"} if new else {}
        self._location.retried(lambda: self._fs.pipe_file(self._at(name), content, **how))

    def copy(self, names: Iterable[str], target: StoreCalls) -> None:
        """Let the store copy files to another folder of it."""
        pairs = [(self._at(name), target._at(name)) for name in names]
        if pairs:
            self._location.retried(lambda: self._fs.copy(*map(list, zip(*pairs, strict=True))))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            self._location.retried(lambda: self._fs.rm_file(self._at(name)))

    def remove_all(self) -> None:
        """Remove the folder with all that is in it, if it is there."""
        with suppress(FileNotFoundError):
            if not self._location.is_local:
                self._location.retried(lambda: self._fs.rm(self._path, recursive=True))
                return
            remove_folder(Path(self._path))


def _options_without(
    left: str, dropped: tuple[str, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """Return the storage options of what is left of a chain; fsspec groups them by protocol."""
    if not dropped:
        return options
    members = url.chain(left)
    if len(members) > 1:
        return {key: value for key, value in options.items() if key not in dropped}
    own = options.get(split_protocol(members[0])[0] or "file") or {}
    return {**(options.get("target_options") or {}), **own}


def here(location: Location, start: int | None = None, stop: int | None = None) -> str:
    """Describe where something happened: redacted URL, byte range, host."""
    span = "" if start is None or stop is None else f", bytes {start}-{stop - 1}"
    return f"{location.shown}{span}, host {socket.gethostname()} (pid {os.getpid()})"


def changed(location: Location, planned: Version, found: object) -> FileChangedError:
    """Build the error for a file that is not the planned one."""
    return FileChangedError(
        f"{location.shown} changed since it was planned: it had {planned}, it has {found}",
        cause="the file was written to, replaced or truncated after reading was planned",
    )


def require_version(
    location: Location, planned: Version, found: Version, consistency: str = "strict"
) -> None:
    """Raise `FileChangedError` unless a file is the planned version, as far as that must hold."""
    if found.required(consistency) != planned.required(consistency):
        raise changed(location, planned, found).located(here(location))
