"""A member: one alert in a group, and what of it is unsent since the group was last told.

Every function takes a member and returns the next one; None means that it leaves the group.
"""

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from sidecar.notify.model import NoticeStatus, Said
from sidecar.rules.alert import Alert, Transition
from sidecar.rules.rule import Key

Ident = tuple[str, Key]  # an alert's name and key


class Stage(StrEnum):
    """How the alert stands in this group."""

    FIRING = "firing"
    LEFT = "left"  # it fires on, but escalated to another group
    ENDED = "ended"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """An alert in a group.

    `change` numbers its last change here. `open`: the receiver was told that it fires. `unsent`:
    there is something to tell of it. `waiting`: at a flush that told others it was held back or
    found no room, so that the group's told number no longer speaks for it. `fired` counts the
    unsent firings, `escalated_here` says that it escalated inside this group since, `grew` that
    its tenth, hundredth … event came.
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

    @property
    def ident(self) -> Ident:
        return (self.alert.name, self.alert.key)

    @property
    def status(self) -> NoticeStatus:
        """How a notice about it reads now."""
        if self.stage is Stage.FIRING:
            return NoticeStatus.FIRING
        if self.stage is Stage.LEFT:
            return NoticeStatus.ESCALATED
        if self.alert.unseen:
            return NoticeStatus.UNSEEN if self.open else NoticeStatus.FIRED_AND_UNSEEN
        return NoticeStatus.RESOLVED if self.open else NoticeStatus.FIRED_AND_RESOLVED

    @property
    def only_ends(self) -> bool:
        """Whether the end of a firing that was told is all there is to tell."""
        return self.open and self.stage is Stage.ENDED

    @property
    def only_grew(self) -> bool:
        """Whether it was told that it fires, and growth is all there is to tell."""
        fires = self.open and self.stage is Stage.FIRING
        return fires and self.grew and not self.fired and not self.escalated_here

    @property
    def held(self) -> int:
        """Firings that no message told, beyond the one that its notice tells."""
        return self.fired if self.open else max(0, self.fired - 1)


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
    )


def risen(member: Member | None, transition: Transition) -> Member:
    """Return it escalated within the group; in a group it is new to, that is a firing."""
    if member is None:
        return fired(None, transition)
    changed = _changed(member, transition, transition.alert)
    return replace(changed, stage=Stage.FIRING, escalated_here=True, escalated_to="")


def grown(member: Member, transition: Transition) -> Member:
    """Return it with what there is of it by now; where it has left or ended it stays as it is."""
    alert = replace(transition.alert, labels=member.alert.labels)
    if member.stage is not Stage.FIRING:
        return member
    return replace(member, alert=alert, change=alert.change, unsent=True, grew=True)


def left(member: Member, transition: Transition) -> Member:
    """Return it escalated to other groups: told here once, at the old labels.

    One that has left before only learns where it is now.
    """
    labels = member.alert.labels if member.stage is Stage.LEFT else transition.before
    alert = replace(transition.alert, labels=labels or member.alert.labels)
    changed = _changed(member, transition, alert)
    unsent = member.unsent if member.stage is Stage.LEFT else True
    return replace(
        changed,
        stage=Stage.LEFT,
        unsent=unsent,
        escalated_to=transition.alert.labels.get("severity", ""),
    )


def ended(member: Member, transition: Transition) -> Member:
    """Return it ended, at the labels under which it was told here."""
    here = member if member.stage is Stage.LEFT else transition
    ended_at = transition.at if transition.alert.ended_at is None else transition.alert.ended_at
    alert = replace(transition.alert, labels=here.alert.labels, ended_at=ended_at)
    return replace(_changed(member, transition, alert), stage=Stage.ENDED)


def sent(member: Member) -> Member | None:
    """Return it once the group was told of it."""
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
    )


def accepted(member: Member, said: Said) -> Member | None:
    """Return what the member is once the receiver has accepted what a message said of it.

    It may have changed while the message was on its way: then that is still to be told.
    """
    if member.change == said.change:
        return sent(member)
    fires = said.status in (NoticeStatus.FIRING, NoticeStatus.ESCALATED)
    rose = member.escalated_here and said.severity != member.alert.severity
    fired = max(0, member.fired - said.fired)
    return replace(member, open=fires, fired=fired, escalated_here=rose)


def stands(member: Member) -> bool:
    """Tell whether it fires and its receiver knows; not while a late digest is to say so."""
    return member.open and member.stage is Stage.FIRING and (member.unsent or not member.waiting)


def said_of(member: Member) -> Said:
    """Return what a message made now says of the member."""
    alert = member.alert
    return Said(alert.name, alert.key, member.change, member.status, member.fired, alert.severity)


def pack(member: Member) -> bytes:
    return _ENCODER.encode(member)


def unpack(packed: bytes, told: int) -> Member | None:
    """Return a stored member as it stands now that its group was told up to number `told`.

    A flush writes that one number instead of every member; None: its end is told, it is gone.
    """
    member = _DECODER.decode(packed)
    untold = member.unsent and (member.waiting or member.change > told)
    return member if untold or not member.unsent else sent(member)


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
