"""Mail to the owners of organisations: how much of it there may be."""

import msgspec

from sidecar.notify.group import Group
from sidecar.notify.model import ORG
from sidecar.rows import Delta, MetaRow

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
