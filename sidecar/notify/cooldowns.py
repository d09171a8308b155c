"""What is too soon and what too much: cooldowns, floods of alerts, mail to owners."""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from sidecar.notify.group import Group, GroupKind, key_text
from sidecar.notify.member import Ident, Member
from sidecar.notify.model import ORG, Said
from sidecar.rows import CooldownRow, Delta, Gone, MetaRow

# Earlier versions wrote the receiver's name alone.
_Key = tuple[str, str, str, str]  # receiver and destination, alert name, by-key (JSON), severity


class Cooldowns:
    """The least gap between messages to a receiver about one alert at one severity.

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
        key = _key(group, member.ident, member.alert.severity)
        row = self._rows.get(key) or self._rows.get((group.receiver, *key[1:]))
        return 0.0 if row is None else min(row.until, row.at + group.route.cooldown)

    def start(self, group: Group, said: Said, now: float) -> None:
        """Note that those whom `group` is for were told this at wall clock `now`."""
        if group.route.cooldown <= 0:
            return
        key = _key(group, (said.name, said.key), said.severity)
        receiver, rule, by_key, severity = key
        until = now + group.route.cooldown
        self._rows[key] = CooldownRow(
            receiver=receiver, rule=rule, by_key=by_key, severity=severity, at=now, until=until
        )
        self._dirty[key] = None
        heapq.heappush(self._ends, (until, key))

    def set_back(self, now: float) -> None:
        """Let no cooldown have begun after `now`; the clock was set back."""
        for key, row in self._rows.items():
            if row.at > now:
                until = now + row.until - row.at
                self._rows[key] = msgspec.structs.replace(row, at=now, until=until)
                self._dirty[key] = None
                heapq.heappush(self._ends, (until, key))

    def expire(self, now: float) -> None:
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


# So long after it was too much, a rule's alerts are told by digest.
_FLOOD_SECONDS = 60.0


class Floods:
    """Of which rules there is more to tell an audience than its rate allows.

    `under_way`: how many messages are on their way to each.
    """

    def __init__(self) -> None:
        self.under_way: Counter[tuple[str, str, str]] = Counter()
        self._until: dict[tuple[str, str, str], dict[str, float]] = {}

    def exceeds(self, group: Group, tell: Sequence[Member], now: float) -> bool:
        """Return whether there is more to tell than the rate of those a group is for allows.

        What was too much of goes on to be for a while, so that the rest of a flood, which comes
        message by message, is not told so.
        """
        if group.kind is not GroupKind.ROUTE or not group.to.burst:
            return False
        floods = self._until.setdefault(group.audience, {})
        names = {member.alert.name for member in tell}
        full = self.under_way[group.audience] >= group.to.burst
        going_on = (now < floods.get(name, 0.0) <= now + _FLOOD_SECONDS for name in names)
        if not full and not any(going_on):  # one that ends later began by a clock since set back
            return False
        floods.update(dict.fromkeys(names, now + _FLOOD_SECONDS))
        return True


def _key(group: Group, ident: Ident, severity: str) -> _Key:
    audience = f"{group.receiver}@{group.to.integration}/{group.to.name}"
    return (audience, ident[0], key_text(ident), severity)


def _key_of(row: CooldownRow) -> _Key:
    return (row.receiver, row.rule, row.by_key, row.severity)


# --- mail to the owners of organisations

DAY = 86_400.0
MOST_A_DAY = 100  # over all organisations
# The MetaRow that keeps when the owner of each organisation was mailed, for a day.
OWNERS = "owners"
# Begins why an owner is not mailed who wants no mail: nobody is told instead.
TURNED_OFF = "turned off"


class Owners:
    """Counts the mails to owners: one a day to each, all of them together MOST_A_DAY.

    The count is stored, so a restart gives no more.
    """

    def __init__(self, stored: str = "{}") -> None:
        self._mailed = msgspec.json.decode(stored, type=dict[str, float])
        self._changed = False

    def refuses(self, group: Group, now: float) -> str:
        """Return why the owner that a group is for is not mailed at wall clock `now`, or nothing.

        A count from the future is one from before the clock was set back, and stands for a day.
        """
        org = group.labels.get(ORG, "")
        if not org:
            return "the alert names no organisation"
        if abs(now - self._mailed.get(org, -DAY)) < DAY:
            return "one mail a day is sent to an organisation's owner"
        if sum(abs(now - at) < DAY for at in self._mailed.values()) >= MOST_A_DAY:
            return f"{MOST_A_DAY} mails a day are sent to owners, and no more"
        return ""

    def count(self, group: Group, now: float) -> None:
        """Note that an owner was mailed, or may have been."""
        recent = {org: at for org, at in self._mailed.items() if abs(now - at) < DAY}
        self._mailed = {**recent, group.labels.get(ORG, ""): now}
        self._changed = True

    def drain(self) -> Delta:
        """Return the row that changed since the last call, if it did."""
        if not self._changed:
            return Delta()
        self._changed = False
        return Delta(rows=[MetaRow(OWNERS, msgspec.json.encode(self._mailed).decode())])
