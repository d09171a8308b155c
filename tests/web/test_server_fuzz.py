"""Whatever a stranger sends, he gets a refusal or is let go, and the next one is answered."""

import asyncio
import contextlib
from random import Random

from structlog.testing import capture_logs

from support.web import StubApi, serving, web_state

METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"CONNECT", b"get", b"X" * 50, b"PRI")
PATHS = (
    b"/", b"/metrics", b"/-/healthy", b"/-/reload", b"/api/v1/status", b"/api/v1/alerts/resolve",
    b"*", b"//metrics", b"/%00", b"/%ff%fe", b"/api/v1/alerts?x=%0d%0a", b"http://evil/metrics",
)  # fmt: skip
HEADERS = (
    b"Host: localhost", b"Host: [::1", b"Host:", b"Origin: null", b"Authorization: \xff\xfe",
    b"Accept: ;;q=nan,*/*;q=1e999", b"Accept-Encoding: gzip;q=\xb2", b"Content-Length: 5",
    b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked",
    b"Expect: 100-continue", b"Upgrade: websocket", b"Connection: upgrade", b"X: " + b"a" * 9000,
    b": x", b"X\x00: y",
)  # fmt: skip
BODIES = (
    b"", b"{", b"[]", b'{"alertname": "A", "key": {"o": "1"}}', b'{"alertname": "\\ud800"}',
    b"\xff\xfe", b"[" * 5000, b"5\r\nhello\r\n0\r\n\r\n", b"ffffffff\r\n", b"-1\r\n",
)  # fmt: skip


def request(chance: Random) -> bytes:
    headers = [b"Host: localhost", *chance.sample(HEADERS, chance.randrange(4))]
    body = chance.choice(BODIES)
    if chance.random() < 0.6:
        headers.append(b"Content-Length: %d" % len(body))
    line = chance.choice(METHODS) + b" " + chance.choice(PATHS) + b" HTTP/1.1\r\n"
    sent = line + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body
    at = chance.randrange(len(sent))
    how = chance.random()
    if how < 0.1:
        return chance.randbytes(chance.randrange(1, 300))
    if how < 0.2:
        return sent[:at] + chance.randbytes(3) + sent[at + chance.randrange(9) :]
    if how < 0.3:
        return sent * 3
    return sent


async def answer(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(sent)
            writer.write_eof()
            return await reader.read(-1)
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return b""


async def test_any_request_is_refused_answered_or_let_go_and_the_next_one_answered() -> None:
    chance, codes = Random(7), set()
    with capture_logs() as logged:
        async with serving(web_state(api=StubApi())) as port, asyncio.timeout(60):
            for _ in range(400):
                got = await answer(port, request(chance))
                codes.add(got[9:12])
            healthy = await answer(port, b"GET /-/healthy HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert healthy.endswith(b"healthy\n")
    assert codes <= {b"", b"200", b"400", b"403", b"404", b"405"}
    assert {b"200", b"400", b"403", b"404", b"405"} <= codes
    assert logged == []
