"""A TCP proxy that counts bytes and can stop forwarding them after a certain number.

So tests can interrupt a computation at an exact byte instead of a time: shut the gate, cause a
fault, open it again. The gate can also listen in a network namespace that cannot reach the server.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_PIECE = 2**18


class Gate:
    """Forwards connections of a listening socket to `server` (address, port).

    Attributes
    ----------
    address : tuple of str and int
        Address and port on which the gate listens.
    passed : int
        Bytes forwarded from the server to clients.
    """

    def __init__(self, listening: socket.socket, server: tuple[str, int]) -> None:
        self.address: tuple[str, int] = listening.getsockname()
        self.passed = 0
        self._listening = listening
        self._server = server
        self._limit: int | None = None
        self._change = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._closed = False

    def shut_after(self, more: int) -> None:
        """Forward `more` further bytes, then hold everything back until `open` is called."""
        with self._change:
            self._limit = self.passed + more

    def open(self) -> None:
        """Forward everything again."""
        with self._change:
            self._limit = None
            self._change.notify_all()

    @property
    def is_shut(self) -> bool:
        """Whether bytes are being held back."""
        return self._limit is not None and self.passed >= self._limit

    def serve(self) -> None:
        """Accept connections until `close`."""
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Stop listening and close all connections."""
        with self._change:
            self._closed = True
            self._change.notify_all()
            connections = list(self._connections)
        # shutdown wakes threads that wait in accept and recv; close does not
        for connection in (self._listening, *connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _relay(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._server) as server:
            pair = {client, server}
            with self._change:
                self._connections |= pair
            try:
                requests = threading.Thread(
                    target=self._copy, args=(client, server, lambda size: size), daemon=True
                )
                requests.start()
                self._copy(server, client, self._pass)
                requests.join()
            finally:
                with self._change:
                    self._connections -= pair

    def _copy(
        self, source: socket.socket, target: socket.socket, allowed: Callable[[int], int]
    ) -> None:
        try:
            with suppress(OSError):
                while piece := source.recv(_PIECE):
                    while piece:
                        if not (size := allowed(len(piece))):
                            return
                        target.sendall(piece[:size])
                        piece = piece[size:]
        finally:
            for end in (source, target):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _pass(self, size: int) -> int:
        """Wait until bytes may be forwarded; return how many of `size`, or 0 if closed."""
        with self._change:
            self._change.wait_for(lambda: self._closed or not self.is_shut)
            if self._closed:
                return 0
            if self._limit is not None:
                size = min(size, self._limit - self.passed)
            self.passed += size
        return size


@contextmanager
def gate(
    server: tuple[str, int], *, address: str = "127.0.0.1", namespace: str | None = None
) -> Iterator[Gate]:
    """Run a gate within the block.

    Parameters
    ----------
    server : tuple of str and int
        Address and port of the server, as seen from this process.
    address : str, default "127.0.0.1"
        Address to listen on; the port is a free one.
    namespace : str, optional
        Named network namespace (`ip netns`) of `address`.
    """
    listening = _listen(address) if namespace is None else _listen_in(namespace, address)
    relay = Gate(listening, server)
    accepting = threading.Thread(target=relay.serve, daemon=True)
    accepting.start()
    try:
        yield relay
    finally:
        relay.close()
        accepting.join(5)


def _listen(address: str) -> socket.socket:
    listening = socket.create_server((address, 0), backlog=128)
    listening.set_inheritable(False)
    return listening


def _listen_in(namespace: str, address: str) -> socket.socket:
    """Open a listening socket in a network namespace, from a temporary thread that enters it."""
    opened: list[socket.socket] = []
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            _enter_network(namespace)
            opened.append(_listen(address))
        except BaseException as error:  # noqa: BLE001 raised in the caller
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return opened[0]


def _enter_network(namespace: str) -> None:
    """Move only this thread into a network namespace."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(Path("/run/netns", namespace), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if library.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    finally:
        os.close(descriptor)
