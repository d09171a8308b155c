"""Decides whether a group is told now, of which alerts, why, and when to decide again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import msgspec

from sidecar.notify.cooldowns import DAY
from sidecar.notify.group import NOWHERE, Group, GroupKind
from sidecar.notify.member import Member, Stage
from sidecar.notify.model import CRITICAL, NoticeStatus, Reason
from sidecar.notify.mutes import Mute
from sidecar.rules.windows import NEVER

# When the cooldown of a member's alert at its severity is over; in the past or 0.0 if none runs.
CooldownEnd = Callable[[Member], float]


# What holds a member back now beside its cooldown, if something does.
Muted = Callable[[Member], Mute | None]


@dataclass(frozen=True, slots=True)
class Choice:
    """A named reason, the members to tell now, and the unsent ones that a cooldown holds back.

    `muted`: those that something holds back, and what; `lost`, of these, began and ended unheard.
    """

    reason: Reason
    tell: tuple[Member, ...] = ()
    held: tuple[Member, ...] = ()
    muted: tuple[tuple[Member, Mute], ...] = ()
    lost: tuple[tuple[Member, Mute], ...] = ()


class GroupDecision(msgspec.Struct, frozen=True):
    """A decision on a group, for metric and log: whether `alerts` alerts were told, and why."""

    receiver: str
    reason: Reason
    told: bool
    alerts: int
    names: tuple[str, ...]  # alert names, sorted, each once
    group: str = ""
    by: str = ""  # what mutes, where that is the reason


def _no_mute(_: Member) -> None:
    """Stand in for a Muted where nothing is."""


def decide(group: Group, now: float, cooldown_end: CooldownEnd, muted: Muted = _no_mute) -> Choice:
    """Return what a due group does at wall clock `now`.

    A message tells what is unsent, and what still fires and was last told `repeat_interval` ago.
    Unlike in Alertmanager it does not list all of the group, and the interval is each alert's: in a
    busy group none is told all the time, and none never again. What is muted is told once nothing
    mutes it any more, if it still fires, or was told to fire.
    """
    waits = [*group.members.unsent.values(), *(member for member, _ in repeats(group, now))]
    mutes = [(member, muted(member)) for member in waits]
    free = [member for member, mute in mutes if mute is None]
    kept = [(member, mute) for member, mute in mutes if mute is not None]
    choice = _of_free(group, free, now, cooldown_end)
    if not kept:
        return choice
    silent = not (choice.tell or choice.held)
    return replace(
        choice,
        reason=kept[0][1].reason if silent else choice.reason,
        muted=tuple(pair for pair in kept if not _is_lost(pair[0])),
        lost=tuple(pair for pair in kept if _is_lost(pair[0])),
    )


def _is_lost(member: Member) -> bool:
    """Return whether a muted member needs never be told: nobody heard of it, and it is over."""
    return member.stage is Stage.ENDED and not (member.open or member.doubted)


def _of_free(group: Group, free: Sequence[Member], now: float, cooldown_end: CooldownEnd) -> Choice:
    """Decide about what nothing mutes."""
    unsent = [member for member in free if member.unsent]
    if group.kind is not GroupKind.ROUTE:
        return _digest(group.kind, unsent)
    due = [member for member in free if not member.unsent]
    held = tuple(member for member in unsent if _free_from(member, cooldown_end) > now)
    news = tuple(member for member in unsent if _free_from(member, cooldown_end) <= now)
    again = tuple(member for member in due if cooldown_end(member) <= now)
    if news or again:
        return Choice(_reason(group, news) if news else Reason.REPEAT, (*news, *again), held)
    return Choice(Reason.COOLDOWN if held or due else Reason.NOTHING_NEW, held=held)


def _digest(kind: GroupKind, unsent: Sequence[Member]) -> Choice:
    """Digests tell whatever they hold, cooldown or not: each alert is told only once."""
    reasons = {GroupKind.LATE: Reason.LATE_DIGEST, GroupKind.STORM: Reason.STORM}
    reason = reasons.get(kind, Reason.RULE_CHANGED)
    return Choice(reason, tuple(unsent)) if unsent else Choice(Reason.NOTHING_NEW)


def _reason(group: Group, tell: Sequence[Member]) -> Reason:
    """Name why: what fires before what escalated before what ended gives the reason."""
    statuses = {member.status for member in tell}
    if NoticeStatus.FIRING in statuses:
        return _reason_of_firing(group, tell)
    if NoticeStatus.ESCALATED in statuses:
        return Reason.ESCALATED
    if NoticeStatus.FIRED_AND_RESOLVED in statuses:
        return Reason.FIRED_AND_RESOLVED
    if statuses <= {NoticeStatus.UNSEEN, NoticeStatus.FIRED_AND_UNSEEN}:
        return Reason.UNSEEN
    told = set(map(id, tell))
    rest_ended = all(m.stage is Stage.ENDED for m in group.members.values() if id(m) not in told)
    every = rest_ended and NoticeStatus.UNSEEN not in statuses
    return Reason.ALL_RESOLVED if every else Reason.SOME_RESOLVED


def _reason_of_firing(group: Group, tell: Sequence[Member]) -> Reason:
    told = [member for member in tell if member.status is NoticeStatus.FIRING]
    firing = [member for member in told if not (member.only_grew or member.only_acked)]
    if not firing:
        return Reason.GREW if any(member.grew for member in told) else Reason.ACKED
    if all(member.escalated_here and member.open for member in firing):
        return Reason.ESCALATED
    if all(member.muted for member in firing):
        return Reason.UNMUTED
    if all(member.instead_of and not member.told_at for member in firing):
        return Reason.FALLBACK
    if all(member.open for member in firing):
        return Reason.FLAPPING
    if all(member.passed_on for member in firing):
        return Reason.UNACKED
    known = any(member.open for member in group.members.values())
    return Reason.NEW_ALERTS if known or group.told is not None else Reason.FIRST


def flush_for_unsent(group: Group, now: float) -> float:
    """Return when a group that just got something to tell is due (`now`: wall clock).

    `group_wait` from now if it was never told, at once when `group_limit` alerts wait; else
    `group_interval` after it was last told. An earlier flush stays.
    """
    if group.next_flush is None:
        return _earliest_flush(group, now)
    if group.next_flush <= now:  # no need to count a large group's members once more
        return group.next_flush
    return min(_earliest_flush(group, now), group.next_flush)


def _earliest_flush(group: Group, now: float) -> float:
    route = group.route
    if group.told is not None:
        return max(now, group.told.at + route.group_interval)
    return now if _is_full(group) else now + route.group_wait


def _is_full(group: Group) -> bool:
    return 0 < group.route.group_limit <= len(group.members.unsent)


def next_flush(group: Group, cooldown_end: CooldownEnd, muted: Muted = _no_mute) -> float | None:
    """Return when a group is to be looked at again, or None: worked out from what it is now.

    That is when the first cooldown ends under which news waits, or when what fires is to be
    repeated; but `group_interval` after the last message, `group_wait` after its first news if
    there was none. What was muted counts from the end of that on.
    """
    kept = {ident for ident, member in group.members.muted.items() if muted(member)}
    news = [member for ident, member in group.members.unsent.items() if ident not in kept]
    earliest = _earliest_of(group, news)
    if group.kind is not GroupKind.ROUTE:
        return earliest if news else None
    waits = [_free_from(member, cooldown_end) for member in news]

    def again(until: float) -> Iterator[float]:
        each = repeats(group, until)
        return (max(at, cooldown_end(member)) for member, at in each if member.ident not in kept)

    waits += islice(again(NEVER), 1)
    waits += again(min(waits, default=NEVER))
    return max(min(waits), earliest) if waits else None


def _earliest_of(group: Group, news: Sequence[Member]) -> float:
    """Return before when a group with this news says nothing.

    A group may be older than its news: it waited for a digest, or for what escalated.
    """
    route, told = group.route, group.told
    if told is not None:
        return told.at + route.group_interval
    began = min((max(member.came, group.created) for member in news), default=group.created)
    return began if _is_full(group) else began + route.group_wait


def _free_from(member: Member, cooldown_end: CooldownEnd) -> float:
    """Return until when a cooldown holds the member's news back: a re-fire, or what comes of it.

    It holds no growth, not that somebody took it, not the end of a firing that was told, nor that
    it escalated to others; and no critical alert that is news because the end of its last firing
    was told.
    """
    gone = member.open and member.stage is not Stage.FIRING
    anew = not member.open and member.alert.severity == CRITICAL
    free = gone or anew or member.only_grew or member.only_acked
    return 0.0 if free else cooldown_end(member)


def flush_for_repeat(group: Group) -> float | None:
    """Return when a group with nothing unsent is due: for a repeat, or never."""
    first = next((at for _, at in repeats(group)), NEVER)
    return min((at for _, at in repeats(group, first)), default=None)


def repeats(group: Group, until: float = NEVER) -> Iterator[tuple[Member, float]]:
    """Yield what still fires and is to be said again by `until`, and from when on.

    What was acknowledged is not, unless the route says so. An owner is mailed once a day at most.
    Where nobody is told, nothing is said again.
    """
    if group.to is NOWHERE:
        return
    route, least = group.route, DAY if group.to.owner else 0.0
    intervals = [max(one, least) for one in (route.repeat_interval, route.repeat_when_acked) if one]
    soonest = min(intervals, default=NEVER)
    for member in group.members.going_on():
        if member.told_at and member.told_at + soonest > until:
            return  # those after it heard of it later
        interval = route.repeat_when_acked if member.acked else route.repeat_interval
        at = (member.told_at or group.created) + max(interval, least)
        if interval and at <= until:
            yield member, at
