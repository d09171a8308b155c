"""`sidecar alerts`: what fires and what is about to, asked of a running daemon."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from sidecar.cli.client import Client, options, table_or_json
from sidecar.cli.output import Part, by_word, paint, say, say_row, widths

_HEAD = ("STATE", "SEVERITY", "SINCE (UTC)", "ALERT", "KEY", "SUMMARY")


@click.command()
@options
@table_or_json
@click.option(
    "--ids",
    is_flag=True,
    help="Only what rules collected with the alerts (`collect`): one value a line, each once.",
)
def alerts(
    url: str | None,
    path: str | None,
    token_file: str | None,
    form: str,
    *,
    ids: bool,
) -> None:
    """List the alerts that are pending or firing, the latest change first."""
    found: list[dict[str, Any]] = Client(url, path, token_file).get("/api/v1/alerts")["alerts"]
    if ids:
        for value in _collected(found):
            say(value)
        return
    if form == "json":
        for alert in found:
            say(msgspec.json.encode(alert).decode())
        return
    if not found:
        say("no alerts")
        return
    rows = [_HEAD, *map(_row, found)]
    wide = widths(rows)
    say_row(_HEAD, wide)
    for alert, row in zip(found, rows[1:], strict=True):
        say_row(row, wide)
        if ack := alert.get("acked"):
            at = datetime.fromtimestamp(ack["at"], UTC)
            said = f": {ack['comment']}" if ack["comment"] else ""
            say(f"    acknowledged by {ack['by'] or 'somebody'}, {at:%Y-%m-%d %H:%M:%S} UTC{said}")
        if tip := alert.get("evidence"):
            say(paint(f"    {tip['file']} at byte {tip['offset']}: {tip['line']}", dim=True))


def _collected(found: list[dict[str, Any]]) -> Iterable[str]:
    values = (value for alert in found for some in alert["collected"].values() for value in some)
    return dict.fromkeys(values)


def _row(alert: dict[str, Any]) -> tuple[Part, ...]:
    since = datetime.fromtimestamp(alert["since"], UTC)
    key = " ".join(f"{name}={value}" for name, value in alert["key"].items())
    return (
        by_word(alert["state"]),
        by_word(alert["severity"]),
        f"{since:%Y-%m-%d %H:%M:%S}",
        alert["alertname"],
        key or "-",
        " ".join(alert["annotations"].get("summary", "").split()),
    )
