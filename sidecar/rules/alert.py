"""The life of one alert: its phases as a table, its record while it is open, its transitions.

`TABLE` says what comes of which trigger in which phase. An `OpenAlert` is the record of one that is
pending or firing, private to the rules; `Alert` and `Transition` are what they hand on.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from sidecar.parse.event import Event
from sidecar.rules.compiled import CompiledRule, kept_text
from sidecar.rules.condition import Instant
from sidecar.rules.rule import Escalation, Facts, Key, Rule, label_name

# Values of one field that an alert collects, and identities that it tells apart.
MAX_COLLECTED = 100


class AlertState(StrEnum):
    """States of an alert. `inactive` is the absence of a row."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Evidence(msgspec.Struct, frozen=True):
    """The line that tipped an alert, redacted: its log's path, its position there, its text."""

    file: str
    offset: int
    line: str


class Ended(StrEnum):
    """What ended an alert, empty while it is open."""

    OPEN = ""
    EVENT = "event"
    CLEARED = "cleared"  # its condition turned false by itself
    UNSEEN = "unseen"  # for want of news
    BY_HAND = "by hand"
    CLOSED = "closed"  # its rule changed or went away


class Alert(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule and one label set at one moment.

    Identity is (`name`, `key`), `key` being the raw values of the rule's `by`. `episode` counts
    its firings, `change` is the number of the transition that made this snapshot (unique and
    rising over all alerts). `labels` hold alertname, the `by` fields and the rule's labels with
    every reached escalation laid over. `annotations` are still templates. `event` is the last
    event that upheld it, `ended_by` the one that ended it, both redacted. Instants in rule time:
    `since` the condition became true, `fired_at`, `ended_at`. `unseen`: it ended for want of news,
    by no fact.
    `collected`: what the rule's `collect` asks for, redacted, by label name. `evidence` is there
    where the line of a log made the condition true. `times`: how many events upheld it, the last
    at `seen_at`. `rule`: what its rule says of all its alerts. `ended`: by what, by hand by whom.
    """

    name: str
    key: Key
    episode: int
    change: int
    state: AlertState
    labels: dict[str, str]
    annotations: dict[str, str]
    value: float | str | None
    since: float
    fired_at: float | None = None
    ended_at: float | None = None
    event: dict[str, Any] = {}
    unseen: bool = False
    collected: dict[str, list[str]] = {}
    ended_by: dict[str, Any] = {}
    evidence: Evidence | None = None
    times: int = 0
    seen_at: float | None = None
    rule: Facts = Facts()
    ended: Ended = Ended.OPEN
    ended_person: str = ""

    @property
    def severity(self) -> str:
        return self.labels.get("severity", "")


class TransitionKind(StrEnum):
    """What happened. GREW: ten, a hundred, a thousand … events have upheld it; EXPIRED: it is no
    longer seen, which is all that can be said of its end; CLOSED: the rule changed or went away.
    """

    FIRED = "fired"
    ESCALATED = "escalated"
    GREW = "grew"
    RESOLVED = "resolved"
    EXPIRED = "expired"
    CLOSED = "closed"


class Transition(msgspec.Struct, frozen=True):
    """A change of an alert's state at rule time `at`.

    `stale`: caused by an event older than `stale_after` when read; it is told in a digest.
    `late_by`: seconds between when an escalation was due and when it could be told, 0 if on time.
    `before`: the labels it had until an ESCALATED transition.
    """

    kind: TransitionKind
    alert: Alert
    at: float
    stale: bool = False
    late_by: float = 0.0
    before: dict[str, str] = {}


class Phase(StrEnum):
    """Where an alert is. All but the first two are `firing` to the outside."""

    INACTIVE = "inactive"  # no alert
    PENDING = "pending"  # the condition holds, `for` is running
    FIRING = "firing"
    LATCHED = "latched"  # an event made the condition false, but only `resolve` may end it
    CLEARING = "clearing"  # the condition is false, `keep_firing_for` is running
    LAPSING = "lapsing"  # the same after the window ran out or a state went unconfirmed


class Trigger(StrEnum):
    """What can happen to an alert at an instant of rule time."""

    HOLDS = "condition holds"
    CLEARS = "condition false by a fact"
    DOUBTED = "condition false by an event, under a rule with resolve"
    RUNS_OUT = "condition false without a fact: no longer seen"
    FOR_OVER = "held for long enough"
    KEEP_OVER = "false for long enough"
    STEP = "escalation instant reached"
    RESOLVE = "resolve event, or a person"
    CLOSE = "rule changed or gone"


P, H, T = Phase, Trigger, TransitionKind

# A pair that is not here changes nothing.
TABLE: dict[tuple[Phase, Trigger], tuple[Phase, TransitionKind | None]] = {
    (P.INACTIVE, H.HOLDS): (P.PENDING, None),
    (P.PENDING, H.CLEARS): (P.INACTIVE, None),
    (P.PENDING, H.DOUBTED): (P.INACTIVE, None),
    (P.PENDING, H.RUNS_OUT): (P.INACTIVE, None),
    (P.PENDING, H.RESOLVE): (P.INACTIVE, None),
    (P.PENDING, H.CLOSE): (P.INACTIVE, None),
    (P.PENDING, H.FOR_OVER): (P.FIRING, T.FIRED),
    (P.FIRING, H.CLEARS): (P.CLEARING, None),
    (P.FIRING, H.DOUBTED): (P.LATCHED, None),
    (P.FIRING, H.RUNS_OUT): (P.LAPSING, None),
    (P.FIRING, H.STEP): (P.FIRING, T.ESCALATED),
    (P.FIRING, H.RESOLVE): (P.INACTIVE, T.RESOLVED),
    (P.FIRING, H.CLOSE): (P.INACTIVE, T.CLOSED),
    (P.LATCHED, H.HOLDS): (P.FIRING, None),
    (P.LATCHED, H.CLEARS): (P.CLEARING, None),
    (P.LATCHED, H.RUNS_OUT): (P.LAPSING, None),
    (P.LATCHED, H.STEP): (P.LATCHED, T.ESCALATED),
    (P.LATCHED, H.RESOLVE): (P.INACTIVE, T.RESOLVED),
    (P.LATCHED, H.CLOSE): (P.INACTIVE, T.CLOSED),
    (P.CLEARING, H.HOLDS): (P.FIRING, None),
    (P.CLEARING, H.KEEP_OVER): (P.INACTIVE, T.RESOLVED),
    (P.CLEARING, H.STEP): (P.CLEARING, T.ESCALATED),
    (P.CLEARING, H.RESOLVE): (P.INACTIVE, T.RESOLVED),
    (P.CLEARING, H.CLOSE): (P.INACTIVE, T.CLOSED),
    (P.LAPSING, H.HOLDS): (P.FIRING, None),
    (P.LAPSING, H.KEEP_OVER): (P.INACTIVE, T.EXPIRED),
    (P.LAPSING, H.STEP): (P.LAPSING, T.ESCALATED),
    (P.LAPSING, H.RESOLVE): (P.INACTIVE, T.RESOLVED),
    (P.LAPSING, H.CLOSE): (P.INACTIVE, T.CLOSED),
}

ENDING = frozenset({P.CLEARING, P.LAPSING})


def outside(phase: Phase) -> AlertState:
    """Return how an open alert's phase looks to everybody else."""
    return AlertState.PENDING if phase is Phase.PENDING else AlertState.FIRING


# Returns the line that an event was read from, None where there is none.
LineOf = Callable[[Event], Evidence | None]
Redact = Callable[[Mapping[str, Any]], dict[str, Any]]
# Digests of the values of the `same` fields in one event; empty texts where it has none.
Identity = tuple[str, ...]


class Told(NamedTuple):
    """What an event says beside its samples, fit to be stored.

    Digests of the fields of `same`, the kept texts of those of `collect`, the digest of its id.
    """

    identity: Identity
    collected: tuple[str, ...]
    id: bytes

    @classmethod
    def of(cls, texts: Sequence[str], compiled: CompiledRule) -> "Told":
        """Return it of an event with these texts in the fields that `told_by` names."""
        rule, labels, same = compiled.rule, compiled.labels, len(compiled.rule.same)
        kept = zip(rule.collect, texts[same:], strict=False)
        return cls(
            _identity(texts[:same]),
            tuple([kept_text(labels, name, value) if value else "" for name, value in kept]),
            id_of(texts[-1]) if rule.dedup_by else b"",
        )


def told_by(rule: Rule) -> tuple[str, ...]:
    """Return the fields of which an event tells."""
    return (*rule.same, *rule.collect, *filter(None, (rule.dedup_by,)))


def id_of(text: str) -> bytes:
    """Return what is remembered of an event's id; of none, nothing."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).digest() if text else b""


def _identity(texts: Iterable[str]) -> Identity:
    return tuple([_digest(text) if text else "" for text in texts])


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _agree(one: Identity, other: Identity) -> bool:
    """Return whether both can be the same: no field in which they differ and neither is empty."""
    return all(
        mine == theirs or not mine or not theirs for mine, theirs in zip(one, other, strict=True)
    )


class OpenAlert(msgspec.Struct, omit_defaults=True):
    """One alert from pending to its end; mutable, private to the rules.

    `turned`: when the condition became false while it fires. `instants`: per name of an instant,
    the newest event time that carried it and the instant it named; once it fires, of those of
    steps only. `reached`: the places of the
    steps behind it. `identities`: what its events name in the fields of `same`, up to
    MAX_COLLECTED. `event` holds the fields as logged until `redacted_event` redacts them,
    `ended_by` those of the event by which it ends, if it does, redacted.
    """

    phase: Phase
    since: float
    labels: dict[str, str]
    annotations: dict[str, str]
    fired_at: float | None = None
    episode: int = 0
    change: int = 0
    turned: float | None = None
    value: float | str | None = None
    event: dict[str, Any] = {}
    sealed: bool = True
    instants: dict[str, tuple[float, float]] = {}
    reached: tuple[int, ...] = ()
    steps: str = ""
    collected: dict[str, list[str]] | None = None
    ended_by: dict[str, Any] | None = None
    identities: tuple[Identity, ...] = ()
    evidence: Evidence | None = None
    times: int = 0
    seen_at: float | None = None

    def note_told(self, told: Told, rule: Rule) -> None:
        """Keep whom or what an event names: each once, up to MAX_COLLECTED of each field."""
        one = told.identity
        if one and one not in self.identities and len(self.identities) < MAX_COLLECTED:
            self.identities = (*self.identities, one)
        kept = {} if self.collected is None else self.collected
        for name, value in zip(rule.collect, told.collected, strict=True):
            values = kept.setdefault(label_name(name), [])
            if value and len(values) < MAX_COLLECTED and value not in values:
                values.append(value)
        self.collected = kept or None

    def note_event(self, event: Event, compiled: CompiledRule) -> None:
        """Remember `event` as the last one that upheld this alert, and the instants in it."""
        self.event, self.sealed = event.fields, False
        self.ended_by = None
        self.times += 1
        self.seen_at = event.at if self.seen_at is None else max(self.seen_at, event.at)
        self._note_instants(event, compiled)

    def note_waited(self, times: int, seen_at: float, event: Event | None) -> None:
        """Remember so many events that upheld this alert; the last one, where it is still known."""
        self.times += times
        self.seen_at = seen_at if self.seen_at is None else max(self.seen_at, seen_at)
        self.ended_by = None
        if event is not None:
            self.event, self.sealed = event.fields, False

    @property
    def room(self) -> int:
        """How many events may uphold it before one makes it grow; 0 where each has to be judged."""
        if self.phase is not Phase.FIRING or self.turned is not None:
            return 0
        grown = int(f"1{'0' * len(str(self.times))}")
        return grown - self.times - 1

    @property
    def has_grown(self) -> bool:
        """Whether with its last event it fires for the tenth, hundredth, thousandth … time."""
        count = self.times
        return self.fired_at is not None and not count % 10 and str(count).strip("0") == "1"

    def note_end(self, event: Event, compiled: CompiledRule, redact: Redact) -> None:
        """Remember `event` as one by which the alert may end; what it was about stays known."""
        self.ended_by = redact(event.fields)
        self._note_instants(event, compiled)

    def _note_instants(self, event: Event, compiled: CompiledRule) -> None:
        waits = self.phase in (Phase.INACTIVE, Phase.PENDING)
        for one in compiled.instants if waits else compiled.step_instants:
            named = one.base(event)
            if named is None:
                compiled.bad_instants += bool(one.bad_field(event))
            else:
                self._note_instant(one.name, event.at, named)

    def _note_instant(self, name: str, at: float, named: float) -> None:
        known = self.instants.get(name)
        if known is None or at >= known[0]:
            self.instants[name] = (at, named)

    def redacted_event(self, redact: Redact) -> dict[str, Any]:
        """Return the last event, redacted; done once per event however often it is asked for."""
        if not self.sealed:
            self.event, self.sealed = redact(self.event), True
        return self.event

    def lay_labels(self, compiled: CompiledRule, key: Key) -> None:
        """Make labels and annotations anew: the rule's, then each reached step's in list order."""
        self.labels = {
            "alertname": compiled.rule.name,
            **dict(zip(compiled.by_labels, key, strict=True)),
            **compiled.rule.labels,
        }
        # Shared by all alerts of the rule until a step changes them: keys may be many.
        self.annotations = compiled.annotations
        for place, step in enumerate(compiled.rule.escalate):
            if place in self.reached:
                self.labels.update(step.labels)
                self.annotations = {**self.annotations, **step.annotations}

    def steps_ahead(self, compiled: CompiledRule) -> Iterator[tuple[float, int]]:
        """Yield (due, place) of each step not yet reached whose instant is known."""
        if self.phase is Phase.PENDING or self.fired_at is None:
            return
        for place, step in enumerate(compiled.rule.escalate):
            if place not in self.reached:
                due = self._due(step, self.fired_at)
                if due is not None:
                    yield due, place

    def fires_at(self, compiled: CompiledRule) -> float:
        """Return when it fires, if its condition holds until then."""
        known = (self._named(one) for one in compiled.rule.until)
        return next((at for at in known if at is not None), self.since + compiled.rule.for_)

    def _due(self, step: Escalation, fired_at: float) -> float | None:
        named = self._named(step.at)
        if named is None and step.after is not None:
            return fired_at + step.after
        return named

    def _named(self, one: Instant) -> float | None:
        """Return the instant that the newest event to name it has named."""
        known = self.instants.get(one.name)
        return None if known is None else known[1] + one.offset

    def stays_open(self, event: Event, names: Sequence[str]) -> bool:
        """Take out what `event` ends; return whether something that it does not end is left."""
        ended = _identity(map(event.text, names))
        left = tuple([one for one in self.identities if not _agree(one, ended)])
        if left:
            self.identities = left
        return bool(left)

    def snapshot(
        self,
        name: str,
        key: Key,
        redact: Redact,
        ended_at: float | None = None,
        *,
        unseen: bool = False,
    ) -> Alert:
        return Alert(
            name=name,
            key=key,
            episode=self.episode,
            change=self.change,
            state=outside(self.phase) if ended_at is None else AlertState.RESOLVED,
            labels=dict(self.labels),
            annotations=dict(self.annotations),
            value=self.value,
            since=self.since,
            fired_at=self.fired_at,
            ended_at=ended_at,
            event=self.redacted_event(redact),
            unseen=unseen,
            collected={name: list(values) for name, values in (self.collected or {}).items()},
            ended_by={} if ended_at is None or unseen else self.ended_by or {},
            evidence=self.evidence,
            times=self.times,
            seen_at=self.seen_at,
        )
