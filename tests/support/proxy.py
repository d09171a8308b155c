"""A proxy on loopback: CONNECT for https, forwarding for http."""

import asyncio
import base64
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Passes on what it is asked for; `asked` lists the first lines of the requests.

    With a `login` (user, password) it refuses whoever does not show it, with 407.
    """

    def __init__(self, login: tuple[str, str] | None = None) -> None:
        self.asked: list[str] = []
        self._login = login
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._taken, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, _t: type[BaseException] | None, _v: BaseException | None, _b: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # one turn, in which the connections end

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        self._writers.append(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, _, rest = head.partition("\r\n")
        self.asked.append(first)
        if self._login and _token(self._login) not in head:
            writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()
            return
        verb, target, version = first.split(" ")
        parts = urlsplit(f"//{target}" if verb == "CONNECT" else target)
        there, out = await asyncio.open_connection(parts.hostname, parts.port)
        self._writers.append(out)
        if verb == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            out.write(f"{verb} {parts.path} {version}\r\n{rest}".encode())
        await asyncio.gather(_pipe(reader, out), _pipe(there, writer))


def _token(login: tuple[str, str]) -> str:
    return base64.b64encode(":".join(login).encode()).decode()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65_536):
        writer.write(part)
        await writer.drain()
    writer.close()
