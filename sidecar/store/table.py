"""Row structs as SQL: statements and values come from a struct's fields and annotations."""

from collections.abc import Callable, Iterable
from functools import cache
from itertools import starmap
from typing import Any, Generic, TypeVar

import msgspec

from sidecar.rows import Row

R = TypeVar("R", bound=Row)
SqlValue = str | int | float | bytes | None


class Table(Generic[R]):
    """The statements for one row type; values are bound in the order of its fields."""

    def __init__(self, row: type[R]) -> None:
        fields = msgspec.structs.fields(row)
        self._row = row
        self._columns = tuple(f.encode_name for f in fields)
        self._restore = {
            f.encode_name: (f.type, _RESTORE[f.type]) for f in fields if f.type in _RESTORE
        }
        self._kinds = [(at, f.type) for at, f in enumerate(fields) if f.type in _RESTORE]
        columns = ", ".join(self._columns)
        where = " AND ".join(f"{name} = ?" for name in row.key)
        marks = ", ".join("?" * len(fields))
        updates = ", ".join(f"{c} = excluded.{c}" for c in self._columns if c not in row.key)
        self.select = f"SELECT {columns} FROM {row.table}"  # noqa: S608 - names of our own structs
        self.delete = f"DELETE FROM {row.table} WHERE {where}"  # noqa: S608 - same
        # An upsert, not REPLACE: that would change the rowid, the outbox's order of arrival.
        self.upsert = (
            f"INSERT INTO {row.table} ({columns}) VALUES ({marks})"  # noqa: S608 - same
            f" ON CONFLICT ({', '.join(row.key)}) DO UPDATE SET {updates}"
        )

    def rows(self, found: Iterable[tuple[Any, ...]]) -> list[R]:
        """Return the structs of what `select` found.

        A start reads a hundred thousand: where all values are of their fields' types, as nearly
        always, they go into the structs as they stand, in half the time.
        """
        rows = list(found)
        if all({type(row[at]) for row in rows} <= {kind} for at, kind in self._kinds):
            return list(starmap(self._row, rows))
        return [self._struct(row) for row in rows]

    def _struct(self, values: tuple[Any, ...]) -> R:
        fields = dict(zip(self._columns, values, strict=True))
        for name, (kind, restore) in self._restore.items():
            value = fields[name]
            if type(value) is not kind:
                fields[name] = restore(value)
        return self._row(**fields)


@cache
def table_of(row: type[R]) -> Table[R]:
    return Table(row)


def storable(values: tuple[Any, ...]) -> tuple[SqlValue, ...]:
    """Return `values` with those that SQLite refuses as the bytes of their text.

    Those are strings with lone surrogates (a file name that is no UTF-8) and integers beyond 63
    bits (inodes of some FUSE file systems). Blobs keep their exact value in any column.
    """
    return tuple(_storable(value) for value in values)


def _storable(value: Any) -> SqlValue:
    if isinstance(value, str) and not _is_unicode(value):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value).encode()
    return value  # type: ignore[no-any-return] # a row's fields are nothing else


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


_RESTORE: dict[Any, Callable[[Any], Any]] = {str: _text, int: int, bool: bool}
