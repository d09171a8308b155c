"""A member: one alert in a group, and what of it is unsent since the group was last told.

Every function takes a member and returns the next one; None means that it leaves the group.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from sidecar.notify.model import Ack, NoticeStatus, Said
from sidecar.rules.alert import Alert, Ended, Transition
from sidecar.rules.rule import Key

Ident = tuple[str, Key]  # an alert's name and key
# What a transition makes of a member (None: the alert is new to the group).
Change = Callable[["Member | None"], "Member"]


class Stage(StrEnum):
    """How the alert stands in this group."""

    FIRING = "firing"
    LEFT = "left"  # it fires on, but escalated to another group
    MOVED = "moved"  # it fires on, but routes were edited: told here of its end only
    ENDED = "ended"


ELSEWHERE = (Stage.LEFT, Stage.MOVED)


class Member(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An alert in a group.

    `change` numbers its last change here. `open`: the receiver was told that it fires. `unsent`:
    there is something to tell of it. `waiting`: at a flush that told others it was held back or
    found no room, so that the group's told number no longer speaks for it. `fired` counts the
    unsent firings, `escalated_here` says that it escalated inside this group since, `grew` that
    its tenth, hundredth … event came. `doubted`: a message that was given up, or is still on
    its way for another group, may have told that it fires. `told_at`: the wall clock at which the
    receiver last heard that it fires. `came`: that at which it fired here. `acked`: who took it;
    `ack_unsaid`: that this is to be told. `passed_on`: it is here because nobody took it, or has
    gone on to others for that. `muted`: what held it back when it was last looked at. `passed_to`:
    the receiver that was told instead, since it could not be told here; there `instead_of` says of
    whom, and why.
    """

    alert: Alert
    change: int
    stage: Stage = Stage.FIRING
    open: bool = False
    unsent: bool = msgspec.field(default=True, name="news")  # as stored since the first version
    waiting: bool = False
    fired: int = 1
    escalated_here: bool = msgspec.field(default=False, name="rose")  # same
    escalated_to: str = ""
    late_by: float = 0.0
    grew: bool = False
    reference: str = ""  # the other side's name for the message that told it, where that is kept
    doubted: bool = False
    told_at: float = 0.0
    came: float = 0.0
    acked: Ack | None = None
    ack_unsaid: bool = False
    passed_on: bool = False
    muted: str = ""
    passed_to: str = ""
    instead_of: str = ""

    @property
    def ident(self) -> Ident:
        return (self.alert.name, self.alert.key)

    @property
    def status(self) -> NoticeStatus:
        """How a notice about it reads now."""
        if self.stage in (Stage.FIRING, Stage.MOVED):
            return NoticeStatus.FIRING
        if self.stage is Stage.LEFT:
            return NoticeStatus.ESCALATED
        if self.alert.ended is Ended.CLOSED:
            return NoticeStatus.CLOSED
        if self.alert.unseen:
            return NoticeStatus.UNSEEN if self.open else NoticeStatus.FIRED_AND_UNSEEN
        return NoticeStatus.RESOLVED if self.open else NoticeStatus.FIRED_AND_RESOLVED

    @property
    def only_ends(self) -> bool:
        """Whether the end of a firing that was told is all there is to tell."""
        return self.open and self.stage is Stage.ENDED

    @property
    def goes_unsaid(self) -> bool:
        """Whether it is news whose time is over: that it happened was all there was to say."""
        return self.only_ends and self.alert.rule.news and self.alert.unseen

    @property
    def fires(self) -> bool:
        """Whether the receiver knows that it fires, and it does."""
        return self.open and self.stage is Stage.FIRING

    @property
    def only_grew(self) -> bool:
        """Whether it was told that it fires, and growth is all there is to tell."""
        return self.fires and self.grew and not self.fired and not self.escalated_here

    @property
    def only_acked(self) -> bool:
        """Whether it was told that it fires, and that somebody took it is all there is to tell."""
        more = self.fired or self.escalated_here or self.grew
        return self.fires and self.ack_unsaid and not more

    @property
    def only_repeats(self) -> bool:
        """Whether it was told that it fires, and there is nothing new to tell."""
        more = self.fired or self.escalated_here or self.grew or self.ack_unsaid
        return self.fires and not more

    @property
    def goes_on(self) -> bool:
        """Whether the receiver knows that it fires, and it does, with nothing new to say."""
        return self.fires and not (self.unsent or self.waiting)

    @property
    def held(self) -> int:
        """Firings that no message told, beyond the one that its notice tells."""
        return self.fired if self.open else max(0, self.fired - 1)


class Members(dict[Ident, Member]):
    """The alerts of a group. What is decided on is found without a look at all the others:

    `unsent`, and `muted`, in the order in which they came to be so. `firing`: how many of which
    the receiver knows that they fire, by severity.
    """

    def __init__(self, members: Mapping[Ident, Member] | None = None) -> None:
        super().__init__()
        self.unsent: dict[Ident, Member] = {}
        self.muted: dict[Ident, Member] = {}
        self.firing: Counter[str] = Counter()
        self._told: list[tuple[float, Ident]] = []  # of those that go on, in order
        for ident, member in (members or {}).items():
            self[ident] = member

    def __setitem__(self, ident: Ident, member: Member) -> None:
        self._leave(ident)
        super().__setitem__(ident, member)
        for known, is_one in ((self.unsent, member.unsent), (self.muted, bool(member.muted))):
            if is_one:
                known[ident] = member
            else:
                known.pop(ident, None)
        if member.fires:
            self.firing[member.alert.severity] += 1
        if member.goes_on:
            insort(self._told, (member.told_at, ident))

    def take_out(self, ident: Ident) -> bool:
        """Take one out; return whether it was there."""
        self._leave(ident)
        self.unsent.pop(ident, None)
        self.muted.pop(ident, None)
        return self.pop(ident, None) is not None

    def _leave(self, ident: Ident) -> None:
        before = self.get(ident)
        if before is not None and before.fires:
            self.firing[before.alert.severity] -= 1
        if before is not None and before.goes_on:
            del self._told[bisect_left(self._told, (before.told_at, ident))]

    def going_on(self) -> Iterator[Member]:
        """Yield those of which the receiver knows that they fire, who heard it first, first."""
        return (self[ident] for _, ident in self._told)


def fired(member: Member | None, transition: Transition) -> Member:
    """Return it firing: for the first time here, or once more since the group was last told."""
    alert = transition.alert
    if member is None:
        return Member(alert=alert, change=alert.change, late_by=transition.late_by)
    return replace(
        _changed(member, transition, alert),
        stage=Stage.FIRING,
        fired=member.fired + 1,
        escalated_here=False,
        escalated_to="",
        grew=False,
        **_UNTAKEN,
    )


def risen(member: Member | None, transition: Transition) -> Member:
    """Return it escalated within the group; in a group it is new to, that is a firing."""
    if member is None:
        return fired(None, transition)
    changed = _changed(member, transition, transition.alert)
    return replace(changed, stage=Stage.FIRING, escalated_here=True, escalated_to="", **_UNTAKEN)


def taken(member: Member, ack: Ack, *, tells: bool) -> Member:
    """Return it acknowledged; `tells`: that is told by itself."""
    if not tells:
        return replace(member, acked=ack)
    waiting = member.waiting or not member.unsent
    return replace(member, acked=ack, ack_unsaid=True, unsent=True, waiting=waiting)


def grown(member: Member, transition: Transition) -> Member:
    """Return it with what there is of it by now; where it has left or ended it stays as it is."""
    alert = replace(transition.alert, labels=member.alert.labels)
    if member.stage is not Stage.FIRING:
        return member
    return replace(member, alert=alert, change=alert.change, unsent=True, grew=True)


def left(member: Member, transition: Transition) -> Member:
    """Return it escalated to other groups: told here once, at the old labels.

    One that is gone from here already only learns where it is now.
    """
    gone = member.stage in ELSEWHERE
    labels = member.alert.labels if gone else transition.before
    alert = replace(transition.alert, labels=labels or member.alert.labels)
    changed = _changed(member, transition, alert)
    return replace(
        changed,
        stage=member.stage if gone else Stage.LEFT,
        unsent=member.unsent if gone else True,
        escalated_to=transition.alert.labels.get("severity", ""),
    )


def ended(member: Member, transition: Transition) -> Member:
    """Return it ended, at the labels under which it was told here."""
    here = member if member.stage in ELSEWHERE else transition
    ended_at = transition.at if transition.alert.ended_at is None else transition.alert.ended_at
    alert = replace(transition.alert, labels=here.alert.labels, ended_at=ended_at)
    return replace(_changed(member, transition, alert), stage=Stage.ENDED)


def moved(member: Member) -> Member:
    """Return it where the routes of today no longer tell of it."""
    if member.stage is not Stage.FIRING:
        return replace(member, waiting=member.waiting or member.unsent)
    waiting = member.waiting and not member.unsent
    return replace(member, stage=Stage.MOVED, unsent=False, waiting=waiting)


def back(member: Member) -> Member:
    """Return it where the routes tell of it again; what waits for a digest still does."""
    if member.stage is not Stage.MOVED:
        return member
    unsent = not member.open or member.fired > 0
    return replace(member, stage=Stage.FIRING, unsent=unsent, waiting=member.waiting or unsent)


def knowing(member: Member, elsewhere: Member) -> Member:
    """Return it with what its audience knows of it from another group, or of its last end."""
    same = elsewhere.stage is Stage.MOVED and elsewhere.alert.labels == member.alert.labels
    known = _heard(elsewhere) and same and not elsewhere.fired
    unsent = member.unsent and not known
    before = elsewhere.fired if elsewhere.stage is Stage.ENDED else 0
    return replace(
        member,
        open=member.open or _heard(elsewhere),
        unsent=unsent,
        waiting=unsent,
        fired=0 if known else member.fired + before,
        told_at=max(member.told_at, elsewhere.told_at),
        doubted=member.doubted or elsewhere.doubted,
    )


def taken_along(member: Member, sending: str) -> Member:
    """Return it for another group of its audience.

    `sending`: the message of the old one that is on its way, if one is. It may tell that it fires,
    and may end after the new group has decided.
    """
    return replace(member, doubted=True) if sending and not member.open else member


def sent(member: Member, at: float) -> Member | None:
    """Return it once the group was told of it at wall clock `at`."""
    if member.stage is Stage.ENDED:
        return None
    return replace(
        member,
        open=True,
        unsent=False,
        waiting=False,
        fired=0,
        escalated_here=False,
        late_by=0.0,
        grew=False,
        doubted=False,
        told_at=at,
        ack_unsaid=False,
    )


def accepted(member: Member, said: Said, at: float) -> Member | None:
    """Return what the member is once the receiver has accepted, at `at`, what a message said of it.

    It may have changed while the message was on its way: then that is still to be told.
    """
    if member.change == said.change:
        if said.status is NoticeStatus.ESCALATED and member.stage is Stage.FIRING:
            return replace(member, open=True)  # it came back since, in the place of others
        after = sent(member, at)
        if after is not None and member.ack_unsaid and not said.acked:
            return replace(after, unsent=True, waiting=True, ack_unsaid=True)
        return after
    fires = said.status in (NoticeStatus.FIRING, NoticeStatus.ESCALATED)
    rose = member.escalated_here and said.severity != member.alert.severity
    fired = max(0, member.fired - said.fired)
    return replace(member, open=fires, fired=fired, escalated_here=rose, told_at=at)


def stands(member: Member) -> bool:
    """Tell whether it fires and its receiver knows; not while a late digest is to say so."""
    return _heard(member) and member.stage is Stage.FIRING


def _heard(member: Member) -> bool:
    """Tell whether its receiver knows that it fired; not while a late digest is to say so."""
    return member.open and (member.unsent or not member.waiting)


def said_of(member: Member) -> Said:
    """Return what a message made now says of the member."""
    alert = member.alert
    acked = member.acked is not None
    return Said(
        alert.name, alert.key, member.change, member.status, member.fired, alert.severity, acked
    )


def late_story(late: Member | None, here: Member | None, change: Change) -> Member:
    """Return what a late digest is to tell of an alert.

    The digest may hold it already (`late`): because another group of the same receiver has just
    brought this very change, or with an episode that ended, which must not be lost.
    """
    held = late is not None and (late.stage is not Stage.ENDED or here is None)
    story = change(late if held else here)
    if late is None:
        return story
    if story.change == late.change and story.stage is late.stage:
        return late
    return story if held else replace(story, fired=story.fired + late.fired)


def pack(member: Member) -> bytes:
    return _ENCODER.encode(member)


def unpack(packed: bytes, told: int, at: float) -> Member | None:
    """Return a stored member as it stands now that its group was told up to number `told`, at `at`.

    Earlier versions wrote that one number instead of every member; None: its end is told, it is
    gone.
    """
    member = _DECODER.decode(packed)
    if member.unsent and not member.waiting and member.change <= told:
        return sent(member, at)
    return replace(member, told_at=at) if member.open and not member.told_at else member


# Of one that fires anew, or graver: whoever took the alert before has not taken this.
_UNTAKEN: dict[str, Any] = {
    "acked": None,
    "ack_unsaid": False,
    "came": 0.0,
    "passed_on": False,
    "passed_to": "",
}


def _changed(member: Member, transition: Transition, alert: Alert) -> Member:
    return replace(
        member,
        alert=alert,
        change=transition.alert.change,
        unsent=True,
        waiting=False,
        late_by=transition.late_by,
    )


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Member)
