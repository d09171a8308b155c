"""Connections that are held open, slow, too many, or encrypted: over real sockets."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from sidecar.config.http import TlsServerConfig, read_http
from sidecar.web.server import ANSWER_SECONDS, MOST, RECEIVE_SECONDS
from support.arrivals import CERTIFICATE
from support.web import Jumping, JumpingLoop, StubApi, serving, web_state

CLIENT = CERTIFICATE.with_name("client.crt")
LARGE = "x" * 20_000_000  # more than the kernel takes for a client that does not read

Held = list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]


@contextlib.asynccontextmanager
async def held_open(port: int, count: int, sent: bytes = b"") -> AsyncIterator[Held]:
    """Hold so many connections open, on each of which so much was sent."""
    held = []
    for _ in range(count):
        held.append(await asyncio.open_connection("127.0.0.1", port))
        held[-1][1].write(sent)
    try:
        yield held
    finally:
        for _, writer in held:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def ask(port: int, path: str = "/metrics", **more: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=5, headers=more) as client:
        return await client.get(f"http://127.0.0.1:{port}{path}")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{",
        b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["nothing", "a word", "half a header", "half a body", "a request before"],
)
async def test_500_held_open_and_a_scrape_is_answered(sent: bytes) -> None:
    with capture_logs() as logged:
        async with serving(web_state(api=StubApi())) as port, held_open(port, 500, sent):
            answers = [await ask(port) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [line["event"] for line in logged] == ["connections_full"]


async def test_more_than_are_held_that_do_not_read_their_answer_and_a_scrape_is_answered() -> None:
    asked = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with serving(web_state(lambda _: LARGE)) as port, held_open(port, MOST + 6, asked):
        assert (await ask(port, "/-/healthy")).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nX: ",
        b"POST /api/v1/alerts/resolve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
    ],
    ids=["nothing", "half a header", "no body"],
)
def test_a_request_has_its_deadline(sent: bytes) -> None:
    selector = Jumping()

    async def wait() -> bytes:
        async with serving(web_state(api=StubApi())) as port, held_open(port, 1, sent) as held:
            with contextlib.suppress(ConnectionError):
                return await held[0][0].read(-1)
        return b""

    with asyncio.Runner(loop_factory=lambda: JumpingLoop(selector)) as runner:
        assert runner.run(wait()) == b""
    assert RECEIVE_SECONDS < selector.jumped < RECEIVE_SECONDS + 5


@pytest.mark.parametrize(
    ("seconds", "kept"), [(ANSWER_SECONDS - 5, True), (ANSWER_SECONDS + 5, False)]
)
def test_so_has_the_taking_of_an_answer(seconds: float, kept: bool) -> None:  # noqa: FBT001 - a case
    async def read_after() -> int:
        asked = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        async with serving(web_state(lambda _: LARGE)) as port, held_open(port, 1) as held:
            reader, writer = held[0]
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's can
            writer.write(asked)
            await asyncio.sleep(seconds)
            writer.transport.resume_reading()  # type: ignore[attr-defined]  # the same
            with contextlib.suppress(ConnectionError):
                return len(await reader.read(-1))
        return 0

    with asyncio.Runner(loop_factory=lambda: JumpingLoop(Jumping())) as runner:
        assert (runner.run(read_after()) > len(LARGE)) is kept


# --- TLS


def tls(folder: Path, *, client_auth_type: str = "") -> ssl.SSLContext:
    """Return what the configuration makes of the test's certificate."""
    clients = f"client_auth_type: {client_auth_type}, client_ca_file: {CLIENT}"
    (folder / "sidecar.yaml").write_text(
        f"http: {{tls_server_config: {{cert_file: {CERTIFICATE}, "
        f"key_file: {CERTIFICATE.with_suffix('.key')}, {clients if client_auth_type else ''}}}}}\n"
    )
    found = read_http(str(folder / "sidecar.yaml"), {}, "tls_server_config").tls_server_config
    assert isinstance(found, TlsServerConfig)
    assert found.context is not None
    return found.context


async def ask_tls(port: int, *, shows: Path | None = None) -> int:
    trusting = ssl.create_default_context(cafile=CERTIFICATE)
    if shows is not None:
        trusting.load_cert_chain(shows, shows.with_suffix(".key"))
    async with httpx.AsyncClient(trust_env=False, timeout=5, verify=trusting) as client:
        return (await client.get(f"https://localhost:{port}/metrics")).status_code


async def test_metrics_are_served_encrypted(tmp_path: Path) -> None:
    async with serving(web_state(), tls=tls(tmp_path)) as port:
        assert await ask_tls(port) == 200
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(port)


@pytest.mark.parametrize(
    ("kind", "without"), [("VerifyClientCertIfGiven", 200), ("RequireAndVerifyClientCert", 0)]
)
async def test_clients_show_who_they_are(tmp_path: Path, kind: str, without: int) -> None:
    async with serving(web_state(), tls=tls(tmp_path, client_auth_type=kind)) as port:
        assert await ask_tls(port, shows=CLIENT) == 200
        if without:
            assert await ask_tls(port) == without
        else:
            with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
                await ask_tls(port)


async def test_500_that_never_shake_hands_and_a_scrape_is_answered(tmp_path: Path) -> None:
    async with serving(web_state(), tls=tls(tmp_path)) as port, held_open(port, 500):
        assert await ask_tls(port) == 200
