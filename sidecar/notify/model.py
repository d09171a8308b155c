"""Routes, receivers and the notification: frozen values that config makes and delivery reads."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from difflib import get_close_matches
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Any, ClassVar, NoReturn, Self

import msgspec

from sidecar.rules.alert import Alert, Ended, Evidence
from sidecar.rules.rule import Facts
from sidecar.syntax.faults import Off, Place, nearest
from sidecar.syntax.table import Nested, Reading, Table, declared, key, table
from sidecar.syntax.tree import ListNode, Node, Scalar, given, is_blank
from sidecar.syntax.values import (  # fmt: skip
    Above0,
    Count,
    Count1,
    Duration,
    Flag,
    GroupLabel,
    LabelMatchers,
    Named,
    Positive,
    Re2,
    Text,
    older_matchers,
)


@table
class Rate(Table):
    """A token bucket: `burst` messages at once, then `per_second`."""

    per_second: Above0 = key("Messages a second.", default=1.0)
    burst: Count1 = key("Messages at once.", default=5)


class ReceiverConfig(Table, ABC):
    """One entry of a receiver's section, such as `slack_configs`: whom to tell, and how."""

    __slots__ = ()
    # Keys without which nobody can be told: one of each group. Where the variables of all that are
    # written expand to nothing, the entry is off.
    asks: ClassVar[tuple[tuple[str, ...], ...]] = ()
    send_resolved: bool
    rate: Rate

    @abstractmethod
    def destinations(self) -> tuple[str, ...]:
        """Return whom it tells, each by a name that is logged, stored and shown: never a secret."""

    def account(self) -> tuple[str, str]:
        """Return the server that takes its messages, and who it takes them for: maybe a secret.

        A name alone does not tell whom: two workspaces have a channel of one name.
        """
        return ("", "")

    @property
    def threads(self) -> bool:
        """Whether its messages have names, by which what is told later can refer to them."""
        return False

    @property
    def acks(self) -> bool:
        """Whether people can acknowledge its messages where they stand."""
        return False

    @property
    def folds(self) -> bool:
        """Whether people read it: what is too much for them is told by number."""
        return False

    def again_after(self) -> float:
        """Return after how many seconds it has to hear again of what fires; 0.0: it remembers."""
        return 0.0

    @classmethod
    def prepare(cls, values: dict[str, Node], reading: Reading) -> None:
        cls.leave_out_if_off(values, reading)

    @classmethod
    def leave_out_if_off(cls, values: dict[str, Node], reading: Reading) -> None:
        """Raise Off where the entry is off, with a warning; of a list leave out what is empty."""
        for keys in cls.asks:
            names = given(values, keys, stand_in=reading.faults.placeholders)
            if names and all(is_blank(values[name]) for name in names):
                _leave_out(names, values[names[0]].place, "this entry is off", reading)
            values.update({name: _without_blanks(values[name]) for name in names})
            slots = {declared(cls)[key].key.global_ for key in keys}
            empty = [slot for slot in reading.empty_globals if slot in slots]
            if not names and empty and reading.globals.keys().isdisjoint(slots):
                place = reading.empty_globals[empty[0]]
                _leave_out(empty, place, "what relies on that is off", reading)

    @classmethod
    def check_global(cls, table: Table, reading: Reading) -> None:
        """Report what is wrong between the keys of `global` that this kind has there."""

    @classmethod
    def check_together(cls, configs: Iterable[Self], reading: Reading) -> None:
        """Report what is wrong between all entries of this kind, of all receivers."""


def _without_blanks(node: Node) -> Node:
    if not isinstance(node, ListNode):
        return node
    return ListNode(node.place, tuple(item for item in node.items if not is_blank(item)))


def _leave_out(names: Sequence[str], place: Place, then: str, reading: Reading) -> NoReturn:
    what = " and ".join(f"`{name}`" for name in names)
    reading.faults.warning(
        place, f"{what} expand{'s' if len(names) == 1 else ''} to nothing: {then}"
    )
    raise Off


_SECTION = "_configs"  # ends the key of each kind of receiver


@table
class Receiver(Table):
    """A named destination. `configs` holds its sections by kind, for example `slack`.

    Delivery is tried for `max_age` seconds; the first `quick_retries` come within seconds.
    """

    name: Named = key("The receiver's name.")
    max_age: Positive = key("How long delivery of a message is tried.", default=6 * 3600.0)
    quick_retries: Count = key("Further tries within seconds, before a failure counts.", default=1)
    fallback: Text = key("The receiver that is told what this one cannot be told.", default="")
    configs: Mapping[str, tuple[ReceiverConfig, ...]] = field(default_factory=dict)
    off: tuple[str, ...] = ()  # sections of which an entry is off

    def check(self, reading: Reading) -> "Receiver":
        lists = reading.node(self).values.items()
        entries = [(name, e) for name, one in lists if isinstance(one, ListNode) for e in one.items]
        off = [name for name, entry in entries if any(entry is one for one in reading.off)]
        if off and len(off) == len(entries):
            hint = "set a variable of theirs, or remove the receiver and what leads to it"
            message = f"receiver `{self.name}` has nobody to tell: all its entries are off"
            reading.faults.missing(reading.place(self, "name"), message, hint)
        return replace(self, off=tuple(dict.fromkeys(off)))

    @classmethod
    def meant(cls, name: str, known: Iterable[str]) -> str:
        """Return which kinds there are where another kind's section is asked for."""
        stem = name.removesuffix(_SECTION)
        if stem == name:
            return nearest(name, known)
        kinds = [key.removesuffix(_SECTION) for key in known if key.endswith(_SECTION)]
        if near := get_close_matches(stem, kinds, n=1):
            return f"did you mean `{near[0]}{_SECTION}`?"
        listed = ", ".join(f"{kind}{_SECTION}" for kind in sorted(kinds))
        return f"there are {listed}; an Alertmanager reaches the rest"


EVERY_LABEL = "..."
# Stands in place of an address for the owner of the organisation that an alert is about; its label.
OWNER = "{{ owner_email }}"
ORG = "org_id"
# What a route below does not inherit, as in Alertmanager.
_OWN = (
    "matchers",
    "match",
    "match_re",
    "continue",
    "routes",
    "mute_time_intervals",
    "active_time_intervals",
)


@table
class EscalateUnacked(Table):
    """Who is told of what nobody acknowledges, and after how many seconds."""

    after: Positive = key("So long after it fired.")
    receiver: Text = key("Who is told as well.")


@table
class Route(Table):
    """A node of Alertmanager's tree; values not written are inherited by the time it is built.

    `group_by` `("...",)` means every label, no grouping. `group_limit`: so many waiting alerts end
    `group_wait` early (0: never). `id` is its place in the tree, as in Alertmanager's group keys.
    """

    id: str = ""
    receiver: Text = key("Who is told; a route below inherits it.", default="")
    matchers: LabelMatchers = key("Tests of labels, all of which must hold.", default=())
    match: dict[str, Text] = key("Labels and their values, an older way to write it.", default={})
    match_re: dict[str, Re2] = key("The same with RE2 patterns.", default={})
    group_by: tuple[GroupLabel, ...] = key(
        "Alerts equal in these labels are told together; `['...']`: in all, so each alone.",
        schema={"uniqueItems": True},
        default=(),
    )
    group_wait: Duration = key("How long a new group waits for its other alerts.", default=30.0)
    group_interval: Positive = key(
        "The least time between two messages about a group that changed.", default=300.0
    )
    repeat_interval: Positive = key(
        "When to say again that an alert still fires.", default=4 * 3600.0
    )
    repeat_when_acked: Duration = key(
        "When to say again what was acknowledged and still fires; 0: never.", default=0.0
    )
    escalate_unacked: Annotated[EscalateUnacked | None, Nested(lambda: EscalateUnacked)] = key(
        "Who is told next of what nobody acknowledges.", default=None
    )
    cooldown: Duration = key(
        "For so long after a message no repeat and no further firing of the alert at that severity"
        " is told.",
        default=600.0,
    )
    group_limit: Count = key("So many waiting alerts end `group_wait` at once; 0: none.", default=0)
    mute_time_intervals: tuple[Named, ...] = key(
        "Intervals in which nobody is told; a route below does not inherit it.", default=()
    )
    active_time_intervals: tuple[Named, ...] = key(
        "Intervals outside of which nobody is told; a route below does not inherit it.", default=()
    )
    continue_: Flag = key("Go on to the next route as well.", "continue", default=False)
    routes: tuple["Route", ...] = key("Tried in order.", default=())

    def check(self, reading: Reading) -> "Route":
        seen: set[str] = set()
        node = reading.node(self).values.get("group_by")
        for label in node.items if isinstance(node, ListNode) else ():
            if isinstance(label, Scalar) and label.text in seen:
                message = f"`{label.written}` stands twice in `group_by`"
                reading.faults.error(label.place, message)
            seen.add(getattr(label, "text", ""))
        if EVERY_LABEL in seen and len(seen) > 1:
            message = "'...' already groups by every label"
            reading.error(self, "group_by", message, "write ['...'] alone")
        older = older_matchers(self.match, self.match_re)
        return replace(self, matchers=(*self.matchers, *older), match={}, match_re={})

    def below(self, parent: "Route | None", reading: Reading, index: int = 0) -> "Route":
        """Return the route with what it does not say taken from its parent, down the tree."""
        node = reading.node(self)
        found: dict[str, Any] = {"id": "{}"}
        if parent is not None:
            braced = "{" + ",".join(sorted(map(str, self.matchers))) + "}"
            found = {
                one.field: getattr(parent, one.field)
                for name, one in declared(Route).items()
                if name not in node.values and name not in _OWN
            }
            found["id"] = f"{parent.id}/{braced}/{index}"
        whole = replace(self, **found)
        children: list[Route] = []
        taken = 0
        for number, child in enumerate(self.routes):
            inner = reading.node(child)
            if taken:
                message = "no alert comes here: the route before it takes every one"
                reading.faults.warning(inner.place, message, f"see line {taken}")
            children.append(child.below(whole, reading, number))
            if not child.matchers and "matchers" not in inner.values and not child.continue_:
                taken = taken or inner.place.line
        return replace(whole, routes=tuple(children))


class Reason(StrEnum):
    """Why a group is told now, or is not. Reaches template, metric and log."""

    FIRST = "first notification"
    NEW_ALERTS = "new alerts in group"
    SOME_RESOLVED = "some alerts resolved"
    ALL_RESOLVED = "all alerts resolved"
    FIRED_AND_RESOLVED = "fired and resolved"
    UNSEEN = "alerts no longer seen"
    ESCALATED = "alerts escalated"
    FLAPPING = "flapping"
    UNMUTED = "no longer muted"
    UNACKED = "not acknowledged"
    FALLBACK = "told instead of somebody who cannot be told"
    ACKED = "acknowledged"
    GREW = "grew"
    REPEAT = "repeat interval elapsed"
    LATE_DIGEST = "late digest"
    STORM = "more than the rate allows"
    RULE_CHANGED = "rule changed"
    # and why not
    NOTHING_NEW = "nothing new"
    COOLDOWN = "cooldown"
    RESOLVED_NOT_SENT = "resolved not sent"
    EXPIRED = "expired"
    SILENCED = "silenced"
    INHIBITED = "inhibited"
    TIME_MUTED = "muted at this time"


class Ack(msgspec.Struct, frozen=True):
    """That somebody has taken an alert: `by` whom, `at` which wall clock, and what he says."""

    by: str
    at: float
    comment: str = ""


class NoticeStatus(StrEnum):
    """How an alert stands in a message; a message lists them in this order."""

    FIRING = "firing"
    ESCALATED = "escalated"  # moved on to another audience, told here for the last time
    FIRED_AND_RESOLVED = "fired and resolved"
    FIRED_AND_UNSEEN = "fired and unseen"
    UNSEEN = "unseen"  # it ended for want of news: nobody said that it is over
    RESOLVED = "resolved"
    CLOSED = "closed"  # its rule changed or went away: nobody knows how it ended


class Notice(msgspec.Struct, frozen=True):
    """One alert inside a notification, as told; `annotations` are templates.

    `event`, the last one that upheld it, and `ended_by`, the one that ended it, are redacted.
    """

    status: NoticeStatus
    labels: dict[str, str]
    annotations: dict[str, str]
    value: float | str | None
    since: float
    ended_at: float | None
    event: dict[str, Any]
    episode: int
    held: int = 0  # repeats held back since it was last told
    late_by: float = 0.0
    escalated_to: str = ""  # the severity it has elsewhere, once it left this audience
    collected: dict[str, list[str]] = {}
    ended_by: dict[str, Any] = {}
    evidence: Evidence | None = None
    times: int = 0  # how many events upheld it, the last at `seen_at`
    seen_at: float | None = None
    rule: Facts = Facts()
    ended: Ended = Ended.OPEN
    ended_person: str = ""
    reference: str = ""  # the message that told it first, where the receiver has threads
    grew: bool = False  # it was told before; what is new is how many events there are by now
    repeated: bool = False  # it was told before, and nothing is new
    acked: Ack | None = None

    @classmethod
    def of(cls, alert: Alert) -> "Notice":
        """Return what there is to tell of `alert` while it fires."""
        return cls(
            status=NoticeStatus.FIRING,
            labels=alert.labels,
            annotations=alert.annotations,
            value=alert.value,
            since=alert.since,
            ended_at=None,
            event=alert.event,
            episode=alert.episode,
            collected=alert.collected,
            ended_by=alert.ended_by,
            evidence=alert.evidence,
            times=alert.times,
            seen_at=alert.seen_at,
            rule=alert.rule,
            ended=alert.ended,
            ended_person=alert.ended_person,
        )


class Said(msgspec.Struct, frozen=True):
    """What a message says of one alert, as the notifier needs it once the message is accepted.

    `change` is the number of the alert's change that it tells, `fired` how many firings, `severity`
    the one that it has there, `acked` whether that it is acknowledged.
    """

    name: str
    key: tuple[str, ...]
    change: int
    status: NoticeStatus
    fired: int
    severity: str = ""
    acked: bool = False


class Notification(msgspec.Struct, frozen=True):
    """What one destination is to be told: the redacted snapshot, stored, and rendered at send.

    `id` is stable over attempts and restarts; `thread` is the same in all that the destination is
    told of the group, from its first alert until all its alerts have ended. `integration` is the
    kind of receiver, `index` the place in its section, `destination` whom that entry tells.

    `notices` are the alerts that it tells, what fires first. `more` alerts have found no room:
    they are told by the group's next message. `counts` has both, by status; `names` holds the
    alert names of those of the first status in `counts`. `still_firing` of the group were told
    before and go on, the gravest at `still_severity`; those that belong to the same messages as
    what it tells are `beside`, where the receiver has threads. `untold` ended before, while nothing
    could be delivered. `doubted`: what an earlier form of it said and may have told, of which it
    says nothing any more. `route`: the tests of labels that led there. Written before there were
    counts, `more` alerts count as told by it.
    """

    id: str
    receiver: str
    integration: str
    index: int
    destination: str
    reason: Reason
    group: str
    group_labels: dict[str, str]
    notices: list[Notice]
    at: float
    late: bool = False
    more: int = 0
    still_firing: int = 0
    still_severity: str = ""
    route: str = ""
    untold: int = 0
    change: int = 0
    said: list[Said] = []
    doubted: list[Said] = []
    counts: dict[NoticeStatus, int] = {}
    names: list[str] = []
    thread: str = ""  # empty in what was written before there were threads
    beside: list[Notice] = []
    unlisted: int = 0  # of what it tells, told by number only
    top: list[tuple[str, int]] = []  # then: the alert names with most, and how many
    instead_of: str = ""  # who could not be told, and why

    def reference_of(self, notice: Notice, accepted: str) -> str:
        """Return the message that an alert belongs to once this one was `accepted` as that.

        It stays the one that told it first, unless there is no such message any more: then all
        that was told was told anew.
        """
        anew = len(self.roots) == 1 and self.tells_of_known and accepted not in self.roots
        return notice.reference if notice.reference and not anew else accepted

    @property
    def roots(self) -> list[str]:
        """The messages that the alerts it tells of belong to, each once."""
        return [*dict.fromkeys(notice.reference for notice in self.notices if notice.reference)]

    @property
    def tells_of_known(self) -> bool:
        """Whether it tells of nothing for the first time."""
        return all(notice.reference for notice in self.notices)

    def about_root(self, root: str) -> "Notification":
        """Return how the alerts that belong to a message stand, to be shown there."""
        mine = [n for n in (*self.notices, *self.beside) if n.reference == root]
        return msgspec.structs.replace(
            self, notices=mine, counts={}, names=[], more=0, still_firing=0, untold=0
        )

    @classmethod
    def about(cls, alerts: Iterable[Alert], at: float) -> "Notification":
        """Return how `alerts` stand at `at`, to be shown and not sent."""
        return cls(
            id="", receiver="", integration="", index=0, destination="", reason=Reason.REPEAT,
            group="", group_labels={}, notices=[Notice.of(alert) for alert in alerts], at=at,
        )  # fmt: skip

    @property
    def by_status(self) -> dict[NoticeStatus, int]:
        """How many alerts of each status it is about, in the order of NoticeStatus, none with 0."""
        counts = self.counts or Counter(notice.status for notice in self.notices)
        return {status: counts[status] for status in NoticeStatus if counts.get(status)}

    def fingerprints(self) -> list[str]:
        """Return of each notice 16 hex digits that stay the same over its alert's life.

        They are those of name and key; where it is not known who is told of, those of the labels.
        """
        if len(self.said) >= len(self.notices):
            said = self.said[: len(self.notices)]
            return [_digest([one.name, *one.key]) for one in said]
        return [_digest(sorted(notice.labels.items())) for notice in self.notices]


def _digest(parts: Any) -> str:
    return blake2b(msgspec.json.encode(parts), digest_size=8).hexdigest()


def severity_rank(severity: str) -> int:
    """Return 0 for info up to 3 for critical; what is none of the four ranks as warning."""
    return _RANK.get(severity, 1)


CRITICAL = "critical"
SEVERITIES = ("info", "warning", "error", CRITICAL)
_RANK = {name: rank for rank, name in enumerate(SEVERITIES)}
