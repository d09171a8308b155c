"""Decides when a fact about the sidecar itself becomes an event that rules can judge.

An event is made when a problem begins, again every REMIND_SECONDS while it goes on, and once when
it is over; never one per line or per failed attempt.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sidecar.measure.series import EVENTS_TOTAL, triple_of
from sidecar.parse.event import HOST, OWN_PROVIDER, Event, bounded
from sidecar.rows import SeriesRow
from sidecar.rules.alert import Alert
from sidecar.rules.drift import Drift
from sidecar.rules.rule import SEEN_BY_JUDGE

REMIND_SECONDS = 300.0
# Subjects of one kind that are told apart; a thousand unreadable files are one trouble.
MAX_SUBJECTS = 20
PROBLEM, OK = "problem", "ok"
_PREFIX = "sidecar."
_HOUR, _DAY = 3600.0, 86_400.0
# What comes regularly comes in hours or days: that it is gone need not be seen at every step.
DRIFT_LOOK_SECONDS = 60.0
# Kinds of events that nothing names: whoever makes them up fills no memory, and no screen.
MOST_UNREAD, MOST_NAMED = 500, 20

Subject = tuple[str, ...]


class Problem(StrEnum):
    """What can be wrong; `sidecar.` and this is the event's type."""

    LOG_UNREADABLE = "log_unreadable"
    LAG = "lag"
    NO_EVENTS = "no_events"
    TIMES_OFF = "times_off"
    BYTES_LOST = "bytes_lost"
    LOG_END_UNSEEN = "log_end_unseen"
    REJECTS = "rejects"
    RELOAD_FAILED = "reload_failed"
    OUTBOX_STUCK = "outbox_stuck"
    CAP_REACHED = "cap_reached"
    STATE_DAMAGED = "state_damaged"
    COMMIT_FAILED = "commit_failed"
    TEMPLATE_FAILED = "template_failed"
    DESTINATION_DEAD = "destination_dead"
    INVARIANT_BROKEN = "invariant_broken"
    STRIPE_SILENT = "stripe_silent"
    DRILL_FAILED = "drill_failed"
    DRIFT = "drift"
    UNREAD = "unread"
    HOST_SILENT = "host_silent"

    @property
    def event_type(self) -> str:
        return _PREFIX + self.value


@dataclass(frozen=True, slots=True)
class Habit:
    """How a kind behaves. `names`: the fields that tell its subjects apart.

    `patience`: a problem shorter than this many seconds is nobody's business. `quiet`: of what
    happens and is gone, the seconds without another one after which it counts as over; None for a
    state, which is over when it is no longer so.
    """

    names: Subject = ()
    patience: float = 0.0
    quiet: float | None = None


HABITS: Mapping[Problem, Habit] = {
    Problem.LOG_UNREADABLE: Habit(("problem",), patience=120.0),
    Problem.STRIPE_SILENT: Habit(("problem",), patience=300.0),
    Problem.DRILL_FAILED: Habit(("drill",)),
    Problem.DRIFT: Habit(("what",)),
    Problem.UNREAD: Habit(quiet=_HOUR),
    Problem.HOST_SILENT: Habit(("host",)),
    Problem.LAG: Habit(("log",), patience=60.0),
    Problem.NO_EVENTS: Habit(("log",)),
    Problem.TIMES_OFF: Habit(("log",), quiet=_DAY),
    Problem.BYTES_LOST: Habit(("log",), quiet=_HOUR),
    Problem.LOG_END_UNSEEN: Habit(("log",), quiet=_HOUR),
    Problem.REJECTS: Habit(("reason",), quiet=_HOUR),
    Problem.RELOAD_FAILED: Habit(),
    Problem.OUTBOX_STUCK: Habit(),
    Problem.CAP_REACHED: Habit(("cap", "name"), quiet=_HOUR),
    Problem.STATE_DAMAGED: Habit(quiet=_DAY),
    Problem.COMMIT_FAILED: Habit(quiet=600.0),
    Problem.TEMPLATE_FAILED: Habit(("receiver",), quiet=_DAY),
    Problem.INVARIANT_BROKEN: Habit(("invariant",), quiet=_DAY),
    Problem.DESTINATION_DEAD: Habit(("receiver", "integration", "destination"), quiet=_DAY),
}

# What is seen only where it is judged; whoever judges next goes on from there.
WHERE_JUDGED = frozenset(one for one in Problem if one.event_type in SEEN_BY_JUDGE)


@dataclass(slots=True)
class _Trouble:
    """One problem: `told_at` is when an event last said so, None while none did."""

    since: float
    seen_at: float
    told_at: float | None = None
    over: bool = False
    count: int = 0
    fields: dict[str, Any] = field(default_factory=dict)


class SelfWatch:
    """Holds the present problems. All times are wall clock, seconds since the epoch."""

    def __init__(self, started: float = 0.0, host: str = "") -> None:
        """A series that was created by `started` is nothing new; `host`: by its name in a fleet."""
        self._own = {HOST: host} if host else {}
        self._troubles: dict[Problem, dict[Subject, _Trouble]] = {kind: {} for kind in Problem}
        self._drift_looked_at, self._first_at, self._day = 0.0, started, started // _DAY
        self._unread = set[str]()

    def restore(self, alerts: Iterable[Alert], now: float) -> None:
        """Go on from the open alerts of an earlier run, so that what is over now is said to be."""
        for alert in alerts:
            kind = kind_of(alert)
            if kind is None:
                continue
            subject = tuple(
                alert.labels.get(name, str(alert.event.get(name, "")))
                for name in HABITS[kind].names
            )
            known = self._troubles[kind]
            if subject not in known:
                known[subject] = _Trouble(now, now, told_at=now, fields=dict(alert.event))

    def recall(self, series: Iterable[SeriesRow], drift: Drift) -> None:
        """Take up what an earlier run saw on its last day and has told nobody, by its series."""
        counted = [row for row in series if row.name == EVENTS_TOTAL]
        if counted:
            self._day = min(self._day, max(row.touched for row in counted) // _DAY)
            self._note_unread((r for r in counted if r.created >= self._day * _DAY), drift)

    def _note_unread(self, fresh: Iterable[SeriesRow], drift: Drift) -> None:
        kinds = filter(drift.is_unread, map(triple_of, fresh))
        self._unread.update([*map(" ".join, kinds)][: MOST_UNREAD - len(self._unread)])

    def present(
        self, kind: Problem, subjects: Mapping[Subject, Mapping[str, Any]], now: float
    ) -> None:
        """Note all that is wrong of a state at `now`, with what is to be said of each."""
        seen = {_labels(subject): fields for subject, fields in subjects.items()}
        for subject, trouble in self._troubles[kind].items():
            trouble.over = subject not in seen
        for subject, fields in seen.items():
            self._see(kind, subject, fields, now)

    def happened(self, kind: Problem, subject: Subject, now: float, **fields: Any) -> None:
        """Note something that went wrong at `now` and is past."""
        self._see(kind, _labels(subject), fields, now)

    def ended(self, kind: Problem, subject: Subject) -> None:
        """Note that this is no longer so."""
        trouble = self._troubles[kind].get(_labels(subject))
        if trouble is not None:
            trouble.over = True

    def follow(self, series: Iterable[SeriesRow], drift: Drift, now: float) -> None:
        """Note what came regularly and is gone, and once a day (UTC) what no rule or metric names.

        `series`: those of this step.
        """
        fresh = [r for r in series if r.name == EVENTS_TOTAL and r.created > self._first_at]
        self._first_at = max([self._first_at, *(row.created for row in fresh)])
        self._note_unread(fresh, drift)
        if abs(now - self._drift_looked_at) >= DRIFT_LOOK_SECONDS:
            self._drift_looked_at = now
            self.present(Problem.DRIFT, {(k,): v for k, v in drift.gone().items()}, now)
        day, self._day = self._day, now // _DAY
        if self._unread and day != self._day:
            named = ", ".join(sorted(self._unread)[:MOST_NAMED])
            self.happened(Problem.UNREAD, (), now, number=len(self._unread), kinds=named)
            self._unread.clear()

    def due_events(self, now: float) -> list[Event]:
        """Return the events that are due at `now`."""
        events = []
        for kind, troubles in self._troubles.items():
            for subject, trouble in list(troubles.items()):
                status = _due(HABITS[kind], trouble, now)
                if trouble.over:
                    del troubles[subject]
                if status is not None:
                    trouble.told_at = now
                    event = _event(kind, subject, status, trouble, now)
                    event.fields.update(self._own)
                    events.append(event)
        return events

    def problems(self) -> list[dict[str, Any]]:
        """Return what is wrong at present and was said, for the status page."""
        return [
            {"kind": kind.value, **dict(zip(HABITS[kind].names, subject, strict=True)),
             "since": trouble.since}
            for kind, troubles in self._troubles.items()
            for subject, trouble in troubles.items()
            if trouble.told_at is not None and not trouble.over
        ]  # fmt: skip

    def _see(self, kind: Problem, subject: Subject, fields: Mapping[str, Any], now: float) -> None:
        known = self._troubles[kind]
        trouble = known.get(subject)
        if trouble is None:
            if len(known) >= MAX_SUBJECTS:
                return
            trouble = known[subject] = _Trouble(now, now)
        trouble.since = min(trouble.since, now)  # the clock may have been set back
        trouble.told_at = None if trouble.told_at is None else min(trouble.told_at, now)
        trouble.seen_at, trouble.over = now, False
        trouble.count += 1
        trouble.fields = dict(fields)


def _labels(subject: Subject) -> Subject:
    """Return `subject` as the rules will know it."""
    return tuple(map(bounded, subject))


def _due(habit: Habit, trouble: _Trouble, now: float) -> str | None:
    """Return the status that is to be said at `now`, None for nothing; notes what is over."""
    if habit.quiet is not None and abs(now - trouble.seen_at) >= habit.quiet:
        trouble.over = True
    if trouble.over:
        return None if trouble.told_at is None else OK
    if trouble.told_at is None:
        return PROBLEM if now - trouble.since >= habit.patience else None
    if abs(now - trouble.told_at) < REMIND_SECONDS:
        return None
    again = habit.quiet is None or trouble.seen_at > trouble.told_at
    return PROBLEM if again else None


def _event(kind: Problem, subject: Subject, status: str, trouble: _Trouble, now: float) -> Event:
    fields = {
        **trouble.fields,
        **dict(zip(HABITS[kind].names, subject, strict=True)),
        "webhook_provider": OWN_PROVIDER,
        "event_type": kind.event_type,
        "status": status,
        "count": trouble.count,
        "lasted": round(max(0.0, now - trouble.since)),
    }
    return Event(OWN_PROVIDER, kind.event_type, status, at=now, fields=fields)


def kind_of(alert: Alert) -> Problem | None:
    """Return the problem of ours that an alert is about, None if it is about none."""
    event_type = str(alert.event.get("event_type", ""))
    known = {kind.event_type: kind for kind in Problem}
    ours = alert.event.get("webhook_provider") == OWN_PROVIDER
    return known.get(event_type) if ours else None
