"""What people and probes can ask a running daemon for: the other side of the HTTP API."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from sidecar import __version__
from sidecar.batch import Heard, LogStatus
from sidecar.clock import Clock
from sidecar.config.reload import Reloader
from sidecar.config.settings import Config
from sidecar.core import Core
from sidecar.daemon.loop import Pump, PumpStopped
from sidecar.daemon.orders import Answer, Order, Orders, parsed, shown_silence
from sidecar.daemon.pacing import InThread
from sidecar.daemon.seat import Seat, Seen
from sidecar.daemon.telemetry import Telemetry
from sidecar.daemon.untaken import untaken
from sidecar.matchers import Matcher, all_match
from sidecar.measure.series import EVENT_LABELS, EVENTS_TOTAL
from sidecar.notify.audit import Wait, message_of
from sidecar.notify.member import Ident
from sidecar.notify.model import Notice, Notification
from sidecar.notify.mutes import Silence
from sidecar.notify.notifier import Notifier
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.rows import AuditRow, OutboxRow
from sidecar.rules.alert import Alert, AlertState
from sidecar.rules.engine import Extent
from sidecar.rules.rule import Key, Rule
from sidecar.secret import printable
from sidecar.store.store import Store
from sidecar.web.fault import Refusal

# Of one explanation; a screen has room for fewer.
MOST_ENTRIES = 1000
_T = TypeVar("_T")
if TYPE_CHECKING:  # a web server is imported once the first step is made
    from sidecar.web.api import SilenceRequest

SHOWN_AT_MOST = 50
KINDS_AT_MOST = 500  # of events, which are asked for what they say of rules
# What a host logs where it has no secret to check signatures by, and only where it has one.
_LACKS = "config_error"
_CHECKED = ("received", "invalid_signature", "2xx")
_STOPPING = Refusal(503, "the sidecar is stopping; ask again once it runs")


class Control:
    """Answers for the daemon; see `sidecar.web.api.Api`.

    `config` is asked at each request, since a reload changes it; `logs` says where reading
    stands; `in_thread` runs a call where the core that reads lives. `seen` gives what is judged,
    `seat` where that is done, None if another host does, which `hand_over` then gives an order.
    """

    def __init__(
        self,
        *,
        pump: Pump,
        store: Store,
        reloader: Reloader,
        telemetry: Telemetry,
        in_thread: InThread,
        clock: Clock,
        config: Callable[[], Config],
        logs: Callable[[], Sequence[LogStatus]],
        seen: Callable[[], AbstractAsyncContextManager[Seen]],
        seat: Callable[[], Seat | None],
        hand_over: Callable[[Order], Awaitable[Answer]] | None,
        shadow: bool,
    ) -> None:
        self._pump = pump
        self._store = store
        self._reloader = reloader
        self._telemetry = telemetry
        self._in_thread = in_thread
        self._clock = clock
        self._config = config
        self._logs = logs
        self._seen = seen
        self._seat = seat
        self._hand_over = hand_over
        self._orders = Orders(config, clock)
        self._shadow = shadow
        self._started = clock.now()

    async def reload(self) -> Sequence[str]:
        return (await self._reloader.reload()).faults

    async def alerts(self) -> list[dict[str, Any]]:
        """Return the open alerts, the latest change first, as templates are given them."""
        async with self._seen() as seen:
            core = seen.core
            found, acked, due, held = await seen.in_thread(
                lambda: (
                    list(core.engine.alerts()), core.notifier.acked(), core.engine.deadlines(),
                    _held(core.notifier, self._clock.now()),
                )
            )  # fmt: skip
        found.sort(key=lambda alert: alert.change, reverse=True)
        shown = await asyncio.to_thread(self._shown, found, core.redactor)
        for alert, view in zip(found, shown, strict=True):
            view["acked"] = acked.get((alert.name, alert.key))
            view["due"] = due.get((alert.name, alert.key))
            view["silenced"], view["waits"] = held[alert.name, alert.key]
        return shown

    async def resolve(
        self, alertname: str, key: Mapping[str, str], person: str = ""
    ) -> dict[str, Any]:
        said = {"alertname": alertname, "key": dict(key), "person": person}
        found: dict[str, Any] = await self._ordered(Order("resolve", said))
        return found

    async def drill(self, alertname: str) -> dict[str, Any]:
        try:
            return await (await self._judging()).made_drills.make(self._orders.rule(alertname).name)
        except PumpStopped:
            raise _STOPPING from None

    async def ack(self, matchers: Sequence[str], person: str, comment: str) -> list[dict[str, Any]]:
        said = {"matchers": list(matchers), "person": person, "comment": comment}
        found: list[dict[str, Any]] = await self._ordered(Order("ack", said))
        return found

    async def silences(self) -> list[dict[str, Any]]:
        now = self._clock.now()
        async with self._seen() as seen:
            found = await seen.in_thread(lambda: seen.core.notifier.silences(now))
        return [
            {
                **shown_silence(one.row),
                "state": _state(one, now),
                "mutes": [*map(self._orders.called, alerts)],
            }
            for one, alerts in found
        ]

    async def silence(self, asked: "SilenceRequest") -> dict[str, Any]:
        found: dict[str, Any] = await self._ordered(Order("silence", msgspec.structs.asdict(asked)))
        return found

    async def unsilence(self, id_: str) -> None:
        await self._ordered(Order("unsilence", {"id_": id_}))

    async def _ordered(self, order: Order) -> Any:
        """Have an order carried out where it is judged."""
        if self._seat() is None and self._hand_over is not None:
            return (await self._hand_over(order)).value()
        return await self._between_steps(lambda core: self._orders.make(order, core))

    async def explain(self, matchers: Sequence[str], since: float) -> dict[str, Any]:
        wanted = parsed(matchers)
        async with self._seen() as seen:
            return await self._explained(seen, wanted, since)

    async def _explained(
        self, seen: Seen, wanted: Sequence[Matcher], since: float
    ) -> dict[str, Any]:
        core, store, in_thread = seen.core, seen.store, seen.in_thread

        def passes(labels: Mapping[str, str]) -> bool:
            return all_match(wanted, lambda name: labels.get(name, ""))

        def found() -> tuple[list[dict[str, Any]], list[AuditRow], list[Wait]]:
            stand = core.engine.standing(passes, core.rule_time or 0.0)
            rules = [_standing(*one) for one in islice(stand, SHOWN_AT_MOST)]
            return rules, store.audit(since), core.notifier.waits()

        rules, rows, waits = await in_thread(found)
        entries = [(row, msgspec.json.decode(row.subject)) for row in rows]
        mine = [(row, labels) for row, labels in entries if passes(labels)]
        mine = mine[-MOST_ENTRIES:]
        ids = [name for row, _ in mine if (name := message_of(row))]
        sent = {row.id: row for row in await in_thread(lambda: store.messages(ids))}
        trail = [_told(row, labels, sent.get(message_of(row))) for row, labels in mine]
        mine_too = (one for one in waits if passes(one.alert.labels))
        trail += [one.told(core.redactor.fields(one.alert.labels)) for one in mine_too]
        trail = trail[-MOST_ENTRIES:]
        config, logs, redact = self._config(), self._logs(), core.redactor.text
        look = partial(untaken, config, logs, wanted, since, self._clock.now(), redact=redact)
        missed = await asyncio.to_thread(look)
        return {"rules": rules, "trail": trail, "untaken": missed}

    async def prune(self, matchers: Sequence[str]) -> int:
        wanted = parsed(matchers)
        now = self._clock.now()
        return await self._between_steps(lambda core: core.meter.prune(wanted, now), self._pump)

    async def _judging(self) -> Seat:
        if (seat := self._seat()) is None:
            async with self._seen() as seen:
                judge = seen.fleet["judge"] if seen.fleet else "another host"
                raise Refusal(409, f"the sidecar on {judge} judges; ask that one")
        return seat

    async def _between_steps(self, change: Callable[[Core], _T], pump: Pump | None = None) -> _T:
        """Make a change where it is judged, or in the core of `pump`."""
        try:
            return await (pump or (await self._judging()).pump).between_steps(change)
        except PumpStopped:
            raise _STOPPING from None

    async def status(self) -> dict[str, Any]:
        config, last, backlog = self._config(), self._reloader.last, self._telemetry.backlog
        core, seat = self._pump.core, self._seat()
        judged = core if seat is None else seat.pump.core
        async with self._seen() as seen:
            fleet = seen.fleet
        return {
            "version": __version__,
            "now": self._clock.now(),
            "started": self._started,
            "shadow": self._shadow,
            "config": {
                "path": config.path,
                "rules": len(config.rules),
                "last_reload": None
                if last is None
                else {"at": last.at, "ok": last.ok, "faults": last.faults},
            },
            "problems": self._telemetry.watch.problems(),
            "logs": [_shown_log(log, core.heard.get(log.log)) for log in self._logs()],
            "fleet": fleet,
            "rule_time": judged.rule_time,
            "outbox": {"pending": backlog.pending, "oldest": backlog.oldest},
        }

    async def rules(self) -> list[dict[str, Any]]:
        series = await self._in_thread(self._kinds)
        async with self._seen() as seen:
            engine = seen.core.engine
            counts, matched, extents = await seen.in_thread(
                lambda: (engine.counts(), engine.last_matches, engine.extents())
            )
        rules = self._config().rules
        shown = await asyncio.to_thread(lambda: [_shown_rule(o, counts, series) for o in rules])
        for view in shown:
            name = view["alertname"]
            view.update(msgspec.to_builtins(extents.get(name, Extent())))
            view["last_match"] = matched.get(name)
        return shown

    async def events(self) -> dict[str, Any]:
        kinds = await self._in_thread(self._kinds)
        lines = reversed(self._telemetry.odd_lines)
        odd = [dict(zip(("at", "kind", "reason", "sample"), line, strict=True)) for line in lines]
        drift = self._pump.core.drift
        unread = [k for k in kinds if drift.is_unread(tuple(k[name] for name in EVENT_LABELS))]
        return {"events": kinds[:SHOWN_AT_MOST], "odd_lines": odd, "unread": unread}

    async def notifications(self) -> list[dict[str, Any]]:
        async with self._seen() as seen:
            rows = await seen.in_thread(lambda: seen.store.latest_messages(SHOWN_AT_MOST))
            redactor = seen.core.redactor
        return await asyncio.to_thread(lambda: [_message(row, redactor) for row in rows])

    async def debug(self) -> dict[str, Any]:
        kinds, config = await self._in_thread(self._kinds), self._config()
        async with self._seen() as seen:
            counts = await seen.in_thread(seen.core.engine.counts)
        open_alerts = {
            state.value: sum(n for (_, _, of), n in counts.items() if of == state.value)
            for state in (AlertState.FIRING, AlertState.PENDING)
        }
        used = {name for receiver in config.receivers.values() for name in receiver.configs}
        return {
            "configured": {
                "webhook_secret": _webhook_works(kinds),
                **{kind.name: kind.name in used for kind in config.kinds},
                "token": config.http.token is not None,
            },
            "events": kinds[:SHOWN_AT_MOST],
            "alerts": {**open_alerts, "by_severity": _by_severity(counts)},
        }

    def _kinds(self) -> list[dict[str, Any]]:
        """Return the kinds of events that were counted, the last seen first."""
        return [
            {**msgspec.json.decode(row.labels), "count": int(row.value), "last": row.touched}
            for row in self._store.latest_series(EVENTS_TOTAL, KINDS_AT_MOST)
        ]

    def _shown(self, alerts: Sequence[Alert], redactor: Redactor) -> list[dict[str, Any]]:
        now = self._clock.now()
        by = {rule.name: rule.by for rule in self._config().rules}
        notification = Notification.about(alerts, now)
        # A renderer of its own: the one that sends lives on the event loop.
        config = self._config()
        renderer = Renderer(config.templates, redactor, config.origin)
        view = renderer.rendering(notification).view
        shown = zip(alerts, view["notices"], strict=True)
        return [_alert(alert, by.get(alert.name, ()), told) for alert, told in shown]


def _shown_rule(
    rule: Rule, counts: Mapping[tuple[str, str, str], int], kinds: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a rule as it is written and as it stands.

    `last_event` is when an event came that fits its `match` by provider, type and status.
    """
    standard = {field: label for label, field in EVENT_LABELS.items()}
    mine = [(standard[one.name], one) for one in rule.match if one.name in standard]
    fits = (k["last"] for k in kinds if mine and all(m.matches(k[label]) for label, m in mine))
    states = {
        state: sum(n for (name, _, of), n in counts.items() if (name, of) == (rule.name, state))
        for state in ("firing", "pending")
    }
    return {
        "alertname": rule.name,
        "group": rule.group,
        "severity": rule.severity,
        "match": [str(matcher) for matcher in rule.match],
        "by": list(rule.by),
        "place": rule.place,
        **states,
        "last_event": max(fits, default=None),
    }


def _message(row: OutboxRow, redactor: Redactor) -> dict[str, Any]:
    told = msgspec.json.decode(row.payload, type=Notification)
    return {
        "id": row.id,
        "at": row.created,
        "receiver": row.receiver,
        "integration": row.integration,
        "destination": redactor.text(row.destination),
        "reason": told.reason.value,
        "alerts": [redactor.text(_named_alert(one)) for one in told.notices[:SHOWN_AT_MOST]],
        "outcome": row.outcome or "waiting",
        "attempt": row.attempt,
        "next_at": None if row.outcome else row.next_at,
        "detail": redactor.text(row.detail),
    }


def _named_alert(notice: Notice) -> str:
    about = [f"{k}={v}" for k, v in notice.labels.items() if k not in ("alertname", "severity")]
    return " ".join([notice.labels.get("alertname", "alert"), notice.status.value, *about])


def _webhook_works(kinds: Sequence[Mapping[str, Any]]) -> bool | None:
    """Return whether the host can check signatures, as its log says last; None: it does not say.

    The secret is the host's own. `config_error` says that it has none; a call whose signature was
    right, or wrong, that it has one.
    """
    lacks = max((kind["last"] for kind in kinds if kind["status"] == _LACKS), default=0.0)
    has = max((kind["last"] for kind in kinds if kind["status"] in _CHECKED), default=0.0)
    return None if has == lacks else has > lacks


def _by_severity(counts: Mapping[tuple[str, str, str], int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for (_, severity, state), number in counts.items():
        if state == AlertState.FIRING.value:
            found[severity] = found.get(severity, 0) + number
    return found


def _held(
    notifier: Notifier, now: float
) -> Mapping[Ident, tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Return of alerts the silences that mute them now, and which messages they wait for."""
    held: defaultdict[Ident, tuple[list[dict[str, Any]], list[dict[str, Any]]]]
    held = defaultdict(lambda: ([], []))
    for silence, muted in notifier.silences(now):
        for alert in muted:
            held[alert.name, alert.key][0].append(shown_silence(silence.row))
    for wait in notifier.waits():
        told = {"why": wait.why, "until": wait.until, "to": wait.to}
        held[wait.alert.name, wait.alert.key][1].append(told)
    return held


def _state(silence: Silence, now: float) -> str:
    if silence.active(now):
        return "active"
    return "expired" if silence.row.ends_at <= now else "pending"


def _standing(rule: Rule, key: Key, phase: str, value: float | str | None) -> dict[str, Any]:
    """Return how a rule stands to one key, and what its condition asks."""
    return {
        "alertname": rule.name, "key": dict(zip(rule.by, key, strict=False)), "state": phase,
        "value": value, "condition": rule.facts.condition,
    }  # fmt: skip


def _told(row: AuditRow, labels: dict[str, str], sent: OutboxRow | None) -> dict[str, Any]:
    """Return an entry of the record, with what became of the message that it speaks of."""
    entry = {"at": row.at, "kind": row.kind, "labels": labels, "detail": row.detail}
    if sent is not None:
        said = sent.detail or sent.reference
        after = f" at attempt {sent.attempt}" if sent.attempt else ""
        entry["message"] = f"{sent.outcome or 'waits'}{after}{f': {said}' if said else ''}"
    return entry


def _shown_log(log: LogStatus, heard: Heard | None) -> dict[str, Any]:
    heard = heard or Heard()
    return {
        **msgspec.to_builtins(log),
        "log": printable(log.log),
        "path": printable(log.path),
        "lines": heard.lines,
        "event_lines": heard.event_lines,
        "last_line": heard.last_line_at,
        "last_event": heard.last_event_at,
    }


def _alert(alert: Alert, by: Sequence[str], told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "alertname": alert.name,
        "state": alert.state.value,
        "severity": alert.severity,
        # As it is, and not redacted: by these values an alert is named when it is to be resolved.
        "key": dict(zip(by, alert.key, strict=False)),
        "labels": told["labels"],
        "annotations": told["annotations"],
        "value": told["value"],
        "since": alert.since,
        "fired_at": alert.fired_at,
        "episode": alert.episode,
        "collected": told["collected"],
        "evidence": told["evidence"],
    }
