"""One POST over HTTP and what its answer means, for every kind that is told so.

Told means accepted: only a 2xx answer of the other side itself counts. A web page in its place is
a proxy's, a portal's or one of maintenance, which passes; what the other side itself refuses is for
somebody to mend.
"""

import asyncio
import math
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import cache, lru_cache, partial
from typing import Any, TypeVar, cast

import anyio
import httpx

from sidecar.notify.model import Notification, ReceiverConfig
from sidecar.receivers.base import (
    Failed,
    FailureKind,
    Outcome,
    Send,
    Sent,
    Verdict,
    is_tls,
    network_reason,
    scrub,
)
from sidecar.receivers.proxy import HttpConfig

C = TypeVar("C", bound=ReceiverConfig)
P = TypeVar("P")
# Who is well answers in well under a second; whoever waits longer holds up the other messages.
TIMEOUT = httpx.Timeout(connect=5.0, read=10.0, write=10.0, pool=10.0)
TOTAL_TIMEOUT = 30.0
# Of an answer no more is looked at, however it is packed.
LONGEST_ANSWER = 65_536
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_LAST_PORT = 65_535
_VIA = "sidecar.via"  # in a request's extensions: its proxy
STRAIGHT = HttpConfig()

_BY_STATUS = {
    400: FailureKind.PAYLOAD,
    401: FailureKind.AUTH,
    403: FailureKind.AUTH,
    404: FailureKind.DESTINATION,
    407: FailureKind.AUTH,  # of a proxy, which wants to know who asks
    408: FailureKind.TIMEOUT,
    410: FailureKind.DESTINATION,
    413: FailureKind.PAYLOAD,
    422: FailureKind.PAYLOAD,
    425: FailureKind.SERVER_ERROR,
    429: FailureKind.RATE_LIMITED,
}
_PASSES = frozenset({FailureKind.TIMEOUT, FailureKind.SERVER_ERROR, FailureKind.RATE_LIMITED})
_PAGE = re.compile(rb"\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)

_NO_HEADERS: Mapping[str, str] = {}
# Says what came of an answer, of which it gets status, headers and body.
Judge = Callable[[int, Mapping[str, str], bytes], Outcome]


@asynccontextmanager
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Give a client whose connections are kept until the end of the block."""
    async with await asyncio.to_thread(_client) as made:  # the certificates are read
        yield made


@asynccontextmanager
async def sending(
    send: Callable[[httpx.AsyncClient, C, P, Notification], Coroutine[Any, Any, Outcome]],
) -> AsyncIterator[Send[C, P]]:
    """Give what sends by a client whose connections are kept until the end of the block."""
    async with client() as made:
        yield partial(send, made)


def _client() -> httpx.AsyncClient:
    transport = _ByProxy(_trusted())
    return httpx.AsyncClient(
        transport=transport, timeout=TIMEOUT, follow_redirects=False, trust_env=False
    )


class _ByProxy(httpx.AsyncBaseTransport):
    """Sends each request straight on, or through the proxy that it names in its extensions."""

    def __init__(self, trusted: ssl.SSLContext) -> None:
        self._trusted = trusted
        self._ways: dict[str | None, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        proxy = request.extensions.get(_VIA)
        if proxy not in self._ways:
            self._ways[proxy] = self._way(proxy)
        return await self._ways[proxy].handle_async_request(request)

    def _way(self, proxy: str | None) -> httpx.AsyncHTTPTransport:
        context = self._trusted if proxy and proxy.startswith("https:") else None
        by = None if proxy is None else httpx.Proxy(proxy, ssl_context=context)
        return httpx.AsyncHTTPTransport(verify=self._trusted, trust_env=False, proxy=by)

    async def aclose(self) -> None:
        for way in self._ways.values():
            await way.aclose()


@cache
def _trusted() -> ssl.SSLContext:
    # anyio loads its parts when httpx first connects: the first alert would wait for them.
    anyio.run(_try_connecting)
    try:
        return httpx.create_ssl_context()
    except OSError:  # the file of SSL_CERT_FILE is gone since it was checked: nobody is trusted
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def _try_connecting() -> None:
    with suppress(OSError):
        await anyio.connect_tcp("127.0.0.1", 0)  # no port: fails at once and reaches nobody


async def post(
    client: httpx.AsyncClient,
    url: str,
    body: bytes,
    *,
    by: HttpConfig = STRAIGHT,
    headers: Mapping[str, str] = _NO_HEADERS,
    judge: Judge | None = None,
    timeout: httpx.Timeout = TIMEOUT,  # noqa: ASYNC109 - one per phase, the client's own
) -> Outcome:
    """Post JSON once and return what `judge` (else `judged`) makes of the answer.

    Never raises for what the other side does, and nothing it returns holds the URL or a header.
    """
    whole = {
        "Content-Type": "application/json; charset=utf-8", "Accept-Encoding": "identity", **headers
    }  # fmt: skip
    try:
        request = client.build_request(
            "POST", _url(url), content=body, headers=whole, timeout=timeout, extensions=via(by, url)
        )
        async with asyncio.timeout(TOTAL_TIMEOUT):
            return (judge or judged)(*await exchange(client, request))
    except TimeoutError:
        return _unknown(FailureKind.TIMEOUT, "the answer did not end in time")
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        return _unanswered(error)


def via(by: HttpConfig, url: str) -> dict[str, str | None]:
    """Return what has a client of ours send a request to `url` as `by` says."""
    try:
        return {_VIA: by.proxy_for(url)}
    except ValueError:  # no URL: httpx has its own word for that
        return {}


@lru_cache(maxsize=256)
def _url(url: str) -> httpx.URL:
    target = httpx.URL(url)
    if (target.port or 0) > _LAST_PORT:
        raise httpx.InvalidURL("no such port")  # the socket would raise it wrapped in a group
    return target


async def exchange(
    client: httpx.AsyncClient, request: httpx.Request, most: int = LONGEST_ANSWER
) -> tuple[int, Mapping[str, str], bytes]:
    """Return status, headers and body of the answer, of the body at most so many bytes.

    A redirect is an answer: nothing follows it. Raises httpx.HTTPError.
    """
    answer = bytearray()
    response = await client.send(request, stream=True, follow_redirects=False)
    async with aclosing(response):
        async for chunk in cast("httpx.AsyncByteStream", response.stream):
            answer += chunk
            if len(answer) > most:
                break
    coding = response.headers.get("content-encoding", "identity")
    return response.status_code, response.headers, _plain(bytes(answer[:most]), coding, most)


def _plain(answer: bytes, coding: str, most: int) -> bytes:
    """Return an answer that was compressed though nobody asked for that, in bounded length.

    httpx would unpack all of it: two kilobytes become gigabytes. Empty if it cannot be read.
    """
    if coding == "identity":
        return answer
    try:
        unpacked = zlib.decompressobj(_GZIP_OR_ZLIB).decompress(answer, most)
    except zlib.error:
        return b""
    return unpacked if coding in ("gzip", "x-gzip", "deflate") else b""


def judged(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Return what the answer of a receiver means that says all it has to say by its status."""
    page = _PAGE.match(body) is not None
    if httpx.codes.is_success(status) and not page:
        return Sent()
    kind, verdict = refusal(status, theirs=not page and httpx.codes.is_client_error(status))
    return Failed(
        kind,
        verdict,
        f"HTTP {status}{' with a web page' if page else ''}",
        retry_after=retry_after(headers),
        ambiguous=httpx.codes.is_success(status) or status == httpx.codes.GATEWAY_TIMEOUT,
    )


def refusal(status: int, *, theirs: bool) -> tuple[FailureKind, Verdict]:
    """Return what a refusal means; `theirs`: the other side itself said no, and not a proxy."""
    if httpx.codes.is_server_error(status):
        return FailureKind.SERVER_ERROR, Verdict.RETRY
    kind = _BY_STATUS.get(status, FailureKind.OTHER)
    return kind, Verdict.PARK if theirs and kind not in _PASSES else Verdict.RETRY


def retry_after(headers: Mapping[str, str], otherwise: object = None) -> float | None:
    """Return in how many seconds the other side wants to hear again, None if it does not say.

    A date counts from the answer's own Date (RFC 9110 section 10.2.3): our clock may be wrong.
    """
    asked = headers.get("retry-after") or otherwise or ""
    try:
        seconds = float(str(asked))
    except ValueError:
        seconds = _seconds_between(headers.get("date", ""), str(asked))
    return seconds if 0 < seconds < math.inf else None


def _seconds_between(one: str, other: str) -> float:
    """Return how far the second HTTP date is after the first; 0.0 if either is none."""
    try:
        return (parsedate_to_datetime(other) - parsedate_to_datetime(one)).total_seconds()
    except (TypeError, ValueError):
        return 0.0


def _unanswered(error: Exception) -> Failed:
    """Return what it means that no answer came."""
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return Failed(FailureKind.TIMEOUT, Verdict.RETRY, "connecting timed out")
        case httpx.WriteTimeout():
            return Failed(FailureKind.TIMEOUT, Verdict.RETRY, "sending timed out")
        case httpx.ReadTimeout():
            return _unknown(FailureKind.TIMEOUT, "no answer in time")
        case httpx.ProxyError():
            detail = scrub(f"the proxy refuses: {error}")
            return Failed(FailureKind.CONNECT, Verdict.RETRY, detail)
        case httpx.ConnectError():
            kind = FailureKind.TLS if is_tls(error) else FailureKind.CONNECT
            return Failed(kind, Verdict.RETRY, network_reason(error))
        case httpx.NetworkError() | httpx.RemoteProtocolError() | httpx.DecodingError():
            return _unknown(FailureKind.CONNECTION_LOST, "the connection ended before the answer")
        case _:
            # httpx would not even try: a line break in the token, a URL that is none.
            return Failed(
                FailureKind.AUTH, Verdict.PARK, "the URL or token cannot be used as it is written"
            )


def _unknown(kind: FailureKind, detail: str) -> Failed:
    return Failed(kind, Verdict.RETRY, detail, ambiguous=True)
