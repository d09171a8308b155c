"""The HTTP API, JSON in and out, and the status page, which shows a person what the API knows.

What it does is behind the port `Api`. What events say is escaped on the page, which takes no
script, style or other content but its own two, named by their hashes (Content Security Policy 3),
and nobody may put it into a frame.
"""

import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
import structlog
from jinja2 import Environment, StrictUndefined, Template
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.render.words import duration, plain, utc
from sidecar.web.fault import Refusal

LONGEST_BODY = 64 * 1024
_JSON_PATHS = "/api/"
_log = structlog.get_logger()
_T = TypeVar("_T")


class Api(Protocol):
    """What the daemon can be asked for. Each method may raise Refusal."""

    async def reload(self) -> Sequence[str]:
        """Read the configuration anew; return the faults that kept it from being taken over."""
        ...

    async def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing."""
        ...

    async def resolve(
        self, alertname: str, key: Mapping[str, str], person: str = ""
    ) -> dict[str, Any]:
        """End an alert by hand; return what was ended, once that is on disk.

        `person` says by whose hand, in messages.
        """
        ...

    async def drill(self, alertname: str) -> dict[str, Any]:
        """Make an alert fire on purpose, and end it; return the stages, and whether all is well."""
        ...

    async def ack(self, matchers: Sequence[str], person: str, comment: str) -> list[dict[str, Any]]:
        """Let all that fires and passes the matchers be acknowledged; return what it is."""
        ...

    async def silences(self) -> list[dict[str, Any]]:
        """Return the silences, the newest first, with what each mutes now."""
        ...

    async def silence(self, asked: "SilenceRequest") -> dict[str, Any]:
        """Add a silence; return it, once it is on disk."""
        ...

    async def unsilence(self, id_: str) -> None:
        """End a silence now."""
        ...

    async def explain(self, matchers: Sequence[str], since: float) -> dict[str, Any]:
        """Return how rules stand to what passes, and what happened to it since then, and why."""
        ...

    async def prune(self, matchers: Sequence[str]) -> int:
        """Drop the series whose labels pass all of these; return how many there were."""
        ...

    async def status(self) -> dict[str, Any]:
        """Return how the daemon is doing."""
        ...

    async def rules(self) -> list[dict[str, Any]]:
        """Return the rules, with how many alerts of each are open and when one's events came."""
        ...

    async def events(self) -> dict[str, Any]:
        """Return the kinds of events seen last, and lines of late that are none."""
        ...

    async def notifications(self) -> list[dict[str, Any]]:
        """Return the messages made last: to whom, about what, and what became of them."""
        ...

    async def debug(self) -> dict[str, Any]:
        """Return what is configured, as booleans, the last events, and counts of alerts."""
        ...


class _ResolveRequest(msgspec.Struct, forbid_unknown_fields=True):
    alertname: str
    key: dict[str, str] = {}
    by: Annotated[str, msgspec.Meta(max_length=100)] = ""


class _DrillRequest(msgspec.Struct, forbid_unknown_fields=True):
    alertname: str


class _AckRequest(msgspec.Struct, forbid_unknown_fields=True):
    matchers: Annotated[list[str], msgspec.Meta(min_length=1)]
    by: Annotated[str, msgspec.Meta(max_length=100)] = ""
    comment: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class SilenceRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A silence from `starts_at` (now if not given) to `ends_at`, seconds since the epoch.

    Without matchers it mutes everything; then `everything` has to say that this is meant.
    """

    ends_at: float
    matchers: list[str] = []
    starts_at: float | None = None
    by: Annotated[str, msgspec.Meta(max_length=100)] = ""
    comment: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    everything: bool = False


class _ExpireRequest(msgspec.Struct, forbid_unknown_fields=True):
    id: str


class _ExplainRequest(msgspec.Struct, forbid_unknown_fields=True):
    matchers: Annotated[list[str], msgspec.Meta(min_length=1)]
    since: float = 0.0


class _PruneRequest(msgspec.Struct, forbid_unknown_fields=True):
    matchers: Annotated[list[str], msgspec.Meta(min_length=1)]


def routes(api: Api) -> list[Route]:
    """Return the routes that lead to `api`."""

    async def reload(_request: Request) -> Response:
        try:
            faults = await api.reload()
        except Refusal as refusal:
            return PlainTextResponse(f"{refusal}\n", refusal.status)
        if faults:
            lines = "".join(f"{fault}\n" for fault in faults)
            return PlainTextResponse(f"Not reloaded, the old configuration runs on:\n{lines}", 500)
        return PlainTextResponse("reloaded\n")

    async def resolve(request: Request) -> Response:
        wanted = await _body(request, _ResolveRequest)
        return _json({"resolved": await api.resolve(wanted.alertname, wanted.key, wanted.by)})

    async def ack(request: Request) -> Response:
        wanted = await _body(request, _AckRequest)
        return _json({"acked": await api.ack(wanted.matchers, wanted.by, wanted.comment)})

    async def prune(request: Request) -> Response:
        wanted = await _body(request, _PruneRequest)
        return _json({"pruned": await api.prune(wanted.matchers)})

    shown = {
        "/api/v1/alerts": _showing(api.alerts, "alerts"),
        "/api/v1/events": _showing(api.events),
        "/api/v1/notifications": _showing(api.notifications, "notifications"),
        "/api/v1/rules": _showing(api.rules, "rules"),
        "/api/v1/status": _showing(api.status),
        "/webhook-debug": _showing(api.debug),
    }
    return [
        *(Route(path, show) for path, show in shown.items()),
        Route("/-/reload", reload, methods=["POST"]),
        Route("/api/v1/alerts/resolve", resolve, methods=["POST"]),
        Route("/api/v1/alerts/ack", ack, methods=["POST"]),
        *_routes_of_telling(api),
        Route("/api/v1/metrics/prune", prune, methods=["POST"]),
    ]


def _showing(
    ask: Callable[[], Awaitable[Any]], name: str = ""
) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers a GET with what `ask` returns, a list under its `name`."""

    async def show(_request: Request) -> Response:
        found = await ask()
        return _json({name: found} if name else found)

    return show


def _routes_of_telling(api: Api) -> list[Route]:
    async def silences(request: Request) -> Response:
        if request.method == "GET":
            return _json({"silences": await api.silences()})
        return _json({"silence": await api.silence(await _body(request, SilenceRequest))})

    async def expire(request: Request) -> Response:
        wanted = await _body(request, _ExpireRequest)
        await api.unsilence(wanted.id)
        return _json({"expired": wanted.id})

    async def explain(request: Request) -> Response:
        wanted = await _body(request, _ExplainRequest)
        return _json(await api.explain(wanted.matchers, wanted.since))

    async def drill(request: Request) -> Response:
        return _json(await api.drill((await _body(request, _DrillRequest)).alertname))

    return [
        Route("/api/v1/drill", drill, methods=["POST"]),
        Route("/api/v1/explain", explain, methods=["POST"]),
        Route("/api/v1/silences", silences, methods=["GET", "POST"]),
        Route("/api/v1/silences/expire", expire, methods=["POST"]),
    ]


async def refused(_request: Request, refusal: Exception) -> Response:
    """Turn a Refusal into its answer."""
    status = refusal.status if isinstance(refusal, Refusal) else 500
    return _json({"error": str(refusal)}, status)


class FailureGuard:
    """ASGI middleware: what goes wrong in a request is that request's failure, a 500, and logged.

    The log is ours, which redacts; a traceback of the web server's own would not.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answering = False

        async def noted(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except ClientDisconnect:  # nobody is there to be answered
            return
        except Exception as wrong:  # noqa: BLE001 - whatever it is, it is this request's own
            kind = type(wrong).__name__
            path = str(scope["path"])
            _log.exception("request_failed", path=path, error=kind)
            if not answering:
                await _failed(path, kind)(scope, receive, send)


def _failed(path: str, kind: str) -> Response:
    sentence = f"this request failed inside the sidecar ({kind}); its log says where"
    if path.startswith(_JSON_PATHS):
        return _json({"error": sentence}, 500)
    return PlainTextResponse(f"{sentence}\n", 500)


async def _body(request: Request, shape: type[_T]) -> _T:
    """Return the request's JSON body; raises Refusal."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LONGEST_BODY:
            raise Refusal(413, f"a request is at most {LONGEST_BODY} bytes long")
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as wrong:
        raise Refusal(400, f"the request cannot be read: {wrong}") from wrong


def _json(value: Any, status: int = 200) -> Response:
    try:
        body = msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:  # a file's name need not be UTF-8; here it is escaped
        body = json.dumps(msgspec.to_builtins(value, enc_hook=str)).encode()
    return Response(body + b"\n", status, media_type="application/json")


ALERTS_AT_MOST = 200
LONGEST_QUESTION = 200
EXPLAINED_SECONDS = 7 * 86_400.0
_TEMPLATE = Path(__file__).with_name("page.html.j2")
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def page_route(api: Api) -> Route:
    """Return the route of the page about what `api` knows."""

    async def page(request: Request) -> Response:
        asked = request.query_params.get("q", "")[:LONGEST_QUESTION].strip()
        status = await api.status()
        known = {
            "status": status,
            "alerts": await api.alerts(),
            "rules": await api.rules(),
            "notifications": await api.notifications(),
            "silences": [one for one in await api.silences() if one["state"] != "expired"],
            "explained": await _explained(api, asked, status["now"]),
            **await api.events(),
        }
        html = await run_in_threadpool(render, known, asked)
        return HTMLResponse(html, headers=_headers())

    return Route("/", page)


async def _explained(api: Api, asked: str, now: float) -> dict[str, Any]:
    """Return what is known of why, if there are matchers such as `org_id=org_1` in a search."""
    matchers = [word for word in asked.split() if "=" in word]
    if not matchers:
        return {}
    try:
        return await api.explain(matchers, now - EXPLAINED_SECONDS)
    except Refusal as refusal:
        return {"rules": [], "trail": [], "fault": str(refusal)}


def render(known: Mapping[str, Any], asked: str) -> str:
    """Return the page about what is `known`; with `asked`, only what has all of its words."""
    words = asked.casefold().split()
    shown = {
        name: [one for one in value if _says(one, words)] if isinstance(value, list) else value
        for name, value in known.items()
    }
    alerts = shown["alerts"]
    return _template().render(
        **{**shown, "alerts": alerts[:ALERTS_AT_MOST]}, more=len(alerts[ALERTS_AT_MOST:]), q=asked
    )


def _says(value: Any, words: Iterable[str]) -> bool:
    text = str(value).casefold() if words else ""
    return all(word.replace("=", "': '") in text or word in text for word in words)


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"utc": utc, "span": duration, "plain": plain}
    return environment.from_string(_TEMPLATE.read_text())


@cache
def _headers() -> dict[str, str]:
    """Return what keeps a browser from anything but showing the page."""
    found = {kind: _hash(text) for kind, text in _INLINE.findall(_TEMPLATE.read_text())}
    policy = (
        f"default-src 'none'; script-src '{found['script']}'; style-src '{found['style']}'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
