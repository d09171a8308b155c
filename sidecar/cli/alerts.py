"""`sidecar alerts`: what fires and what is about to, asked of a running daemon."""

from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from sidecar.cli.client import Client, options

_HEAD = ("STATE", "SEVERITY", "SINCE (UTC)", "ALERT", "KEY", "SUMMARY")


@click.command()
@options
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="json: one object a line.",
)
def alerts(url: str | None, path: str | None, token_file: str | None, form: str) -> None:
    """List the alerts that are pending or firing, the latest change first."""
    found: list[dict[str, Any]] = Client(url, path, token_file).get("/api/v1/alerts")["alerts"]
    if form == "json":
        for alert in found:
            click.echo(msgspec.json.encode(alert).decode())
        return
    if not found:
        click.echo("no alerts")
        return
    for line in _table([_HEAD, *map(_row, found)]):
        click.echo(line)


def _row(alert: dict[str, Any]) -> tuple[str, ...]:
    since = datetime.fromtimestamp(alert["since"], UTC)
    key = " ".join(f"{name}={value}" for name, value in alert["key"].items())
    return (
        alert["state"],
        alert["severity"],
        f"{since:%Y-%m-%d %H:%M:%S}",
        alert["alertname"],
        key or "-",
        " ".join(alert["annotations"].get("summary", "").split()),
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Return rows as lines; the last column is as long as it likes."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEAD) - 1)]
    return [
        "  ".join(
            [*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]
        ).rstrip()
        for row in rows
    ]
