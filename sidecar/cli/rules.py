"""`sidecar rules`: every rule of a running daemon, and how it stands."""

from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from sidecar.cli.client import Client, options, table_or_json
from sidecar.cli.output import Part, by_word, say, say_row, widths
from sidecar.secret import printable

_HEAD = (
    "ALERT",
    "SEVERITY",
    "FIRING",
    "PENDING",
    "KEYS",
    "LAST MATCH (UTC)",
    "NEXT DEADLINE (UTC)",
    "JUDGING",
    "A KEY",
)
_KINDS_HEAD = ("PROVIDER", "EVENT TYPE", "STATUS", "EVENTS", "LAST (UTC)")


@click.command()
@options
@table_or_json
@click.option(
    "--unread", is_flag=True, help="List the events that came and that no rule and no metric names."
)
def rules(
    url: str | None,
    path: str | None,
    token_file: str | None,
    form: str,
    unread: bool,  # noqa: FBT001 - click passes it by name
) -> None:
    """List the rules: alerts and keys of each, its newest match and what it waits for next.

    JUDGING is how long it was judged since the start, A KEY what a key takes at most where the
    rule looks back by `offset`.
    """
    place, name = ("/api/v1/events", "unread") if unread else ("/api/v1/rules", "rules")
    found: list[dict[str, Any]] = Client(url, path, token_file).get(place)[name]
    if form == "json":
        for one in found:
            say(msgspec.json.encode(one).decode())
        return
    rows = [_KINDS_HEAD, *map(_kind, found)] if unread else [_HEAD, *map(_row, found)]
    wide = widths(rows)
    for row in rows:
        say_row(row, wide)


def _row(rule: dict[str, Any]) -> tuple[Part, ...]:
    return (
        rule["alertname"],
        by_word(rule["severity"]),
        f"{rule['firing'] or '-'}",
        f"{rule['pending'] or '-'}",
        f"{rule['keys']:,}",
        _utc(rule["last_match"]),
        _utc(rule["next_deadline"]),
        f"{rule['seconds']:.3f} s",
        f"{rule['key_bytes'] / 1000:,.0f} kB" if rule["key_bytes"] else "-",
    )


def _kind(kind: dict[str, Any]) -> tuple[Part, ...]:
    return (
        printable(kind["provider"]),
        printable(kind["event_type"]),
        printable(kind["status"]),
        f"{kind['count']:,}",
        _utc(kind["last"]),
    )


def _utc(at: float | None) -> str:
    return "-" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
