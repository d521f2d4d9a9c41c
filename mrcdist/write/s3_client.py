"""Requests to S3 from any number of threads, with the options and credentials of s3fs.

They are sent by botocore's own client: s3fs sends all from one event loop, where parts wait while
one is signed.
"""

from __future__ import annotations

import contextvars
import io
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import AbstractContextManager, nullcontext, suppress
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

from botocore.config import Config
from botocore.credentials import Credentials
from botocore.session import Session
from fsspec.asyn import sync
from fsspec.utils import tokenize
from s3fs import S3FileSystem

from mrcdist.errors import MrcdistError
from mrcdist.storage.event_loop import POLL_SECONDS, has_ended
from mrcdist.storage.location import Location
from mrcdist.storage.retry import stop_retries
from mrcdist.storage.store_errors import explain_failure
from mrcdist.storage.transport.s3 import connection_limit
from mrcdist.system_calls import ForkSafeLock, run_after_fork
from mrcdist.write.errors import write_errors

# Seconds without an answer while a store copies, or puts 10,000 parts together.
_PATIENCE = 300.0
# Seconds for calls that are under way when they are interrupted.
TO_END = 1.0

_SLOW = ("complete_multipart_upload", "upload_part_copy")

# Options of aiobotocore's client that botocore's does not have.
_OF_LOOP = ("connector_args", "http_session_cls")

_Answer = TypeVar("_Answer")

_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def call(location: Location, method: str, **arguments: Any) -> Any:
    """Call S3 until it works, as `call_once` does; what goes wrong is an error of writing."""
    with write_errors(location):
        return location.retried(lambda: call_once(location, method, **arguments))


def call_once(location: Location, method: str, **arguments: Any) -> Any:
    """Call a method of botocore's client for an object, once; arguments of None are left out."""
    fs, path = location.filesystem()
    bucket, key, _ = fs.split_path(path)
    given = {"Bucket": bucket, "Key": key, **arguments}
    given = {name: value for name, value in given.items() if value is not None}
    if "Body" in given:
        given["Body"] = body = Body.of(given["Body"])
    patience = None
    if method in _SLOW:
        config = location.storage_options.get("config_kwargs") or {}
        patience = config.get("read_timeout", _PATIENCE)
    sender = _sender(fs, bucket, patience)
    fs, send = sender.fs, getattr(sender.client, method)
    try:
        with sender.connections:
            # As s3fs calls it: who pays, the key of an encrypted object, and what else was given.
            return send(**fs._get_s3_method_kwargs(send, fs.req_kw, **given))
    except Exception:
        if "Body" in given and body.failure:  # which botocore takes for one of the connection
            raise body.failure from None
        raise


def answer(location: Location, ask: Callable[[], _Answer], *, retry: bool) -> _Answer:
    """Ask a store; once, if what the question is about is tried again as a whole."""
    if retry:
        return location.retried(ask)
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 each store has its own errors
        raise explain_failure(error, location.shown, location.scrub) from None


def ignored_options(location: Location) -> tuple[str, ...]:
    """Say which of the options given are those of s3fs's own client alone."""
    given = location.filesystem()[0].config_kwargs
    return tuple(
        f"parts are sent without config_kwargs[{name!r}], which is for reading alone; "
        "client_kwargs (verify) and config_kwargs (proxies, client_cert) are for both"
        for name in _OF_LOOP
        if given.get(name)
    )


def run_together(
    location: Location, calls: Sequence[Callable[[], Any]], *, slots: int | None = None
) -> list[Any]:
    """Make calls in threads, so many at a time; after a failure, none that has not begun.

    An interrupt waits for none that takes long: they are not tried again, and do not keep the
    process from ending, as threads of a pool would. A thread of a pool that waits here, as one of
    dask's, is let go when Ctrl-C ends the program. Errors name the location.
    """
    failed = threading.Event()
    given: list[Future[Any]] = [Future() for _ in calls]
    waiting = deque(zip(given, calls, strict=True))

    def work() -> None:
        with suppress(IndexError):
            while True:
                made, call = waiting.popleft()
                try:
                    made.set_result(None if failed.is_set() else call())
                except BaseException as error:  # noqa: BLE001 it is raised where it is awaited
                    failed.set()
                    made.set_exception(error)

    with write_errors(location), stop_retries() as stop:
        try:
            for _ in range(len(calls) if slots is None else min(slots, len(calls))):
                context = contextvars.copy_context()
                threading.Thread(target=context.run, args=(work,), daemon=True).start()
            for made in given:
                while not wait([made], POLL_SECONDS).done:
                    if has_ended():
                        raise CancelledError
            return [made.result() for made in given]
        except BaseException:
            failed.set()
            if not all(made.done() for made in given):  # Ctrl-C comes here, in no call
                stop()
                wait(given, 0 if has_ended() else TO_END)
            raise


class Body(io.RawIOBase):
    """Body of a request, of which pieces are made as they are read: to be hashed, and to be sent.

    `between` returns a byte range of it, of `window` bytes at least where fewer are read, as they
    are when they are sent. Why a piece could not be made is its `failure`.
    """

    def __init__(
        self, nbytes: int, between: Callable[[int, int], memoryview], *, window: int = 0
    ) -> None:
        super().__init__()
        self.nbytes = nbytes
        self.failure: MrcdistError | None = None
        self._between = between
        self._at = 0
        self._window = window
        self._kept = (0, memoryview(b""))

    @classmethod
    def of(cls, content: bytes | memoryview | Body) -> Body:
        """Take what is there, without a copy of it, or a body from its start."""
        if isinstance(content, Body):
            content.seek(0)
            return content
        view = memoryview(content).cast("B")
        return cls(view.nbytes, lambda start, stop: view[start:stop])

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.nbytes}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int | None = -1) -> memoryview:
        """Return the next bytes, where they are if they are in memory."""
        rest = self.nbytes - self._at
        size = rest if size is None or size < 0 else max(min(size, rest), 0)
        try:
            piece = self._piece(self._at, self._at + size) if size else memoryview(b"")
        except MrcdistError as error:
            self.failure = error
            raise
        self._at += size
        return piece

    def _piece(self, start: int, stop: int) -> memoryview:
        if stop - start >= self._window:
            return self._between(start, stop)
        begin, kept = self._kept
        if not begin <= start < stop <= begin + len(kept):
            begin, kept = start, self._between(start, min(start + self._window, self.nbytes))
            self._kept = (begin, kept)
        return kept[start - begin : stop - begin]


class _Sender(NamedTuple):
    """The client of this process for a bucket, and the connections that it may use at a time."""

    fs: S3FileSystem  # which has made the client: another one with its options knows no session
    client: Any
    connections: AbstractContextManager[Any]


_senders: dict[object, _Sender] = {}
_one_at_a_time = ForkSafeLock()
run_after_fork(_senders.clear)  # whoever used their connections is not there


def _sender(fs: S3FileSystem, bucket: str, patience: float | None) -> _Sender:
    # By its options: fsspec may make an instance for each thread, or for each call.
    wanted = (tokenize(type(fs), *fs.storage_args, **fs.storage_options), bucket, patience)
    with _one_at_a_time:
        if wanted not in _senders:
            limit = connection_limit(fs)
            connections = threading.Semaphore(int(limit)) if limit < math.inf else nullcontext()
            _senders[wanted] = _Sender(fs, new_client(fs, bucket, patience), connections)
        return _senders[wanted]


def new_client(fs: S3FileSystem, bucket: str, patience: float | None = None) -> Any:
    """Return botocore's client, with the options, the region and the credentials of s3fs's own.

    `patience` are seconds without an answer that are no failure, instead of those of `fs`.
    """
    keys = dict(zip(_KEYS, (fs.key, fs.secret, fs.token), strict=True))
    given = {**fs.client_kwargs, **{name: key for name, key in keys.items() if key is not None}}
    if fs.anon:
        given = {name: value for name, value in given.items() if name not in _KEYS}
    # s3fs does not look for credentials, either: a lookup may fail, and would be in vain.
    known = fs.anon or given.get(_KEYS[0]) is not None

    async def connected() -> tuple[Any, Any]:
        await fs.set_session()
        own = await fs.get_s3(bucket)
        return own.meta, None if known else await fs.session.get_credentials()

    own, credentials = sync(fs.loop, connected)
    session = Session(profile=fs.session.profile)
    renewed = None if credentials is None else _Renewed(fs, credentials)
    provider = SimpleNamespace(load_credentials=lambda: renewed)
    session.register_component("credential_provider", provider)
    config = {name: getattr(own.config, name) for name in Config.OPTION_DEFAULTS}
    if not fs.anon and "signature_version" not in fs.config_kwargs:
        del config["signature_version"]  # the store's rules choose it, by bucket
    config["max_pool_connections"] = config["max_pool_connections"] or 0  # it fails with None
    if patience is not None:
        config["read_timeout"] = patience
    if "connect_timeout" not in fs.config_kwargs:
        # It is also how long a store may take to accept the next piece that is sent.
        config["connect_timeout"] = config["read_timeout"]
    options = {
        "region_name": own.region_name,
        "endpoint_url": fs.endpoint_url,
        "use_ssl": fs.use_ssl,
        **given,
    }
    client = session.create_client("s3", config=Config(**config), **options)
    client.meta.events.register_last("before-call.s3", _unasked)
    return client


def _unasked(params: dict[str, Any], **_: object) -> None:
    """Send a body at once: to ask first takes a round trip, and a second where nobody answers."""
    params["headers"].pop("Expect", None)


class _Renewed(Credentials):  # type: ignore[misc]  # botocore has no types
    """Credentials that s3fs has found, and renews in its own event loop."""

    def __init__(self, fs: S3FileSystem, found: Any) -> None:
        super().__init__("", "", method="s3fs")
        self._fs, self._found = fs, found

    def get_frozen_credentials(self) -> Any:
        return sync(self._fs.loop, self._found.get_frozen_credentials)
