"""Finds the address of an organisation's owner at the moment that a mail to him is sent."""

import asyncio
from collections.abc import Callable
from typing import Any

from sidecar.directory.config import Directory, Owner, PostgreSql
from sidecar.notify.model import ORG, Notification
from sidecar.notify.owner import TURNED_OFF
from sidecar.receivers.base import Failed, FailureKind, Verdict, scrub
from sidecar.redact import OWNER_FIELD

LIMIT_SECONDS = 2.0
KNOWN_SECONDS = 300.0
# What a database that is down answers is believed for so long: mails do not queue up behind it.
FAILED_SECONDS = 10.0
_MOST_KNOWN = 1000


class Lookup:
    """Asks the directory, or where there is none takes the address that the event names.

    Whatever is wrong comes back as a reason, within LIMIT_SECONDS. `monotonic` returns seconds of a
    clock that never jumps.
    """

    def __init__(self, directory: Directory | None, monotonic: Callable[[], float]) -> None:
        self._directory = directory
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, Owner]] = {}
        self._late: set[asyncio.Task[Owner]] = set()

    def use(self, directory: Directory | None) -> None:
        """Ask this one from now on."""
        self._directory = directory
        self._known.clear()

    async def __call__(self, told: Notification) -> str | Failed:
        """Return the address of the one whom `told` is for, or why he is not mailed."""
        org = told.group_labels.get(ORG, "")
        if not org:
            owner = Owner(wrong="the alert names no organisation")
        elif self._directory is None:
            owner = _named_by(told)
        else:
            owner = await self._owner(org, self._directory)
        if owner.email and owner.notify:
            return owner.email
        why = owner.wrong or f"{TURNED_OFF} for this organisation"
        return Failed(FailureKind.OWNER, Verdict.DEAD, why)

    async def _owner(self, org: str, directory: Directory) -> Owner:
        if directory.postgresql is None:
            return (directory.file or {}).get(org) or Owner(wrong="the directory does not know it")
        until, owner = self._known.get(org, (0.0, Owner()))
        if self._monotonic() < until:
            return owner
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        owner = await self._asked(org, directory.postgresql)
        seconds = FAILED_SECONDS if owner.wrong else KNOWN_SECONDS
        self._known[org] = (self._monotonic() + seconds, owner)
        return owner

    async def _asked(self, org: str, database: PostgreSql) -> Owner:
        """Return what the database says; one that is silent is left to end by itself."""
        asking = asyncio.create_task(_ask(org, database))
        done, _ = await asyncio.wait({asking}, timeout=LIMIT_SECONDS)
        if done:
            return asking.result()
        self._late.add(asking)
        asking.add_done_callback(self._late.discard)
        asking.cancel()
        return Owner(wrong=f"the directory did not answer within {LIMIT_SECONDS:g} s")


def _named_by(told: Notification) -> Owner:
    """Return the owner whom the events of a message name."""
    named = {str(notice.event.get(OWNER_FIELD) or "") for notice in told.notices} - {""}
    if not named:
        return Owner(wrong=f"the event has no `{OWNER_FIELD}`")
    return Owner.of(named.pop()) if len(named) == 1 else Owner(wrong="its events name several")


async def _ask(org: str, database: PostgreSql) -> Owner:
    """Ask once, in a transaction that only reads. What goes wrong is a reason."""
    import psycopg  # noqa: PLC0415 - an extra, imported where it is needed

    url = database.url.reveal() if database.url else ""
    milliseconds = int(1000 * LIMIT_SECONDS)
    try:
        connection = await psycopg.AsyncConnection.connect(
            url, connect_timeout=int(LIMIT_SECONDS), options=f"-c statement_timeout={milliseconds}",
            prepare_threshold=None, application_name="webhook-alert-sidecar",
        )  # fmt: skip
        async with connection:
            await connection.set_read_only(True)
            # The operator's own query, and the one parameter of it.
            found = await connection.execute(database.query.encode(), {"org_id": org})
            names = [column.name for column in found.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in await found.fetchmany(2)]
    except psycopg.Error as wrong:
        said = scrub(str(wrong).partition("\n")[0], (url,)) or type(wrong).__name__
        return Owner(wrong=f"the directory cannot be asked: {said}")
    return _found(rows)


def _found(rows: list[dict[str, Any]]) -> Owner:
    if not rows:
        return Owner(wrong="the directory does not know it")
    first = [next(iter(row.values()), None) for row in rows]
    if len({str(address) for address in first}) > 1:
        return Owner(wrong="the directory knows several owners")
    if rows[0].get("notify") is False:
        return Owner(notify=False)
    return Owner.of(str(first[0] or ""))
