"""Cooldowns: the least gap between messages about one alert at one severity to a receiver."""

import heapq
from collections.abc import Iterable

from sidecar.notify.group import Group, key_text
from sidecar.notify.member import Member
from sidecar.rows import CooldownRow, Delta, Gone

_Key = tuple[str, str, str, str]  # receiver, alert name, by-key (JSON), severity


class Cooldowns:
    """Who was told of what, at which severity, less than a cooldown ago.

    They outlive the alert and, in their rows, the process; those that are over are forgotten.
    """

    def __init__(self, rows: Iterable[CooldownRow] = ()) -> None:
        self._rows = {_key_of(row): row for row in rows}
        self._ends = [(row.until, key) for key, row in self._rows.items()]
        heapq.heapify(self._ends)
        self._dirty: dict[_Key, None] = {}

    def ends(self, group: Group, member: Member) -> float:
        """Return when the receiver of `group` may be told of `member` again; 0.0: any time.

        A cooldown that the route has shortened since ends sooner.
        """
        row = self._rows.get(_key(group, member))
        return 0.0 if row is None else min(row.until, row.at + group.route.cooldown)

    def start(self, group: Group, member: Member, now: float) -> None:
        """Note that the receiver of `group` was told of `member` at wall clock `now`."""
        if group.route.cooldown <= 0:
            return
        key = _key(group, member)
        receiver, rule, by_key, severity = key
        until = now + group.route.cooldown
        self._rows[key] = CooldownRow(
            receiver=receiver, rule=rule, by_key=by_key, severity=severity, at=now, until=until
        )
        self._dirty[key] = None
        heapq.heappush(self._ends, (until, key))

    def forget(self, now: float) -> None:
        """Drop those that are over at wall clock `now`."""
        while self._ends and self._ends[0][0] <= now:
            until, key = heapq.heappop(self._ends)
            row = self._rows.get(key)
            if row is not None and row.until == until:
                del self._rows[key]
                self._dirty[key] = None

    def drain(self) -> Delta:
        """Return the rows that changed since the last call, and what is gone."""
        delta = Delta()
        for key in self._dirty:
            row = self._rows.get(key)
            if row is None:
                delta.gone.append(Gone(CooldownRow, key))
            else:
                delta.rows.append(row)
        self._dirty = {}
        return delta


def _key(group: Group, member: Member) -> _Key:
    alert = member.alert
    return (group.receiver, alert.name, key_text((alert.name, alert.key)), alert.severity)


def _key_of(row: CooldownRow) -> _Key:
    return (row.receiver, row.rule, row.by_key, row.severity)
