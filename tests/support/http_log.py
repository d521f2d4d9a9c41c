"""A reverse proxy that records requests, counts bytes, and injects faults into responses.

Counting at the network level measures the true cost of a reader. The client's Host header is
forwarded unchanged, because S3 signatures cover it.
"""

from __future__ import annotations

import asyncio
import http
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tests.support.s3 import S3Server

# Hop-by-hop headers, which a proxy does not forward (RFC 9110, 7.6.1), and Expect, which is
# answered by the proxy.
_HOP_BY_HOP = {
    "connection",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}

_WITHIN_BODY = {"reset", "truncate", "short", "stall"}


@dataclass
class Exchange:
    """A request and its response.

    It is recorded as soon as the request arrives. `status`, `body_bytes` and `complete` (whether
    the whole body was sent) are updated before the client receives the bytes they describe, so
    they are up to date for a client that has read the body.
    """

    method: str
    path: str
    query: str
    range: str | None
    if_match: str | None
    request_payer: str | None = None
    status: int | None = None
    body_bytes: int = 0
    complete: bool = False


@dataclass(frozen=True)
class Fault:
    """A fault to inject into one response.

    Parameters
    ----------
    kind : str
        "status": respond with `status` and an S3 error body, without asking the server.
        "reset": reset the connection (RST).
        "truncate": close the connection before the Content-Length is reached.
        "short": shorten the body, with a Content-Length to match, like a misbehaving server.
        "stall": send nothing for `seconds`, or until `until` returns True, then continue.
        "ignore_range": respond with status 200 and the whole object.
    after : int, default 0
        Body bytes sent before a reset, truncation, short end or stall; 0 means before the status
        line (for "short": an empty body). Without effect if the body is shorter.
    status : int, default 503
        HTTP status of a "status" fault.
    seconds : float, default 0
        Duration of a "stall".
    until : callable, optional
        Condition that ends a "stall" before the status line. Stalls that ended without it are
        listed in `CountingProxy.overdue`.
    """

    kind: Literal["status", "reset", "truncate", "short", "stall", "ignore_range"]
    after: int = 0
    status: int = 503
    seconds: float = 0.0
    until: Callable[[], bool] | None = None


def first(times: int, fault: Fault, *, method: str = "GET") -> Callable[[Exchange], Fault | None]:
    """Return a `respond` hook that injects a fault into the first `times` requests of `method`."""
    remaining = times

    def respond(exchange: Exchange) -> Fault | None:
        nonlocal remaining
        if exchange.method != method or remaining == 0:
            return None
        remaining -= 1
        return fault

    return respond


class CountingProxy:
    """A reverse proxy on 127.0.0.1, which runs in a thread within a `with` block.

    Parameters
    ----------
    upstream : S3Server or str
        Server to forward to; a str is the `http://host:port` of one without signatures.
    respond : callable, optional
        Called in the proxy's thread with each request as it arrives; returns None or the `Fault`
        to inject. Can be changed later: `proxy.respond = first(2, Fault("reset"))`.
    """

    def __init__(
        self,
        upstream: S3Server | str,
        respond: Callable[[Exchange], Fault | None] | None = None,
    ) -> None:
        self.respond = respond
        self.endpoint = ""
        self.overdue: list[Exchange] = []
        self._upstream = upstream
        self._target = upstream if isinstance(upstream, str) else upstream.endpoint
        self._exchanges: list[Exchange] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    @property
    def server(self) -> S3Server:
        """The S3 server as reached through the proxy."""
        if isinstance(self._upstream, str):
            raise TypeError(f"{self._upstream} is not an S3Server")
        return self._upstream.reached_at(self.endpoint)

    @property
    def requests(self) -> list[Exchange]:
        """The exchanges so far, oldest first."""
        return list(self._exchanges)

    def clear(self) -> None:
        """Forget the exchanges so far."""
        self._exchanges.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(timeout=30)
        except BaseException:
            self._end_thread()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(timeout=30)
        finally:
            self._end_thread()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=["Accept", "Accept-Encoding", "Content-Type", "User-Agent"],
        )
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.endpoint = f"http://{host}:{port}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        headers = request.headers
        exchange = Exchange(
            request.method,
            path,
            query,
            headers.get("Range"),
            headers.get("If-Match"),
            headers.get("x-amz-request-payer"),
        )
        self._exchanges.append(exchange)
        fault = self.respond(exchange) if self.respond else None
        if fault and fault.kind == "status":
            return await _answer_status(request, exchange, fault.status)
        if fault and fault.after == 0:
            if fault.kind == "stall":
                if await _is_overdue(fault):
                    self.overdue.append(exchange)
                fault = None
            elif fault.kind in {"reset", "truncate"}:
                return _hang_up(request, web.StreamResponse(), fault.kind)
        try:
            return await self._forward(request, exchange, fault)
        except (aiohttp.ClientError, ConnectionResetError):
            client_is_gone = request.transport is None or request.transport.is_closing()
            if exchange.status is None and not client_is_gone:
                return await _answer_status(request, exchange, http.HTTPStatus.BAD_GATEWAY)
            return _hang_up(request, web.StreamResponse(), "reset")

    async def _forward(
        self, request: web.BaseRequest, exchange: Exchange, fault: Fault | None
    ) -> web.StreamResponse:
        if _waits_to_write(request) and request.transport:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        url, headers = (
            URL(self._target + request.raw_path, encoded=True),
            _forwarded_headers(request),
        )
        if fault and fault.kind == "ignore_range":
            url, headers = self._whole_object(exchange, headers)
        async with self._session.request(
            request.method,
            url,
            headers=headers,
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(
                status=answer.status, reason=answer.reason, headers=_forwarded_headers(answer)
            )
            length = answer.content_length
            if fault and fault.kind == "short" and (length is None or length > fault.after):
                response.content_length = fault.after
            bodiless = request.method == "HEAD" or answer.status in {204, 304}
            whole = 0 if bodiless else answer.content_length
            exchange.status, exchange.complete = answer.status, whole == 0
            await response.prepare(request)
            async for piece in _pieces(answer.content.iter_any(), fault):
                if isinstance(piece, bytes):
                    exchange.body_bytes += len(piece)
                    exchange.complete = exchange.body_bytes == whole
                    await response.write(piece)
                elif piece.kind == "stall":
                    await asyncio.sleep(piece.seconds)
                elif piece.kind == "short":
                    return response
                else:
                    return _hang_up(request, response, piece.kind)
            exchange.complete = True
            await response.write_eof()
            return response

    def _whole_object(
        self, exchange: Exchange, headers: CIMultiDict[str]
    ) -> tuple[URL, CIMultiDict[str]]:
        """Return the client's request without its range, which is part of what is signed."""
        headers = CIMultiDict({"If-Match": exchange.if_match} if exchange.if_match else {})
        if isinstance(self._upstream, str):
            return URL(self._target + exchange.path, encoded=True), headers
        bucket, _, key = unquote(exchange.path).lstrip("/").partition("/")
        signed = self._upstream.client.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}
        )
        return URL(signed, encoded=True), headers


async def _is_overdue(stall: Fault) -> bool:
    """Wait for the end of a stall; return whether it ended without its condition."""
    if stall.until is None:
        await asyncio.sleep(stall.seconds)
        return False
    end = time.monotonic() + stall.seconds
    while not stall.until():
        if time.monotonic() > end:
            return True
        await asyncio.sleep(0.01)
    return False


async def _pieces(
    chunks: AsyncIterator[bytes], fault: Fault | None
) -> AsyncIterator[bytes | Fault]:
    """Yield the body in pieces, with the fault at its position."""
    passed = 0
    async for chunk in chunks:
        if fault and fault.kind in _WITHIN_BODY and passed <= fault.after < passed + len(chunk):
            cut = fault.after - passed
            yield chunk[:cut]
            yield fault
            yield chunk[cut:]
        else:
            yield chunk
        passed += len(chunk)


def _waits_to_write(request: web.BaseRequest) -> bool:
    """Return whether the client waits for 100 Continue before it sends the body."""
    return request.headers.get("Expect", "").lower() == "100-continue"


def _forwarded_headers(message: web.BaseRequest | aiohttp.ClientResponse) -> CIMultiDict[str]:
    listed = {name.strip().lower() for name in message.headers.get("Connection", "").split(",")}
    dropped = _HOP_BY_HOP | listed
    pairs: Iterable[tuple[str, str]] = message.headers.items()
    return CIMultiDict([(name, value) for name, value in pairs if name.lower() not in dropped])


async def _answer_status(
    request: web.BaseRequest, exchange: Exchange, status: int
) -> web.StreamResponse:
    code = {500: "InternalError", 502: "BadGateway", 503: "SlowDown"}.get(status, "TestFault")
    body = f"<Error><Code>{code}</Code><Message>Broken by the test.</Message></Error>".encode()
    if not _waits_to_write(request):
        async for _ in request.content.iter_any():
            pass  # a client that is still sending would get a reset instead of the response
    exchange.status = status
    exchange.body_bytes = 0 if request.method == "HEAD" else len(body)
    exchange.complete = True
    response = web.Response(status=status, body=body, content_type="application/xml")
    if _waits_to_write(request):
        response.force_close()  # the next request would be read as the body that was never sent
    return response


def _hang_up(
    request: web.BaseRequest, response: web.StreamResponse, kind: str
) -> web.StreamResponse:
    """Close the client's connection: with RST for a "reset", otherwise with FIN."""
    if request.transport is None:
        return response
    if kind == "truncate":
        request.transport.close()
        return response
    connection: socket.socket = request.transport.get_extra_info("socket")
    no_linger = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    request.transport.abort()
    return response
