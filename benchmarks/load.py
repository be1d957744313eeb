"""The load on a server: requests over a few connections that stay open, from a process of its own."""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.diary.people import Visitor

#: How long an answer may take, in seconds, before the connection counts as lost.
PATIENCE = 30.0


def drive(
    *, port: int, path: str, visitors: list[Visitor], connections: int, seconds: float
) -> dict[str, object]:
    """Ask for so many seconds, and wait for the last answers.

    Each connection asks again as soon as it is answered, as the next of the users.
    """
    load = Load(port, _requests(path, visitors), seconds)
    worked = time.process_time()
    load.run(connections)
    return {
        "each": load.latencies,
        "all": load.last - load.begun,
        "statuses": dict(load.statuses),
        "reconnected": load.reconnected,
        "processor": time.process_time() - worked,
    }


def _requests(path: str, visitors: list[Visitor]) -> Iterator[bytes]:
    first = f"GET {path}" if path == "/notes/" else f"POST {path}"
    length = "" if path == "/notes/" else "Content-Length: 0\r\n"
    return cycle(
        [
            f"{first} HTTP/1.1\r\nHost: {host}\r\n{length}Cookie: sessionid={session}\r\n\r\n".encode()
            for session, host in visitors
        ]
    )


class Load:
    """Connections that ask, and what came back."""

    def __init__(self, port: int, requests: Iterator[bytes], seconds: float) -> None:
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.reconnected = 0
        self._port = port
        self._requests = requests
        self._selector = selectors.DefaultSelector()
        self._asked: dict[socket.socket, float] = {}
        self._read: dict[socket.socket, bytes] = {}
        self.begun = self.last = time.perf_counter()
        self._until = self.begun + seconds

    def run(self, connections: int) -> None:
        """Ask until the time is over, and close the connections."""
        for _ in range(connections):
            self._connect()
        while self._asked:
            events = self._selector.select(PATIENCE)
            if not events:
                raise TimeoutError(f"No answer within {PATIENCE} seconds.")
            for key, _ in events:
                self._receive(key.fileobj)  # type: ignore[arg-type]
        for each in list(self._read):
            self._drop(each)
        self._selector.close()

    def _connect(self) -> None:
        connection = socket.create_connection(("127.0.0.1", self._port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection, selectors.EVENT_READ)
        self._read[connection] = b""
        self._ask(connection)

    def _ask(self, connection: socket.socket) -> None:
        self._asked[connection] = time.perf_counter()
        connection.sendall(next(self._requests))

    def _receive(self, connection: socket.socket) -> None:
        try:
            received = connection.recv(65536)
        except ConnectionResetError:
            received = b""
        if not received:
            self._closed(connection)
            return
        read = self._read[connection] + received
        if not _is_whole(read):
            self._read[connection] = read
            return
        self._answered(
            connection, status=read[9:12].decode(), closes=b"\nConnection: close" in read
        )

    def _answered(self, connection: socket.socket, *, status: str, closes: bool) -> None:
        self.last = now = time.perf_counter()
        self.latencies.append(now - self._asked.pop(connection))
        self.statuses[status] += 1
        self._read[connection] = b""
        if closes:
            self._drop(connection)
        if now < self._until:
            self._connect() if closes else self._ask(connection)

    def _closed(self, connection: socket.socket) -> None:
        """Go on with another connection, because a server may close one that it kept open."""
        self._asked.pop(connection, None)
        self._drop(connection)
        self.reconnected += 1
        if time.perf_counter() < self._until:
            self._connect()

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._read[connection]
        connection.close()


def _is_whole(read: bytes) -> bool:
    head, end, body = read.partition(b"\r\n\r\n")
    if not end:
        return False
    head = head.lower()
    if b"transfer-encoding: chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    _, _, length = head.partition(b"content-length:")
    if not length:
        raise ValueError(f"An answer without a length: {head!r}")
    return len(body) >= int(length.split(b"\r\n", 1)[0])
