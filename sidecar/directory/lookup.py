"""Finds the address of an organisation's owner at the moment that a mail to him is sent.

The keys of `directory` stand first: a CSV file that is read with the configuration, or a query.
"""

import asyncio
import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from sidecar.notify.cooldowns import TURNED_OFF
from sidecar.notify.model import ORG, Notification
from sidecar.receivers.base import Failed, FailureKind, Verdict, scrub
from sidecar.redact import OWNER_FIELD
from sidecar.syntax.faults import Place, Reported
from sidecar.syntax.files import absolute
from sidecar.syntax.table import Nested, Placed, Reading, Schema, Table, key, table
from sidecar.syntax.tree import Node, text_of
from sidecar.syntax.values import DatabaseUrl, Named, check_database, parse_mailbox, string

_COLUMNS = ("org_id", "email")
_NOTIFY = {"": True, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Owner:
    """How a directory knows an organisation: its owner's mailbox, and whether he wants mail.

    `wrong` says why there is none.
    """

    email: str = ""
    notify: bool = True
    wrong: str = ""

    @classmethod
    def of(cls, email: str, *, notify: bool = True) -> "Owner":
        """Return the owner whose address must be exactly one mailbox."""
        try:
            return cls(parse_mailbox(email), notify)
        except ValueError:
            return cls(notify=notify, wrong="the address of its owner is not exactly one mailbox")


def _read_owners(node: Node, reading: Reading) -> Mapping[str, Owner]:
    """Return the owners of a CSV file by organisation. A line that is wrong costs its own."""
    scalar = text_of(node)
    path = absolute(scalar.place.file, scalar.text)
    text = reading.files.text(path, scalar.place)
    if text is None:
        raise Reported
    lines = csv.reader(text.splitlines(keepends=True))
    head = [name.strip() for name in next(lines, [])]
    missing = [name for name in _COLUMNS if name not in head]
    if missing:
        named = " and ".join(f"`{name}`" for name in missing)
        hint = "its first line names them: org_id,email and, if need be, notify"
        reading.faults.error(Place(path), f"no column {named}", hint)
        raise Reported
    found: dict[str, Owner] = {}
    for values in lines:
        row = dict(zip(head, map(str.strip, values), strict=False))
        if any(row.values()):
            _take(row, Place(path, lines.line_num), found, reading)
    return found


def _take(row: Mapping[str, str], place: Place, found: dict[str, Owner], reading: Reading) -> None:
    org, notify = row.get("org_id", ""), row.get("notify", "").lower()
    owner = Owner.of(row.get("email", ""), notify=_NOTIFY.get(notify, False))
    if notify not in _NOTIFY:
        owner = Owner(wrong="its `notify` is neither true nor false")
    if not owner.notify and not owner.wrong:
        owner = Owner(notify=False)
    if org in found:
        owner = Owner(wrong="the file names it twice")
    if not org:
        reading.faults.warning(place, "no `org_id`: this line counts for nothing")
        return
    if owner.wrong:
        reading.faults.warning(place, f"{org}: {owner.wrong}", "its owner is not mailed")
    found[org] = owner


OwnersFile = Annotated[Mapping[str, Owner] | None, Placed(_read_owners, string())]


@table
class PostgreSql(Table):
    """A database that is asked for the owner of one organisation, read only."""

    schema: ClassVar[Schema] = {"anyOf": [{"required": ["url"]}, {"required": ["url_file"]}]}

    url: DatabaseUrl = key("Where it is: a connection URI, or keywords and values.", default=None)
    query: Named = key(
        "Returns the address in its first column; `%(org_id)s` is the organisation. A column "
        "`notify` that is false means that the owner wants no mail.",
        schema={"pattern": r"%\(org_id\)s"},
    )

    def check(self, reading: Reading) -> "PostgreSql":
        check_database(self, reading)
        if self.query and "%(org_id)s" not in self.query:
            hint = "for example SELECT email FROM owners WHERE org_id = %(org_id)s"
            reading.error(self, "query", "`query` does not ask for %(org_id)s", hint)
        elif self.query:
            self._check_marks(reading)
        return self

    def _check_marks(self, reading: Reading) -> None:
        try:
            _ = self.query % {"org_id": ""}
        except (ValueError, KeyError, TypeError):
            message = "`query` has a % that is no %(org_id)s"
            reading.error(self, "query", message, "write a percent sign as %%")


@table
class Directory(Table):
    """Who owns which organisation."""

    schema: ClassVar[Schema] = {"oneOf": [{"required": ["file"]}, {"required": ["postgresql"]}]}

    file: OwnersFile = key(
        "A CSV file with the columns `org_id` and `email`; `notify` may say false. It is read anew "
        "when it changes.",
        default=None,
    )
    postgresql: Annotated[PostgreSql | None, Nested(lambda: PostgreSql)] = key(
        "A database to ask, for which psycopg has to be installed: the extra `postgresql`.",
        default=None,
    )

    def check(self, reading: Reading) -> "Directory":
        written = {"file", "postgresql"} & reading.node(self).values.keys()
        if len(written) != 1:
            message = "a directory is either a `file` or `postgresql`"
            reading.error(self, "", message, "write one of the two")
        return self


# --- asking

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
