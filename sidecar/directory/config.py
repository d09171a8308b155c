"""The keys of `directory`: a CSV file that is read with the configuration, or a query."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

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
