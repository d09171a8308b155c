"""What the state file of a running daemon holds, in its tables and in its log."""

from pathlib import Path

from sidecar.rows import Row
from sidecar.store.sqlite import backup, is_ours
from sidecar.store.store import Store
from support.rows import ROW_TYPES


def rows_in(path: Path) -> dict[str, list[Row]]:
    """Return all rows by table, nothing while there is no state file."""
    if not is_ours(str(path)):
        return {}
    copy = path.with_name(f"{path.name}.seen")
    backup(str(path), str(copy))
    store = Store.open(str(copy))
    try:
        return {row.table: [*store.load(row)] for row in ROW_TYPES}
    finally:
        store.close()
