"""A web server of ours on loopback, for tests that ask it over a real socket."""

import asyncio
import contextlib
import selectors
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import httpx
from starlette.types import ASGIApp

from sidecar.web.api import SilenceRequest
from sidecar.web.fault import Refusal
from sidecar.web.metrics import SelfMetrics
from sidecar.web.server import WebState, build_app, serve

NOW = 1_793_952_000.0


def alert(org: str = "org_1", **more: Any) -> dict[str, Any]:
    return {
        "alertname": "PaymentFailing", "state": "firing", "severity": "critical",
        "key": {"org_id": org}, "labels": {"org_id": org},
        "annotations": {"summary": f"Payment failed for {org}", "description": "Call."},
        "value": 3, "since": NOW - 90, "due": NOW + 86_400, "fired_at": NOW - 60, "episode": 1,
        "collected": {}, "acked": {"by": "Ann", "at": NOW - 30, "comment": "on it"},
        "evidence": {"file": "app.log", "offset": 17, "line": f"failed {org}"},
        "silenced": [], "waits": [], **more,
    }  # fmt: skip


def silence(text: str) -> dict[str, Any]:
    return {
        "id": "1", "matchers": [text], "starts_at": NOW - 5, "ends_at": NOW + 60,
        "created_by": text, "comment": text, "created": NOW,
    }  # fmt: skip


def known(text: str = "plain", **more: Any) -> dict[str, Any]:
    """Return what the API knows, with `text` wherever a log, a person or a server may write."""
    return {
        "status": {
            "fleet": {"host": text, "judge": text, "hosts": [
                {"host": text, "here": True, "silent_seconds": 1.0, "caught_up": True,
                 "read_to": NOW}]},
            "version": "1", "now": NOW, "started": NOW - 3600, "shadow": False,
            "config": {"path": text, "rules": 1,
                       "last_reload": {"at": NOW, "ok": False, "faults": [text]}},
            "problems": [{"kind": "rejects", "reason": text, "since": NOW - 5}],
            "logs": [{"log": text, "path": text, "position": 1, "size": 2, "lag_bytes": 1,
                  "lines": 1, "event_lines": 1, "last_line": NOW, "last_event": None,
                      "state": "active", "problem": text}],
            "rule_time": NOW, "outbox": {"pending": 1, "oldest": NOW - 9},
        },
        "alerts": [
            alert(text, severity=text, value=text, silenced=[silence(text)]),
            alert(text, waits=[{"why": "group_wait", "until": NOW + 20, "to": text}]),
        ],
        "rules": [{"alertname": "A", "group": "g", "severity": text, "match": [text], "by": [],
                   "place": text, "firing": 1, "pending": 0, "last_event": NOW}],
        "notifications": [{"id": "1", "at": NOW, "receiver": text, "integration": "slack",
                           "destination": text, "reason": text, "alerts": [text],
                           "outcome": "waiting", "attempt": 1, "next_at": NOW + 5, "detail": text}],
        "silences": [{**silence(text), "state": "active", "mutes": []}],
        "explained": {
            "rules": [{"alertname": text, "key": {text: text}, "state": text, "value": text,
                       "condition": text}],
            "trail": [{"at": NOW, "kind": text, "labels": {"alertname": text}, "detail": text,
                       "message": text}],
            "fault": text,
        },
        "events": [{"provider": text, "event_type": text, "status": text, "count": 1, "last": NOW}],
        "odd_lines": [{"at": NOW, "kind": "line_rejected", "reason": text, "sample": text}],
        **more,
    }  # fmt: skip


class StubApi:
    """Answers at once what it was told to answer, and notes what it was asked for."""

    def __init__(self, *, faults: Sequence[str] = (), refusal: Refusal | None = None) -> None:
        self.faults = faults
        self.refusal = refusal
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    async def reload(self) -> Sequence[str]:
        self.asked.append(("reload", {}))
        return self.faults

    async def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = known()["alerts"]
        return found

    async def resolve(
        self, alertname: str, key: Mapping[str, str], person: str = ""
    ) -> dict[str, Any]:
        del person
        self.asked.append((alertname, key))
        if self.refusal is not None:
            raise self.refusal
        return {"alertname": alertname}

    async def ack(self, matchers: Sequence[str], person: str, comment: str) -> list[dict[str, Any]]:
        self.asked.append(("ack", {"matchers": ",".join(matchers), person: comment}))
        return [{"alertname": "A", "key": {}}]

    async def silences(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = known()["silences"]
        return found

    async def silence(self, asked: SilenceRequest) -> dict[str, Any]:
        self.asked.append(("silence", {asked.by: asked.comment}))
        return {"id": "1", "matchers": asked.matchers}

    async def unsilence(self, id_: str) -> None:
        self.asked.append(("unsilence", {"id": id_}))

    async def explain(self, matchers: Sequence[str], since: float) -> dict[str, Any]:
        self.asked.append(("explain", {",".join(matchers): str(since)}))
        return {"rules": [], "trail": []}

    async def drill(self, alertname: str) -> dict[str, Any]:
        self.asked.append(("drill", {"alertname": alertname}))
        return {"alertname": alertname, "ok": True, "stages": []}

    async def prune(self, matchers: Sequence[str]) -> int:
        self.asked.append(("prune", dict.fromkeys(matchers, "")))
        return len(matchers)

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = known()["status"]
        return found

    async def rules(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = known()["rules"]
        return found

    async def events(self) -> dict[str, Any]:
        return {name: known()[name] for name in ("events", "odd_lines")}

    async def notifications(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = known()["notifications"]
        return found

    async def debug(self) -> dict[str, Any]:
        return {"configured": {}}


def web_state(
    exposition: Callable[[bool], str] = lambda _openmetrics: "",
    ready: Callable[[], tuple[bool, str]] = lambda: (True, "ready"),
    own: SelfMetrics | None = None,
    **more: Any,
) -> WebState:
    registry = (own or SelfMetrics()).registry
    return WebState(exposition=exposition, registry=registry, ready=ready, **more)


@contextlib.asynccontextmanager
async def serving(
    state: WebState, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve `state` for the length of the block; gives the port."""
    stop = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            serve(build_app(state), (host, 0), stop, port.set_result, tls=lambda: tls)
        )
        try:
            yield await port
        finally:
            stop.set()


@contextlib.asynccontextmanager
async def asking(state: WebState, host: str = "127.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
    """Serve `state` for the length of the block; gives a client that asks it."""
    async with (
        serving(state, host) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        yield client


def asking_app(app: ASGIApp) -> httpx.AsyncClient:
    """Return a client that asks the application itself, where the socket is not the question."""
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


class Jumping(selectors.PollSelector):
    """Waits for no timer, and counts how often and how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0
        self.jumped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout:
            self.waits += 1
            self.jumped += timeout
        return found


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self, selector: Jumping) -> None:
        super().__init__(selector)
        self._jumping = selector

    def time(self) -> float:
        return super().time() + self._jumping.jumped
