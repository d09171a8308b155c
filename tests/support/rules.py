"""Rules, events and a state file in memory, for tests of the rule engine."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from sidecar.matchers import Matcher, parse_test
from sidecar.parse.columns import Columns
from sidecar.parse.event import Event
from sidecar.rows import (
    AlertRow,
    Delta,
    FloorsRow,
    JournalRow,
    MetaRow,
    Row,
    RuleRow,
    RuleStateRow,
)
from sidecar.rules.alert import Transition
from sidecar.rules.condition import Instant, parse_instant
from sidecar.rules.engine import Engine
from sidecar.rules.grammar import parse_condition
from sidecar.rules.guard import NoGuard
from sidecar.rules.restore import alert_row, state_row
from sidecar.rules.rule import Escalation, Rule

R = TypeVar("R", bound=Row)

DAY = 86_400.0
HOUR = 3_600.0


def matchers(*texts: str) -> tuple[Matcher, ...]:
    return tuple(parse_test(text) for text in texts)


def step(
    at: str = "", *, after: float | None = None, severity: str = "critical", **labels: str
) -> Escalation:
    """Return an escalation step as a rule file would say it."""
    return Escalation(
        at=parse_instant(at) if at else Instant(""),
        after=after,
        labels={"severity": severity, **labels},
    )


def rule(condition: str, *, resolve: Sequence[str] | None = None, **more: Any) -> Rule:
    """Return a rule on `event_type="x"` by `org_id`, one hour wide, unless told otherwise."""
    match = more.pop("match", ['event_type="x"'])
    settings: dict[str, Any] = {
        "name": "Rule",
        "group": "test",
        "by": ("org_id",),
        "within": None if "last(" in condition and "hold" in more else HOUR,
        "labels": {"severity": "warning"},
    }
    return Rule(
        match=matchers(*match),
        condition=parse_condition(condition),
        resolve=None if resolve is None else matchers(*resolve),
        **{**settings, **more},
    )


def iso(at: float) -> str:
    """Return an instant as hosts write it; as a number, one so early would be none."""
    return datetime.fromtimestamp(at, UTC).isoformat()


def event(at: float, status: str = "s", event_type: str = "x", **fields: Any) -> Event:
    fields = {"org_id": "a", **fields}
    return Event("stripe", event_type, status, at, fields)


class StateFile:
    """The tables as `sidecar.store` would hold them."""

    def __init__(self) -> None:
        self.rows: dict[tuple[type[Row], tuple[Any, ...]], Row] = {}

    def commit(self, delta: Delta) -> None:
        for gone in delta.gone:
            del self.rows[gone.row, tuple(gone.key)]  # a row that is not there is a fault
        for row in delta.rows:
            self.rows[type(row), tuple(getattr(row, name) for name in row.key)] = row

    def of(self, kind: type[R]) -> list[R]:
        return [row for row in self.rows.values() if isinstance(row, kind)]

    def meta(self, name: str) -> int:
        return max((int(row.value) for row in self.of(MetaRow) if row.name == name), default=0)


class Bench:
    """An engine with its state file; collects every transition."""

    def __init__(
        self, *rules: Rule, start: float = 0.0, stale_after: float = HOUR, **more: Any
    ) -> None:
        self.file = StateFile()
        self.all: list[Transition] = []
        self._stale_after = stale_after
        self._more = more
        self.load(*rules, now=start)

    def load(self, *rules: Rule, now: float, recheck: bool = False) -> None:
        """Start an engine with `rules` from what the state file holds."""
        self.rules = rules
        self.engine = Engine(rules, redact=redact, stale_after=self._stale_after, **self._more)
        self.engine.restore(
            self.file.of(RuleRow),
            self.file.of(RuleStateRow),
            self.file.of(AlertRow),
            self.file.of(JournalRow),
            self.file.of(FloorsRow),
            now=now,
            last_change=self.file.meta("change"),
            last_step=self.file.meta("step"),
            recheck=recheck,
        )
        self.commit()

    def commit(self) -> list[Transition]:
        drained = self.engine.drain()
        self.file.commit(drained.delta)
        self.all += drained.transitions
        return drained.transitions

    def restart(self, now: float = 0.0) -> None:
        self.commit()
        self.load(*self.rules, now=now)

    def see(self, *events: Event, read_at: float | None = None) -> list[Transition]:
        for one in events:
            self.engine.observe(one, read_at=one.at if read_at is None else read_at)
        return self.commit()

    def see_together(self, *events: Event, read_at: float) -> list[Transition]:
        """Show the engine `events` as one chunk's."""
        self.engine.observe_all(Columns.of(events), read_at=read_at)
        return self.commit()

    def floors(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """Return when keys were resolved of which the engine knows nothing else, by rule name."""
        return {
            (compiled.rule.name, key): at
            for compiled in self.engine._compiled_rules
            for key, at in self.engine._keys.waiting[compiled.order].floors.items()
        }

    def remembered(self) -> list[Row]:
        """Return all that the engine knows of keys as rows, once nothing of it waits any more."""
        keys, rows = self.engine._keys, list[Row]()
        for compiled in self.engine._compiled_rules:
            for key in list(keys.waiting[compiled.order]):
                keys.wake(compiled, key)
        for state in keys:
            rows.append(state_row(state, 0))
            if state.alert is not None:
                rows.append(alert_row(state, state.alert, redact))
        return sorted(rows, key=repr)

    def tick(
        self, t: float, *, now: float | None = None, complete: bool = True
    ) -> list[Transition]:
        self.engine.tick(t, now=t if now is None else now, complete=complete)
        return self.commit()


class CloseBench(Bench):
    """A bench whose engine lets nothing wait but what says nothing, and looks at each event."""

    def load(self, *rules: Rule, now: float, recheck: bool = False) -> None:
        super().load(*rules, now=now, recheck=recheck)
        for compiled in self.engine._compiled_rules:
            waiting = self.engine._keys.waiting[compiled.order]
            compiled.guard = waiting._guard = NoGuard()
            waiting._most = 0.0
            compiled.upholds, compiled.rising = False, frozenset(range(99))


def redact(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: "***" if name == "secret" else value for name, value in fields.items()}


def kinds(transitions: Sequence[Transition]) -> list[str]:
    return [t.kind.value for t in transitions]


def told(transitions: Sequence[Transition]) -> list[tuple[str, float]]:
    return [(t.kind.value, t.at) for t in transitions]
