"""A URL with its storage options: filesystem, siblings, version, and the redacted URL."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
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
from mrcdist.storage.retry import as_transient, retried
from mrcdist.storage.store_errors import explain_failure
from mrcdist.storage.version import Version, local_version, remote_version

_Result = TypeVar("_Result")

_FILENAME_NEEDED = {
    "cause": "tasks open the file themselves and need its name",
    "remedy": "pass a path or an fsspec URL",
}


@dataclass(frozen=True)
class Location:
    """Location of a file; picklable, and its `repr` contains no secrets.

    `url` is an absolute local path or any fsspec URL, including chained ones; `storage_options` are
    the arguments of `fsspec.core.url_to_fs`. Methods that contact the store raise
    `MissingFileError`, `AccessDeniedError` or `ReadError`. `argument` is the caller's name for the
    file, for errors.
    """

    url: str
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    argument: str = field(default="filename", repr=False, compare=False)

    @classmethod
    def of(
        cls,
        filename: str | os.PathLike[str],
        storage_options: Mapping[str, Any] | None = None,
        argument: str = "filename",
    ) -> Location:
        """Return the location of a str, a Path, a UPath or a URL; local paths become absolute."""
        upath_options: Mapping[str, Any] = {}
        if url.is_upath(filename):
            filename, upath_options = url.text_of(filename), url.upath_options(filename)
        if not isinstance(filename, str | os.PathLike):
            raise ArgumentError(
                f"`{argument}` is a {type(filename).__name__}",
                code="argument-type-invalid",
                argument=argument,
                **_FILENAME_NEEDED,
            )
        text = os.fsdecode(filename)
        if not text or "\0" in text:
            raise ArgumentError(
                f"`{argument}` {'contains a NUL character' if text else 'is empty'}",
                code="filename-invalid",
                argument=argument,
                **_FILENAME_NEEDED,
            )
        if storage_options is not None and not isinstance(storage_options, Mapping):
            raise ArgumentError(
                f"`storage_options` is a {type(storage_options).__name__}",
                code="argument-type-invalid",
                argument="storage_options",
                cause="fsspec takes options by name",
                remedy='pass a dict, such as `storage_options={"anon": True}`',
            )
        options = {**upath_options, **(storage_options or {})}
        if (path := url.as_path(text)) is not None:
            return cls(path, options, argument)
        safe, dropped = url.without_unsafe_caches(text)
        options = _options_without(safe, dropped, options)
        return cls(url.as_path(safe) or safe, options, argument)

    def __repr__(self) -> str:
        return f"Location({self.shown!r})"

    @property
    def shown(self) -> str:
        """The URL without user, password and the values of its query."""
        return redact.redact(self.url)

    @property
    def identity(self) -> str:
        """Secret-free key that identifies the file; used for tokens, not for display."""
        return redact.identity(self.url, self.storage_options)

    @property
    def name(self) -> str:
        """Name of the file, the last part of its path."""
        return url.name_of(self.url)

    def sibling(self, name: str) -> Location:
        """Return the location of another file in the same folder."""
        return replace(self, url=url.sibling_url(self.url, name))

    def scrub(self, text: str) -> str:
        """Remove the secrets of the URL and the options from a text."""
        return redact.scrub(text, self.url, self.storage_options)

    def filesystem(self) -> tuple[Any, str]:
        """Return the filesystem of this process for the URL, and the path on it.

        Raises
        ------
        ArgumentError
            The protocol is unknown, its package is not installed, or an option is invalid.
        """
        return self._opened()[:2]

    def _opened(self) -> tuple[Any, str, Version | None]:
        """Return the filesystem, the path, and the version of the archive, if any."""
        fs, path = self._resolved()
        file = None if self.is_local else layers.archive_file(fs)
        archive = None if file is None else self.retried(lambda: layers.archive_version(file))
        if archive is not None and not archive.kind and read_settings().consistency == "strict":
            raise ReadError(
                f"{self.shown}: the archive has no version",
                code="archive-unversioned",
                cause="the store reports only a size (no ETag, version ID or modification time): "
                "if another archive replaced it, this could not be detected, and frames of both "
                "could be mixed",
                remedy="copy the archive to a disk, or unpack it; to read it nevertheless, set "
                'mrcdist.consistency to "size"',
                where=here(self),
            )
        if archive is not None and not layers.note_opened(self.identity, archive):
            layers.close(fs)
            fs, path = self._resolved()
        return fs, path, archive

    def _resolved(self) -> tuple[Any, str]:
        redact.remember_secrets(self.url, self.storage_options)
        redact.filter_logs()
        try:
            options = self._tuned_options()
            if self.is_local:  # even if its name contains ::
                fs = fsspec.filesystem("file", **options)
                return fs, fs._strip_protocol(self.url)
            fs, path = url_to_fs(self.url, **options)
            if isinstance(fs, HTTPFileSystem):
                fs.encode_url(path)  # fails without a host or with an invalid port
        except MrcdistError:  # already explains itself
            raise
        except (ImportError, ValueError, TypeError) as error:
            raise ArgumentError(
                f"no filesystem for {self.shown}",
                code="filesystem-unavailable",
                argument="storage_options" if isinstance(error, TypeError) else self.argument,
                cause=self.scrub(str(error)),
                remedy="check the protocol of the URL and `storage_options`, and install the "
                "package for the protocol, here and on the workers",
            ) from None
        except Exception as error:  # noqa: BLE001 the outer file of a chain is opened here
            raise self.explained(error) from None
        if "::" not in self.url and isinstance(fs, S3FileSystem):
            fs.retries = 1  # shared only by locations with the same options
        return fs, path

    @property
    def is_local(self) -> bool:
        """Whether the file is on a mounted filesystem."""
        return url.is_path(self.url)

    def exists(self) -> bool:
        """Whether the file exists."""
        fs, path = self.filesystem()
        return bool(self.retried(lambda: fs.exists(path)))

    def find_version(self, *, first: bool = False) -> Version:
        """Return the current version of the file.

        `first`: fail quickly if the host, not contacted before, cannot be reached.
        """
        fs, path, archive = self._opened()
        if self.is_local:
            return local_version(self.retried(Path(path).stat))
        cached = layers.is_whole_file_cache(fs)

        def fetch_info() -> Any:
            fs.invalidate_cache()  # cached listings may be older than the file
            # Some caches look up a file in the listing of its folder, which web servers lack.
            info = (fs.fs if cached else fs).info(path)
            if info.get("type") == "directory":
                raise IsADirectoryError("a folder is not a dataset")
            return info

        info = self.retried(fetch_info, first_contact=first)
        version = remote_version(info).within(archive)
        if version.kind or not cached or read_settings().consistency != "strict":
            return version
        # Only the content identifies this version.
        copy_args = fs, path, printable(self.name), self.identity
        return self.retried(lambda: layers.fresh_copy(*copy_args))

    def retried(
        self, call: Callable[[], _Result], *, first_contact: bool = False, long: bool = False
    ) -> _Result:
        """Return the result of a call that contacts the store; see `mrcdist.storage.retry`."""
        return retried(call, self, read_settings(), first_contact=first_contact, long=long)

    def explained(
        self, error: BaseException, start: int | None = None, stop: int | None = None
    ) -> MrcdistError:
        """Convert any exception to a `MrcdistError` with the file, the byte range and the host."""
        return explain_failure(error, self.shown, self.scrub).located(here(self, start, stop))

    def local_copy(self, version: Version | None) -> Path | None:
        """Return a local copy of one version, or None if the URL contains no whole-file cache.

        By default, of the current version. Raises `FileChangedError` if the store has another one.
        """
        fs, path = self.filesystem()
        if not layers.is_whole_file_cache(fs):
            return None
        required = version or self.find_version()

        def verify(copy: Path) -> None:
            by_content = required.kind == "copy"
            actual = layers.copy_version(copy) if by_content else self.find_version()
            require_version(self, required, actual)

        copy_args = fs, path, printable(self.name), self.identity, required, verify
        return self.retried(lambda: layers.whole_copy(*copy_args))

    def list_siblings(self) -> tuple[str, ...] | None:
        """Return the names in the folder of the file, or None if the store cannot list it.

        Transient failures are raised: a store that is briefly unavailable must not hide a sidecar.
        """

        def list_if_possible() -> tuple[str, ...] | None:
            try:
                return self._listing()
            except Exception as error:
                if as_transient(error):
                    raise
                return None

        listing = self.retried(list_if_possible, first_contact=True)
        # Pages of a web server that are not listings may contain links, too.
        return listing if listing is not None and self.name in listing else None

    def list_files(self) -> tuple[str, ...]:
        """Return the names of the files in the folder; this file need not exist."""
        return self.retried(lambda: self._listing(folders=False), first_contact=True)

    def _listing(self, *, folders: bool = True) -> tuple[str, ...]:
        """Return unique names, since a page may link to a file more than once."""
        fs, path = self.filesystem()
        fs.invalidate_cache()  # cached listings may be older than the files
        folder = url.web_folder(path) or fs._parent(path)
        return tuple(
            dict.fromkeys(
                url.listed_name(self.url, str(info["name"]))
                for info in fs.ls(folder, detail=True)
                if folders or info.get("type") != "directory"
            )
        )

    def _tuned_options(self) -> dict[str, Any]:
        """Set pool size, timeouts and retries of the store's client."""
        options = dict(self.storage_options)
        protocol = split_protocol(self.url)[0]
        if "::" in self.url or protocol not in ("s3", "s3a", "http", "https"):
            return options
        settings = read_settings()
        if protocol in ("http", "https"):
            # aiohttp's default, five minutes per response, is too short for slow connections.
            options.setdefault(
                "timeout", ClientTimeout(total=None, sock_connect=30, sock_read=settings.stall)
            )
            return options
        config = dict(options.get("config_kwargs") or {})
        pool = config.setdefault("max_pool_connections", max(10, settings.process_concurrency))
        if not isinstance(pool, int | None) or (pool or 0) < 0:  # botocore would wait forever
            raise ArgumentError(
                f"max_pool_connections in `storage_options` is {pool!r}",
                code="storage-options-invalid",
                argument="storage_options",
                cause="it must be a non-negative integer",
                remedy='pass `storage_options={"config_kwargs": {"max_pool_connections": 32}}`, or '
                "leave it out",
            )
        config.setdefault("retries", {"total_max_attempts": 1, "mode": "standard"})
        config.setdefault("read_timeout", settings.stall)
        # By default, botocore composes one for each request, which takes a tenth of its time.
        config.setdefault("user_agent", "mrcdist")
        return {**options, "config_kwargs": config}


def _options_without(
    remaining: str, dropped: tuple[str, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """Return the options of the remaining chain; fsspec groups them by protocol."""
    if not dropped:
        return options
    members = url.chain(remaining)
    if len(members) > 1:
        return {key: value for key, value in options.items() if key not in dropped}
    own = options.get(split_protocol(members[0])[0] or "file") or {}
    return {**(options.get("target_options") or {}), **own}


def here(location: Location, start: int | None = None, stop: int | None = None) -> str:
    """Describe where something happened: redacted URL, byte range, host."""
    span = "" if start is None or stop is None else f", bytes {start}-{stop - 1}"
    return f"{location.shown}{span}, host {socket.gethostname()} (pid {os.getpid()})"


def changed(location: Location, planned: Version, actual: object) -> FileChangedError:
    """Return the error for a file that is not in the planned version."""
    return FileChangedError(
        f"{location.shown} changed since it was planned: it had {planned}, it has {actual}",
        cause="the file was written to, replaced or truncated after reading was planned",
    )


def require_version(
    location: Location, planned: Version, actual: Version, consistency: str = "strict"
) -> None:
    """Raise `FileChangedError` unless the file is in the planned version."""
    if actual.required(consistency) != planned.required(consistency):
        raise changed(location, planned, actual).located(here(location))
