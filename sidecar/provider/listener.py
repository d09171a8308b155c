"""Takes webhooks: one path a kind, whatever its scheme; answered once they are committed.

A provider sends again what is not answered with 2xx, for days. So 200 says that the event is on
disk, or that it never will be wanted: a duplicate, the other mode. The answer never holds anything
of the body, and never sends anybody elsewhere.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from sidecar.config.sources import Webhook
from sidecar.provider.facts import (
    VERIFIERS,
    Answered,
    Refused,
    RejectReason,
    Signed,
    Told,
    Unavailable,
    standard_told,
    stripe_told,
)

MAX_BODY = 1 << 20  # bytes
BODY_SECONDS = 9.0  # before the server ends the connection
TAKE_SECONDS = 10.0  # Stripe waits for longer
RETRY_AFTER_SECONDS = 60
_Headers = Sequence[tuple[bytes, bytes]]
_CODES = {
    RejectReason.BAD_METHOD: 405,
    RejectReason.TOO_SLOW: 408,
    RejectReason.TOO_LARGE: 413,
    RejectReason.OTHER_MODE: 200,
    RejectReason.UNAVAILABLE: 503,
}
_MORE: dict[RejectReason | None, _Headers] = {
    RejectReason.BAD_METHOD: [(b"allow", b"POST")],
    RejectReason.UNAVAILABLE: [(b"retry-after", str(RETRY_AFTER_SECONDS).encode())],
    # What is still to come of the body is not read.
    RejectReason.TOO_SLOW: [(b"connection", b"close")],
    RejectReason.TOO_LARGE: [(b"connection", b"close")],
}


class Listener:
    """The ASGI application of one address.

    `hooks` is asked at each request, since a reload changes it. `take` returns whether the event is
    new, once it is committed; it raises Unavailable.
    """

    def __init__(
        self,
        hooks: Callable[[], Mapping[str, Webhook]],
        take: Callable[[Webhook, Told], Awaitable[bool]],
        now: Callable[[], float],
        report: Callable[[Answered], None],
        *,
        body_seconds: float = BODY_SECONDS,
        take_seconds: float = TAKE_SECONDS,
    ) -> None:
        self._hooks = hooks
        self._take = take
        self._now = now
        self._report = report
        self._body_seconds = body_seconds
        self._take_seconds = take_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hook = self._hooks().get(scope["path"])
        if hook is None:
            self._report(Answered("", 404))
            await _answer(send, 404, "not found")
            return
        answered = await self._answered(hook, scope, receive)
        self._report(answered)
        word = answered.reason.value if answered.reason else "ok"
        with suppress(OSError):  # it went away
            await _answer(send, answered.code, word, _MORE.get(answered.reason, ()))

    async def _answered(self, hook: Webhook, scope: Scope, receive: Receive) -> Answered:
        secret: int | None = None
        try:
            body = await _body(scope, receive, self._body_seconds)
            now = self._now()
            signed = VERIFIERS[hook.scheme](
                scope["headers"], body, hook.keys, now=now, tolerance=hook.tolerance
            )
            secret = signed.secret
            told = read(hook, body, signed)
            delay = None if told.created is None else round(max(0.0, now - told.created), 3)
            if delay is not None:
                told.fields["delay_seconds"] = delay
            new = await self._taken(hook, told)
        except Refused as refused:
            reason = refused.reason
            return Answered(hook.path, _CODES.get(reason, 400), reason, secret=secret)
        return Answered(hook.path, 200, duplicate=not new, delay=delay, secret=secret)

    async def _taken(self, hook: Webhook, told: Told) -> bool:
        try:
            async with asyncio.timeout(self._take_seconds):
                return await self._take(hook, told)
        except (TimeoutError, Unavailable):
            raise Refused(RejectReason.UNAVAILABLE) from None


def read(hook: Webhook, body: bytes, signed: Signed) -> Told:
    """Return the event in a body whose signature is right.

    Raises Refused where there is none, or one of the other mode.
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(RejectReason.BAD_BODY) from None
    if not isinstance(found, dict):
        raise Refused(RejectReason.BAD_BODY)
    if hook.scheme == "stripe":
        told = stripe_told(found, hook.org_id, hook.keep)
        if told.livemode is not None and told.livemode != hook.livemode:
            raise Refused(RejectReason.OTHER_MODE)
        return told
    return standard_told(found, signed, hook.provider_name, hook.org_id, hook.keep)


async def _body(scope: Scope, receive: Receive, seconds: float) -> bytes:
    """Return the whole body; raises Refused where none is posted, it is too large or too slow."""
    if scope["method"] != "POST":
        raise Refused(RejectReason.BAD_METHOD)
    said = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if len(said) > len(str(MAX_BODY)) or int(said) > MAX_BODY:
        raise Refused(RejectReason.TOO_LARGE)
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message: Mapping[str, Any] = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(RejectReason.TOO_SLOW)
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MAX_BODY:
                    raise Refused(RejectReason.TOO_LARGE)
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise Refused(RejectReason.TOO_SLOW) from None


async def _answer(send: Send, code: int, word: str, headers: _Headers = ()) -> None:
    text = word.encode() + b"\n"
    head = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": code, "headers": [*head, *headers]})
    await send({"type": "http.response.body", "body": text})
