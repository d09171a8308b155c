"""One alert's place in a group: what became of it since the group was last told.

Every function takes a member and returns the next one; None means that it leaves the group.
"""

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from sidecar.notify.model import NoticeStatus
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

    `change` numbers its last change here. `open`: the receiver was told that it fires. `news`: it
    has something untold. `waiting`: at a flush that told others its news was held back or found
    no room, so that the group's told number no longer speaks for it. `fired` counts the untold
    firings, `rose` says that it escalated inside this group since. `prior` is the last end that
    was not told before it fired again: should the new firing expire, which nobody is told, that
    end still counts.
    """

    alert: Alert
    change: int
    stage: Stage = Stage.FIRING
    open: bool = False
    news: bool = True
    waiting: bool = False
    fired: int = 1
    rose: bool = False
    escalated_to: str = ""
    late_by: float = 0.0
    prior: Alert | None = None

    @property
    def status(self) -> NoticeStatus:
        """How a notice about it reads now."""
        if self.stage is Stage.FIRING:
            return NoticeStatus.FIRING
        if self.stage is Stage.LEFT:
            return NoticeStatus.ESCALATED
        return NoticeStatus.RESOLVED if self.open else NoticeStatus.FIRED_AND_RESOLVED

    @property
    def held(self) -> int:
        """Firings that no message told, beyond the one that its notice tells."""
        return self.fired if self.open else max(0, self.fired - 1)


def fired(member: Member | None, transition: Transition) -> Member:
    """Take a firing: the first here, or one more since the group was last told."""
    alert = transition.alert
    if member is None:
        return Member(alert=alert, change=alert.change, late_by=transition.late_by)
    return replace(
        _changed(member, transition, alert),
        stage=Stage.FIRING,
        fired=member.fired + 1,
        rose=False,
        escalated_to="",
        prior=member.alert if member.stage is Stage.ENDED else member.prior,
    )


def risen(member: Member | None, transition: Transition) -> Member:
    """Take an escalation that stays in the group; for a group it is new to, that is a firing."""
    if member is None:
        return fired(None, transition)
    changed = _changed(member, transition, transition.alert)
    return replace(changed, stage=Stage.FIRING, rose=True, escalated_to="")


def left(member: Member, transition: Transition) -> Member:
    """Take an escalation away to other groups: told here once, at the old labels.

    One that has left before only learns where it is now.
    """
    labels = member.alert.labels if member.stage is Stage.LEFT else transition.before
    alert = replace(transition.alert, labels=labels or member.alert.labels)
    changed = _changed(member, transition, alert)
    news = member.news if member.stage is Stage.LEFT else True
    return replace(
        changed,
        stage=Stage.LEFT,
        news=news,
        escalated_to=transition.alert.labels.get("severity", ""),
    )


def ended(member: Member, transition: Transition) -> Member:
    """Take the end, at the labels under which it was told here."""
    here = member if member.stage is Stage.LEFT else transition
    ended_at = transition.at if transition.alert.ended_at is None else transition.alert.ended_at
    alert = replace(transition.alert, labels=here.alert.labels, ended_at=ended_at)
    return replace(_changed(member, transition, alert), stage=Stage.ENDED)


def expired(member: Member, transition: Transition) -> Member | None:
    """Take the silent end. A firing that nobody was told of yet is still told, once; and so is
    what ended before it fired this time.
    """
    if member.stage is Stage.ENDED:
        return member
    if not member.open:
        return ended(member, transition)
    if member.prior is None:
        return None
    changed = _changed(member, transition, member.prior)
    return replace(changed, stage=Stage.ENDED, prior=None)


def settled(member: Member) -> Member | None:
    """Return what the member is once the group was told of it."""
    if member.stage is Stage.ENDED:
        return None
    return replace(
        member,
        open=True,
        news=False,
        waiting=False,
        fired=0,
        rose=False,
        late_by=0.0,
        prior=None,
    )


def pack(member: Member) -> bytes:
    return _ENCODER.encode(member)


def unpack(packed: bytes, told: int) -> Member | None:
    """Return a stored member as it stands now that its group was told up to number `told`.

    A flush writes that one number instead of every member; None: its end is told, it is gone.
    """
    member = _DECODER.decode(packed)
    untold = member.news and (member.waiting or member.change > told)
    return member if untold or not member.news else settled(member)


def _changed(member: Member, transition: Transition, alert: Alert) -> Member:
    return replace(
        member,
        alert=alert,
        change=transition.alert.change,
        news=True,
        waiting=False,
        late_by=transition.late_by,
    )


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Member)
