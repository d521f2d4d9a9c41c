"""Requests to S3 from any number of threads, with the options and credentials of s3fs.

They are sent with botocore: s3fs sends all requests from one event loop, where parts have to wait
while one of them is signed.
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
from typing import Any, NamedTuple

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
from mrcdist.storage.transport.s3 import connection_limit
from mrcdist.system_calls import ForkSafeLock, run_after_fork
from mrcdist.warning_notes import Note
from mrcdist.write.errors import write_errors

# Read timeout, in seconds, for requests that copy, or join up to 10,000 parts.
_SLOW_TIMEOUT = 300.0
# Seconds that an interrupt waits for requests in progress.
_GRACE_PERIOD = 1.0

_SLOW = ("complete_multipart_upload", "upload_part_copy")

# Options of aiobotocore's client that botocore's does not have.
_ASYNC_OPTIONS = ("connector_args", "http_session_cls")

_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def is_s3(location: Location) -> bool:
    """Return whether a location is in S3, where files are written as parts of one object."""
    return isinstance(location.filesystem()[0], S3FileSystem)


def call(location: Location, method: str, **arguments: Any) -> Any:
    """Call S3 as `call_once` does, with retries; failures are raised as errors of writing."""
    with write_errors(location):
        return location.retried(lambda: call_once(location, method, **arguments))


def call_once(location: Location, method: str, **arguments: Any) -> Any:
    """Call a method of botocore's client for an object; arguments that are None are omitted."""
    fs, path = location.filesystem()
    bucket, key, _ = fs.split_path(path)
    arguments = {"Bucket": bucket, "Key": key, **arguments}
    arguments = {name: value for name, value in arguments.items() if value is not None}
    if "Body" in arguments:
        arguments["Body"] = body = Body.of(arguments["Body"])
    timeout = None
    if method in _SLOW:
        config = location.storage_options.get("config_kwargs") or {}
        timeout = config.get("read_timeout", _SLOW_TIMEOUT)
    sender = _sender(fs, bucket, timeout)
    fs, send = sender.fs, getattr(sender.client, method)
    try:
        with sender.connections:
            # s3fs adds RequestPayer, encryption keys and s3_additional_kwargs.
            return send(**fs._get_s3_method_kwargs(send, fs.req_kw, **arguments))
    except Exception:
        if "Body" in arguments and body.failure:  # botocore reports it as a connection error
            raise body.failure from None
        raise


def ignored_options(location: Location) -> tuple[Note, ...]:
    """Return notes on options that only s3fs's own client supports."""
    config = location.filesystem()[0].config_kwargs
    text = (
        "parts are sent without config_kwargs[{!r}], which is only used for reading; "
        "client_kwargs (verify) and config_kwargs (proxies, client_cert) are used for both"
    )
    names = [name for name in _ASYNC_OPTIONS if config.get(name)]
    return tuple(Note("client-option-unused", text.format(name)) for name in names)


def run_together(
    location: Location, calls: Sequence[Callable[[], Any]], *, slots: int | None = None
) -> list[Any]:
    """Make calls in threads, at most `slots` at a time; after a failure, start no more.

    An interrupt does not wait for slow calls: they are not retried, and unlike the threads of a
    pool do not keep the process from ending. A thread of a pool that waits here, such as one of
    dask's, is released when Ctrl-C ends the program. Errors contain the location.
    """
    failed = threading.Event()
    futures: list[Future[Any]] = [Future() for _ in calls]
    queue = deque(zip(futures, calls, strict=True))

    def work() -> None:
        with suppress(IndexError):
            while True:
                future, call = queue.popleft()
                try:
                    future.set_result(None if failed.is_set() else call())
                except BaseException as error:  # noqa: BLE001 raised by result()
                    failed.set()
                    future.set_exception(error)

    with write_errors(location), stop_retries() as stop:
        try:
            for _ in range(len(calls) if slots is None else min(slots, len(calls))):
                context = contextvars.copy_context()
                threading.Thread(target=context.run, args=(work,), daemon=True).start()
            for future in futures:
                while not wait([future], POLL_SECONDS).done:
                    if has_ended():
                        raise CancelledError
            return [future.result() for future in futures]
        except BaseException:
            failed.set()
            if not all(future.done() for future in futures):  # Ctrl-C is raised here, in no call
                stop()
                wait(futures, 0 if has_ended() else _GRACE_PERIOD)
            raise


class Body(io.RawIOBase):
    """Body of a request whose pieces are created whenever they are read: to be hashed, and sent.

    `between` returns a byte range. If fewer than `window` bytes are read at a time, as when the
    body is sent, it is called for `window` bytes, and those not read yet are kept. An error that it
    raises is kept as `failure`.
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
        self._buffered = (0, memoryview(b""))

    @classmethod
    def of(cls, content: bytes | memoryview | Body) -> Body:
        """Wrap bytes without a copy, or rewind an existing body."""
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
        """Return the next bytes, without a copy if they are in memory."""
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
        begin, buffer = self._buffered
        if not begin <= start < stop <= begin + len(buffer):
            begin, buffer = start, self._between(start, min(start + self._window, self.nbytes))
            self._buffered = (begin, buffer)
        return buffer[start - begin : stop - begin]


class _Sender(NamedTuple):
    """The client of this process for a bucket, and a limit on its connections."""

    fs: S3FileSystem  # the client was created with the session of this instance
    client: Any
    connections: AbstractContextManager[Any]


_senders: dict[object, _Sender] = {}
_lock = ForkSafeLock()
run_after_fork(_senders.clear)  # connections cannot be shared with the parent


def _sender(fs: S3FileSystem, bucket: str, timeout: float | None) -> _Sender:
    # Found by its options: fsspec may create an instance for each thread, or for each call.
    key = (tokenize(type(fs), *fs.storage_args, **fs.storage_options), bucket, timeout)
    with _lock:
        if key not in _senders:
            limit = connection_limit(fs)
            connections = threading.Semaphore(int(limit)) if limit < math.inf else nullcontext()
            _senders[key] = _Sender(fs, new_client(fs, bucket, timeout), connections)
        return _senders[key]


def new_client(fs: S3FileSystem, bucket: str, timeout: float | None = None) -> Any:
    """Create a botocore client with the options, region and credentials of s3fs's own client.

    `timeout` is a read timeout in seconds, by default that of `fs`.
    """
    keys = dict(zip(_KEYS, (fs.key, fs.secret, fs.token), strict=True))
    options = {**fs.client_kwargs, **{name: key for name, key in keys.items() if key is not None}}
    if fs.anon:
        options = {name: value for name, value in options.items() if name not in _KEYS}
    # Like s3fs, do not look for credentials that are not needed: the lookup may fail.
    known = fs.anon or options.get(_KEYS[0]) is not None

    async def connect() -> tuple[Any, Any]:
        await fs.set_session()
        own = await fs.get_s3(bucket)
        return own.meta, None if known else await fs.session.get_credentials()

    own, credentials = sync(fs.loop, connect)
    session = Session(profile=fs.session.profile)
    renewed = None if credentials is None else _RenewedCredentials(fs, credentials)
    provider = SimpleNamespace(load_credentials=lambda: renewed)
    session.register_component("credential_provider", provider)
    config = {name: getattr(own.config, name) for name in Config.OPTION_DEFAULTS}
    if not fs.anon and "signature_version" not in fs.config_kwargs:
        del config["signature_version"]  # botocore chooses it for each bucket
    config["max_pool_connections"] = config["max_pool_connections"] or 0  # None is not allowed
    if timeout is not None:
        config["read_timeout"] = timeout
    if "connect_timeout" not in fs.config_kwargs:
        # It also limits how long a store may take to accept the next piece of a body.
        config["connect_timeout"] = config["read_timeout"]
    client = session.create_client(
        "s3",
        config=Config(**config),
        **{
            "region_name": own.region_name,
            "endpoint_url": fs.endpoint_url,
            "use_ssl": fs.use_ssl,
            **options,
        },
    )
    client.meta.events.register_last("before-call.s3", _send_body_at_once)
    return client


def _send_body_at_once(params: dict[str, Any], **_: object) -> None:
    """Do not wait for "100 Continue": it takes a round trip, or a second if it never comes."""
    params["headers"].pop("Expect", None)


class _RenewedCredentials(Credentials):  # type: ignore[misc]  # botocore has no types
    """Credentials that s3fs has found, and renews in its own event loop."""

    def __init__(self, fs: S3FileSystem, credentials: Any) -> None:
        super().__init__("", "", method="s3fs")
        self._fs, self._credentials = fs, credentials

    def get_frozen_credentials(self) -> Any:
        return sync(self._fs.loop, self._credentials.get_frozen_credentials)
