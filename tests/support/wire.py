"""A wire to PostgreSQL that can be cut, and loses a commit or its answer when told to."""

import selectors
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from pathlib import Path

_SOCKET = ".s.PGSQL.5432"


class Loss(Enum):
    COMMIT = auto()  # the connection ends before the server gets it
    ANSWER = auto()  # and after the server has made it


class Wire:
    """Hands on what goes between a client and the server whose socket is in `server`."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder = folder
        self.loses: Loss | None = None  # the next commit
        self.is_down = False  # nobody is let in
        self._server = server / _SOCKET
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / _SOCKET))
        self._listener.listen()
        self._clients: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """End all connections; a server may still be at what it was asked."""
        for client in list(self._clients):
            _end(client)

    def close(self) -> None:
        _end(self._listener)
        self.cut()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._clients.add(client)
                thread = threading.Thread(target=self._carry, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            if not self.is_down:
                server.connect(str(self._server))
                while self._handed_on(client, server):
                    pass
                server.shutdown(socket.SHUT_WR)
                while server.recv(65536):  # to the end of what it is at
                    pass
        self._clients.discard(client)

    def _handed_on(self, client: socket.socket, server: socket.socket) -> bool:
        """Wait for something to hand on; return whether the connection goes on."""
        with selectors.DefaultSelector() as both:  # not select(), which knows no number over 1,023
            both.register(client, selectors.EVENT_READ, client)
            both.register(server, selectors.EVENT_READ, server)
            ready = [key.data for key, _ in both.select()]
        for one in ready:
            data = one.recv(65536)
            if one is client and b"COMMIT" in data and self.loses is not None:
                loss, self.loses = self.loses, None
                _end(client)
                data = data if loss is Loss.ANSWER else b""
                server.sendall(data)
                return False
            (server if one is client else client).sendall(data)
            if not data:
                return False
        return True


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@contextmanager
def wire_to(server: Path) -> Iterator[Wire]:
    with tempfile.TemporaryDirectory(prefix="w-") as folder:  # a socket's path is short
        wire = Wire(Path(folder), server)
        try:
            yield wire
        finally:
            wire.close()


def through(wire: Wire, url: str) -> str:
    """Return `url` as it is reached over `wire`."""
    server, _, rest = url.partition("?host=")
    return f"{server}?host={wire.folder}{rest[rest.index('&') :]}"
