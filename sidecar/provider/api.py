"""Asks Stripe what it could not deliver, and whether the endpoint is still enabled.

Two lists, outbound, by a restricted key: docs.stripe.com/api/events/list (`delivery_success=false`,
30 days back) and docs.stripe.com/api/webhook_endpoints/list. What is listed there for the first
time is told once, and once more when it is listed no longer, because it was delivered after all.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlencode

import httpx
import msgspec

from sidecar.config.sources import StripeApi
from sidecar.provider.facts import (
    STRIPE,
    Arrival,
    NotAnswered,
    Refused,
    Told,
    Trouble,
    Unavailable,
    stripe_told,
)
from sidecar.receivers.http import STRAIGHT, client, exchange, retry_after, via
from sidecar.receivers.proxy import HttpConfig

VERSION = "2026-10-28.endive"  # of the answers, whatever the account's is
HORIZON_SECONDS = 30 * 86_400.0  # so far back Stripe lists events
# An event that is younger may simply be on its way: then it is listed as well.
ON_ITS_WAY_SECONDS = 300.0
REMIND_SECONDS = 86_400.0  # after so long an endpoint that is disabled still is told of again
LONGEST_WAIT_SECONDS = 3600.0
_ASK_SECONDS = 30.0  # for one page
_LARGEST_PAGE = 32 << 20  # bytes; a hundred events of half a megabyte are the most there are
_MOST_PAGES = 10_000
_AT_ONCE = 500  # events that are handed in together
EVENTS, ENDPOINT = "stripe_api", "stripe_api endpoint"  # who tells of what
UNDELIVERED, DELIVERED = "undelivered", "delivered"
ENABLED, MISSING = "enabled", "missing"
ENDPOINT_TYPE = "webhook_endpoint"


_BY_CODE = {
    401: Trouble.KEY_REFUSED,
    403: Trouble.KEY_NOT_ALLOWED,
    429: Trouble.RATE_LIMITED,
}


class Known(msgspec.Struct, frozen=True):
    """What is remembered of an event that was not delivered."""

    event_type: str
    created: float


class Endpoint(msgspec.Struct, frozen=True):
    """What was told last of the endpoint, and when (wall clock)."""

    status: str
    at: float


def undelivered_news(
    listed: Mapping[str, Told], known: Mapping[str, Known], now: float
) -> list[Arrival]:
    """Return what is undelivered since, and what was delivered after all.

    `listed`: all that Stripe lists at wall clock `now`, whole. Of what it lists no longer because
    of its age nothing can be said.
    """
    begun = [
        Arrival(EVENTS, _undelivered(told), _kept(Known(told.event_type, told.created or now)))
        for id_, told in listed.items()
        if id_ not in known and (told.created or 0.0) <= now - ON_ITS_WAY_SECONDS
    ]
    # An hour less: an event leaves the list while it is being read.
    oldest = now - HORIZON_SECONDS + 3600.0
    ended = [
        Arrival(EVENTS, _delivered(id_, one))
        for id_, one in known.items()
        if id_ not in listed and one.created > oldest
    ]
    return begun + ended


def _kept(known: "Known | Endpoint") -> str:
    return msgspec.json.encode(known).decode()


def _undelivered(told: Told) -> Told:
    fields = {**told.fields, "status": UNDELIVERED}
    return msgspec.structs.replace(told, status=UNDELIVERED, created=None, fields=fields)


def _delivered(id_: str, known: Known) -> Told:
    fields = {
        "webhook_provider": STRIPE, "event_type": known.event_type, "status": DELIVERED,
        "event_id": id_, "form": STRIPE, "created": known.created,
    }  # fmt: skip
    return Told(
        id=id_, provider=STRIPE, event_type=known.event_type, status=DELIVERED, created=None,
        fields=fields,
    )  # fmt: skip


def endpoint_news(
    listed: Sequence[Mapping[str, Any]], url: str, before: Endpoint | None, now: float
) -> list[Arrival]:
    """Return what there is to say of the endpoint with this URL, if anything."""
    statuses = [str(one.get("status")) for one in listed if one.get("url") == url]
    status = ENABLED if ENABLED in statuses else "disabled" if statuses else MISSING
    if status == ENABLED and (before is None or before.status == ENABLED):
        return []
    if before is not None and before.status == status and now - before.at < REMIND_SECONDS:
        return []
    fields = {
        "webhook_provider": STRIPE, "event_type": ENDPOINT_TYPE, "status": status,
        "endpoint": url, "form": STRIPE,
    }  # fmt: skip
    told = Told(
        id=url, provider=STRIPE, event_type=ENDPOINT_TYPE, status=status, created=None,
        fields=fields,
    )  # fmt: skip
    return [Arrival(ENDPOINT, told, _kept(Endpoint(status, now)))]


class Desk(Protocol):
    """Where what Stripe says is handed in, and what was said before."""

    async def open(self, source: str) -> Mapping[str, str]:
        """Return what is kept of each event of `source` that has not ended, by its id.

        Raises Unavailable, as `take` does.
        """
        ...

    async def take(self, arrivals: Sequence[Arrival]) -> int:
        """Take what is new; return how many are, once they are committed."""
        ...


Report = Callable[[NotAnswered | None], None]


class Asker:
    """Asks every `interval`, longer after a failure; `config` and `by` are asked each time."""

    def __init__(
        self,
        config: Callable[[], StripeApi],
        desk: Desk,
        now: Callable[[], float],
        report: Report,
        by: Callable[[], HttpConfig] = lambda: STRAIGHT,
    ) -> None:
        self._config = config
        self._desk = desk
        self._now = now
        self._report = report
        self._by = by

    async def run(self, wait: Callable[[float], Awaitable[bool]]) -> None:
        """Ask until `wait`, which gets the seconds to the next time, returns True."""
        async with client() as made:
            while not await wait(await self.ask(made)):
                pass

    async def ask(self, http: httpx.AsyncClient) -> float:
        """Ask once; return after how many seconds to ask again."""
        config = self._config()
        try:
            await self._events(http, config)
            await self._endpoints(http, config)
        except NotAnswered as failure:
            self._report(failure)
            return min(max(config.interval, failure.wait or 0.0), LONGEST_WAIT_SECONDS)
        except Unavailable:  # the state file has its own alert
            return config.interval
        self._report(None)
        return config.interval

    async def _events(self, http: httpx.AsyncClient, config: StripeApi) -> None:
        kept = await self._desk.open(EVENTS)
        known = {id_: msgspec.json.decode(text, type=Known) for id_, text in kept.items()}
        since = int(self._now() - HORIZON_SECONDS)
        asked = {"delivery_success": "false", "created[gte]": str(since)}
        listed: dict[str, Told] = {}
        async for item in items(http, config, self._by(), "events", asked):
            try:
                told = stripe_told(item, config.org_id, config.keep)
            except Refused:
                raise NotAnswered(Trouble.BAD_ANSWER, "events") from None
            listed[told.id] = told
        news = undelivered_news(listed, known, self._now())
        for at in range(0, len(news), _AT_ONCE):
            await self._desk.take(news[at : at + _AT_ONCE])

    async def _endpoints(self, http: httpx.AsyncClient, config: StripeApi) -> None:
        url = config.endpoint or ""
        found = items(http, config, self._by(), "webhook_endpoints", {})
        listed = [item async for item in found]
        kept = (await self._desk.open(ENDPOINT)).get(url)
        before = None if kept is None else msgspec.json.decode(kept, type=Endpoint)
        if news := endpoint_news(listed, url, before, self._now()):
            await self._desk.take(news)


async def items(
    http: httpx.AsyncClient, config: StripeApi, by: HttpConfig, what: str, asked: Mapping[str, str]
) -> AsyncIterator[Mapping[str, Any]]:
    """Yield the objects of a list of Stripe's, page by page; raises NotAnswered."""
    after: dict[str, str] = {}
    for _ in range(_MOST_PAGES):
        query = urlencode({**asked, "limit": "100", **after})
        page = await _page(http, config, by, what, query)
        found = page.get("data")
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise NotAnswered(Trouble.BAD_ANSWER, what)
        for item in found:
            yield item
        if not found or page.get("has_more") is not True:
            return
        after = {"starting_after": str(found[-1].get("id"))}
    raise NotAnswered(Trouble.BAD_ANSWER, what)


async def _page(
    http: httpx.AsyncClient, config: StripeApi, by: HttpConfig, what: str, query: str
) -> Mapping[str, Any]:
    key = config.api_key.reveal() if config.api_key else ""
    headers = {"Authorization": f"Bearer {key}", "Stripe-Version": VERSION}
    headers["Accept-Encoding"] = "gzip"
    address = f"{config.url.rstrip('/')}/v1/{what}?{query}"
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            request = http.build_request(
                "GET", address, headers=headers, extensions=via(by, address)
            )
            code, answered, body = await exchange(http, request, _LARGEST_PAGE)
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, UnicodeError):
        # Nothing of what was raised is repeated: it may hold the request.
        raise NotAnswered(Trouble.NO_ANSWER, what) from None
    _check(code, answered, what)
    try:
        page = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotAnswered(Trouble.BAD_ANSWER, what) from None
    if not isinstance(page, dict):
        raise NotAnswered(Trouble.BAD_ANSWER, what)
    return page


def _check(code: int, headers: Mapping[str, str], what: str) -> None:
    if code == httpx.codes.OK:
        return
    fails = httpx.codes.is_server_error(code)
    trouble = _BY_CODE.get(code, Trouble.SERVER_ERROR if fails else Trouble.BAD_ANSWER)
    raise NotAnswered(trouble, what.replace("_", " "), retry_after(headers))
