"""Alerts, transitions and routes for the tests of deciding and rendering, and a notifier's desk."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from sidecar.matchers import parse_matcher
from sidecar.notify.model import (
    Notice,
    NoticeStatus,
    Notification,
    Reason,
    Receiver,
    Route,
)
from sidecar.notify.mutes import Mutes
from sidecar.notify.notifier import Notifier
from sidecar.receivers.email.config import EmailConfig
from sidecar.receivers.slack.config import SlackConfig
from sidecar.rows import CooldownRow, Delta, GroupRow, MemberRow, Row, SilenceRow, ToldRow
from sidecar.rules.alert import Alert, AlertState, Transition, TransitionKind

if TYPE_CHECKING:
    from sidecar.notify.decide import GroupDecision

T0 = 1_793_606_400.0  # 2026-11-02 08:00:00 UTC
MINUTE = 60.0
HOUR = 3600.0

_R = TypeVar("_R", bound=Row)


def mail_config(*to: str, send_resolved: bool = True, timezone: str = "UTC") -> EmailConfig:
    return EmailConfig(
        to=to,
        from_="alerts@example.com",
        smarthost=(("mail", 25),),
        send_resolved=send_resolved,
        timezone=timezone,
    )


def slack_receiver(name: str, *, send_resolved: bool = True) -> Receiver:
    return Receiver(
        name=name,
        configs={"slack": (SlackConfig(channel=f"#{name}", send_resolved=send_resolved),)},
    )


def route(id_: str, receiver: str, *matchers: str, **values: Any) -> Route:
    """Return a route that tells at once and never holds back, unless `values` say otherwise."""
    usual: dict[str, Any] = {"group_wait": 0.0, "cooldown": 0.0, "group_by": ("alertname", "org")}
    return Route(
        id=id_,
        receiver=receiver,
        matchers=tuple(parse_matcher(text) for text in matchers),
        **{**usual, **values},
    )


def tiers(**values: Any) -> Route:
    """Return a tree with a route for critical alerts below the one for all others."""
    critical = route("{}/critical", "pager", 'severity="critical"', **values)
    return replace(route("{}", "team", **values), routes=(critical,))


@dataclass
class World:
    """The rules' side: it numbers changes and keeps each alert's last snapshot."""

    change: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    alerts: dict[tuple[str, str], Alert] = field(default_factory=dict)

    def fire(
        self,
        org: str = "a",
        at: float = T0,
        *,
        severity: str = "warning",
        name: str = "Late",
        **more: Any,
    ) -> Transition:
        before = self.alerts.get((name, org))
        labels = {"alertname": name, "org": org, "severity": severity}
        alert = Alert(
            name=name,
            key=(org,),
            episode=before.episode + 1 if before else 1,
            change=next(self.change),
            state=AlertState.FIRING,
            labels=labels,
            annotations={"summary": "{{ labels.org }} is late"},
            value=3.0,
            since=at,
            fired_at=at,
        )
        return self._keep(org, Transition(TransitionKind.FIRED, alert, at, **more))

    def escalate(
        self,
        org: str = "a",
        at: float = T0,
        *,
        severity: str = "critical",
        name: str = "Late",
        **more: Any,
    ) -> Transition:
        old = self.alerts[name, org]
        labels = {**old.labels, "severity": severity}
        alert = msgspec.structs.replace(old, labels=labels, change=next(self.change))
        return self._keep(
            org, Transition(TransitionKind.ESCALATED, alert, at, before=old.labels, **more)
        )

    def end(
        self,
        org: str = "a",
        at: float = T0,
        *,
        kind: TransitionKind = TransitionKind.RESOLVED,
        name: str = "Late",
        **more: Any,
    ) -> Transition:
        alert = msgspec.structs.replace(
            self.alerts[name, org],
            state=AlertState.RESOLVED,
            change=next(self.change),
            ended_at=at,
            unseen=kind is TransitionKind.EXPIRED,
        )
        return self._keep(org, Transition(kind, alert, at, **more))

    def _keep(self, org: str, transition: Transition) -> Transition:
        self.alerts[transition.alert.name, org] = transition.alert
        return transition


class Table:
    """The rows of the state file, as the store would keep them."""

    def __init__(self) -> None:
        self.rows: dict[tuple[type[Row], tuple[Any, ...]], Row] = {}

    def commit(self, delta: Delta) -> None:
        for gone in delta.gone:
            self.rows.pop((gone.row, gone.key), None)
        for row in delta.rows:
            self.rows[type(row), tuple(getattr(row, name) for name in row.key)] = row

    def load(self, row: type[_R]) -> list[_R]:
        return [found for found in self.rows.values() if isinstance(found, row)]


class Desk:
    """A notifier with its state file; `restart` forgets everything but the rows."""

    def __init__(
        self,
        root: Route,
        receivers: Mapping[str, Receiver] | None = None,
        mutes: Callable[[], Mutes] = Mutes,
    ) -> None:
        self.root = root
        self.mutes = mutes
        self.receivers = receivers or {n: slack_receiver(n) for n in ("team", "pager")}
        self.table = Table()
        self.notifier = Notifier(root, self.receivers, mutes=mutes())
        self.decisions: list[GroupDecision] = []
        self._now = 0.0
        self.alerts: dict[tuple[str, tuple[str, ...]], Alert] = {}  # as the rules know them

    def restart(self, root: Route | None = None) -> None:
        self.root = root or self.root
        self.notifier = Notifier(self.root, self.receivers, mutes=self.mutes())
        self.notifier.restore(
            self.table.load(GroupRow),
            self.table.load(MemberRow),
            self.table.load(ToldRow),
            self.table.load(CooldownRow),
            self._now,
            silences=self.table.load(SilenceRow),
            alerts=self.alerts.values(),
        )

    def step(
        self, now: float, *transitions: Transition, caught_up: bool = True
    ) -> list[Notification]:
        """Take, flush, commit; return the messages in the order in which they were decided."""
        self._now = now
        self.alerts |= {(one.alert.name, one.alert.key): one.alert for one in transitions}
        self.notifier.add(transitions, now)
        self.notifier.flush(now, caught_up=caught_up, at_once=True)
        drained = self.notifier.drain()
        self.table.commit(drained.delta)
        self.table.commit(Delta(rows=[*drained.outbox]))
        self.decisions += drained.decisions
        return [msgspec.json.decode(row.payload, type=Notification) for row in drained.outbox]


def told(messages: list[Notification]) -> list[tuple[str, str, str]]:
    """Return receiver, organisation and status of each notice: what was said to whom."""
    return [(m.receiver, n.labels["org"], n.status.value) for m in messages for n in m.notices]


def notice(
    status: NoticeStatus = NoticeStatus.FIRING, org: str = "org_7f3a", **more: Any
) -> Notice:
    """Return a notice as the rules' billing alerts make them."""
    values: dict[str, Any] = {
        "labels": {"alertname": "PaymentFailing", "org_id": org, "severity": "critical"},
        "annotations": {
            "summary": "Payment failed {{ value }} times for {{ labels.org_id }}",
            "description": "Declined: {{ event.code | default('no code') }}. Call the customer.",
            "runbook_url": "https://runbooks.example.com/payment",
        },
        "value": 3.0,
        "since": T0,
        "ended_at": None,
        "event": {"code": "card_declined"},
        "episode": 1,
    }
    return Notice(status=status, **{**values, **more})


def notification(*notices: Notice, **more: Any) -> Notification:
    """Return a message told 65 minutes after `T0`."""
    values: dict[str, Any] = {
        "id": "m1",
        "receiver": "critical",
        "integration": "slack",
        "index": 0,
        "destination": "#critical-alerts",
        "reason": Reason.FIRST,
        "group": '{}:{alertname="PaymentFailing"}',
        "group_labels": {"alertname": "PaymentFailing"},
        "at": T0 + 65 * MINUTE,
    }
    return Notification(notices=list(notices or (notice(),)), **{**values, **more})
