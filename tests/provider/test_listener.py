"""Webhooks over a real socket: what is taken, what is refused, and what nobody gets out of it."""

import asyncio
import base64
import contextlib
import gzip
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks import Webhook as StandardWebhook

from sidecar.config.sources import SignedWebhook, StripeWebhook, Webhook
from sidecar.provider.facts import Answered, RejectReason, Told, Unavailable
from sidecar.provider.listener import Listener
from sidecar.secret import Secret
from sidecar.web.server import serve
from support.stripe import SECRET, encoded, event, signed

NOW = 1_793_952_100.0
AT = datetime.fromtimestamp(NOW, UTC)
STRIPE = StripeWebhook(
    listen=("127.0.0.1", 0), path="/stripe", secrets=(Secret("whsec_old"), Secret(SECRET))
)


class Desk:
    """Takes what arrives, unless it is told not to; notes what it took and how each post ended."""

    def __init__(self) -> None:
        self.taken: list[Told] = []
        self.answered: list[Answered] = []
        self.opens = asyncio.Event()
        self.opens.set()
        self.broken = False

    async def take(self, _hook: Webhook, told: Told) -> bool:
        await self.opens.wait()
        if self.broken:
            raise Unavailable
        new = told.id not in {one.id for one in self.taken}
        self.taken += [told] if new else []
        return new


@contextlib.asynccontextmanager
async def listening(
    desk: Desk, hook: Webhook = STRIPE, **patience: float
) -> AsyncIterator[httpx.AsyncClient]:
    stop = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    app = Listener(
        lambda: {hook.path: hook}, desk.take, lambda: NOW, desk.answered.append, **patience
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(app, ("127.0.0.1", 0), stop, port.set_result))
        base = f"http://127.0.0.1:{await port}"
        try:
            async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=20) as client:
                yield client
        finally:
            stop.set()


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def post(client: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    return await client.post("/stripe", content=body, headers=signed(body, at=NOW) | headers)


async def test_a_signed_event_is_answered_once_it_is_taken() -> None:
    desk = Desk()
    body = encoded(event(7, created=int(NOW) - 3))
    async with listening(desk) as client:
        desk.opens.clear()
        posting = asyncio.create_task(post(client, body))
        await asyncio.wait([posting], timeout=0.05)
        assert not posting.done()
        desk.opens.set()
        assert (await posting).status_code == 200
        assert (await post(client, body)).status_code == 200
    assert [told.id for told in desk.taken] == ["evt_7"]
    assert desk.answered == [
        Answered("/stripe", 200, duplicate=twice, delay=3.0, secret=1) for twice in (False, True)
    ]


REFUSED: dict[str, tuple[bytes, dict[str, str], int, RejectReason]] = {
    "no signature": (encoded(event()), {"Stripe-Signature": ""}, 400, RejectReason.BAD_HEADER),
    "another's": (
        encoded(event()), signed(encoded(event()), "whsec_wrong", NOW), 400,
        RejectReason.BAD_SIGNATURE,
    ),
    "of yesterday": (
        encoded(event()), signed(encoded(event()), SECRET, NOW - 86_400), 400, RejectReason.TOO_OLD
    ),
    "no JSON": (b"{", {}, 400, RejectReason.BAD_BODY),
    "empty": (b"", {}, 400, RejectReason.BAD_BODY),
    "a list": (b"[]", {}, 400, RejectReason.BAD_BODY),
    "NUL": (b'{"id": "evt\x00"}', {}, 400, RejectReason.BAD_BODY),
    "a NUL that is escaped": (b'{"id": "evt\\u0000", "type": "t"}', {}, 400, RejectReason.BAD_BODY),
    "too deep": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, {}, 400, RejectReason.BAD_BODY),
    "no id": (b'{"type": "invoice.paid"}', {}, 400, RejectReason.BAD_BODY),
    "test mode": (encoded(event(livemode=False)), {}, 200, RejectReason.OTHER_MODE),
    "too large": (b" " * ((1 << 20) + 1), {}, 413, RejectReason.TOO_LARGE),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_no_event_is_refused_with_its_reason(case: str) -> None:
    body, headers, code, reason = REFUSED[case]
    desk = Desk()
    async with listening(desk) as client:
        answer = await post(client, body, **headers)
        assert (answer.status_code, answer.text) == (code, f"{reason.value}\n")
    assert not desk.taken
    assert [(one.code, one.reason) for one in desk.answered] == [(code, reason)]


async def test_odd_bodies_that_are_signed_are_events() -> None:
    desk = Desk()
    twice = b'{"id": "evt_a", "id": "evt_b", "type": "t", "data": {"object": null}}'
    async with listening(desk) as client:
        assert (await post(client, twice)).status_code == 200
        assert (await post(client, encoded(event(2, deep=[[[[{}]]]])))).status_code == 200
        assert (await post(client, encoded({**event(3), "type": "never.heard.of"}))).is_success
    assert [told.id for told in desk.taken] == ["evt_b", "evt_2", "evt_3"]


async def test_a_packed_body_is_held_against_its_signature_as_it_is() -> None:
    desk = Desk()
    packed = gzip.compress(encoded(event()))
    async with listening(desk) as client:
        headers = signed(encoded(event()), at=NOW) | {"Content-Encoding": "gzip"}
        answer = await client.post("/stripe", content=packed, headers=headers)
        assert answer.text == "bad_signature\n"


async def test_a_chunked_body_is_read_to_its_bound() -> None:
    desk = Desk()
    body = encoded(event())

    async def pieces(of: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(of), 4096):
            yield of[at : at + 4096]

    async with listening(desk) as client:
        headers = signed(body, at=NOW)
        assert (await client.post("/stripe", content=pieces(body), headers=headers)).is_success
        with contextlib.suppress(httpx.TransportError):  # the rest of it is not read
            await client.post("/stripe", content=pieces(b"x" * (2 << 20)), headers=headers)
    assert [one.code for one in desk.answered] == [200, 413]


async def test_only_a_post_to_the_path_is_looked_at() -> None:
    desk = Desk()
    async with listening(desk) as client:
        assert [(await client.get(path)).status_code for path in ("/", "/metrics", "/stripe/")] == [
            404, 404, 404,
        ]  # fmt: skip
        answer = await client.get("/stripe")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        for method in ("PUT", "HEAD", "OPTIONS", "TRACE"):
            assert (await client.request(method, "/stripe")).status_code == 405


async def test_while_nothing_can_be_committed_it_is_to_be_sent_again() -> None:
    desk = Desk()
    desk.broken = True
    async with listening(desk) as client:
        answer = await post(client, encoded(event()))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert desk.answered[0].reason == RejectReason.UNAVAILABLE


async def test_what_takes_too_long_to_commit_is_to_be_sent_again() -> None:
    desk = Desk()
    desk.opens.clear()
    async with listening(desk, take_seconds=0.05) as client:
        assert (await post(client, encoded(event()))).status_code == 503


async def test_a_body_that_comes_too_slowly_is_refused() -> None:
    desk = Desk()
    async with listening(desk, body_seconds=0.1) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(b"POST /stripe HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        assert await reader.read() != b""  # to the end: the connection is closed
        await closed(writer)


async def test_a_header_that_stands_twice_is_refused() -> None:
    desk = Desk()
    body = encoded(event())
    async with listening(desk) as client:
        header = signed(body, at=NOW)["Stripe-Signature"]
        pairs = [("stripe-signature", header)] * 2
        assert (await client.post("/stripe", content=body, headers=pairs)).text == "bad_header\n"


async def test_a_thousand_idle_connections_keep_nobody_out() -> None:
    desk = Desk()
    async with listening(desk) as client, contextlib.AsyncExitStack() as held:
        for number in range(1000):
            _, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
            held.push_async_callback(closed, writer)
            if number % 2:
                writer.write(b"POST /stripe HTTP/1.1\r\nContent-Le")
        assert (await post(client, encoded(event()))).status_code == 200


async def test_an_answer_holds_nothing_of_what_was_posted() -> None:
    desk = Desk()
    async with listening(desk) as client:
        answer = await client.post("/stripe?a=canary", content=b"canary", headers={"x": "canary"})
        assert "canary" not in answer.text + str(answer.headers)
        assert not answer.is_redirect


async def test_standard_webhooks_go_the_same_way() -> None:
    secret = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
    hook = SignedWebhook(
        listen=("127.0.0.1", 0), path="/stripe", provider="clerk", secrets=(Secret(secret),)
    )
    body = b'{"type": "user.created", "data": {}}'
    signature = StandardWebhook(secret).sign(
        "msg_1", datetime.fromtimestamp(NOW, UTC), body.decode()
    )
    headers = {
        "webhook-id": "msg_1", "webhook-timestamp": str(int(NOW)), "webhook-signature": signature
    }  # fmt: skip
    desk = Desk()
    async with listening(desk, hook) as client:
        assert (await client.post("/stripe", content=body, headers=headers)).status_code == 200
        assert (await client.post("/stripe", content=b"x", headers=headers)).status_code == 400
    assert [(told.id, told.provider) for told in desk.taken] == [("msg_1", "clerk")]
