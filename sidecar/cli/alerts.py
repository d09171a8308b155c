"""What a running daemon's alerts are asked and told by: `alerts`, `ack`, `resolve` and `drill`."""

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from sidecar.cli import as_utf8
from sidecar.cli.client import PROBLEM, Client, options, table_or_json, user
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
    """List the alerts that are pending or firing, the latest change first.

    Below them stand the sidecar's own problems, such as a log that it cannot read.
    """
    client = Client(url, path, token_file)
    found: list[dict[str, Any]] = client.get("/api/v1/alerts")["alerts"]
    if ids:
        for value in _collected(found):
            say(value)
        return
    if form == "json":
        for alert in found:
            say(msgspec.json.encode(alert).decode())
        return
    _say_alerts(found)
    for problem in client.get("/api/v1/status")["problems"]:
        say(_told(problem))


def _told(problem: dict[str, Any]) -> str:
    since = _utc(problem.pop("since"))
    kind = f"trouble of the sidecar itself since {since}: {problem.pop('kind')}"
    return ", ".join((kind, *(f"{name} {value}" for name, value in problem.items())))


def _say_alerts(found: list[dict[str, Any]]) -> None:
    if not found:
        say("no alerts")
        return
    rows = [_HEAD, *map(_row, found)]
    wide = widths(rows)
    say_row(_HEAD, wide)
    for alert, row in zip(found, rows[1:], strict=True):
        say_row(row, wide)
        if ack := alert.get("acked"):
            said = f": {ack['comment']}" if ack["comment"] else ""
            say(f"    acknowledged by {ack['by'] or 'somebody'}, {_utc(ack['at'])}{said}")
        for line in _held(alert):
            say(f"    {line}")
        if tip := alert.get("evidence"):
            say(paint(f"    {tip['file']} at byte {tip['offset']}: {tip['line']}", dim=True))


def _held(alert: dict[str, Any]) -> Iterator[str]:
    """Yield the silences that mute an alert, or for what its first or next message waits."""
    silences: list[dict[str, Any]] = alert.get("silenced", [])
    for one in silences:
        about = ", ".join(one["matchers"]) or "everything"
        yield f"silenced by {one['id']} ({about}), until {_utc(one['ends_at'])}"
    for wait in () if silences else alert.get("waits", ()):
        yield f"not told yet to {wait['to']}: {wait['why']}, until {_utc(wait['until'])}"


def _utc(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


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


@click.command()
@options
@click.argument("matchers", nargs=-1, required=True, metavar="MATCHER...")
@click.option("--comment", default="", help="What messages say of it.")
@click.option("--by", help="Who has taken it.  [default: who you are to this machine]")
def ack(
    url: str | None,
    path: str | None,
    token_file: str | None,
    *,
    matchers: tuple[str, ...],
    comment: str,
    by: str | None,
) -> None:
    """Acknowledge all that fires and passes every MATCHER, such as org_id=org_1.

    It is not told again while it fires, and nobody else is told because nobody took it; its end is
    told as ever. An alert that fires again, or with a higher severity, is news again.
    """
    asked = {
        "matchers": list(map(as_utf8, matchers)),
        "by": user() if by is None else as_utf8(by),
        "comment": as_utf8(comment),
    }
    found = Client(url, path, token_file).post("/api/v1/alerts/ack", asked)["acked"]
    for alert in found:
        about = " ".join(f"{name}={value}" for name, value in alert["key"].items())
        say(f"acknowledged {alert['alertname']}{' for ' if about else ''}{about}")


@click.command()
@options
@click.argument("alert")
@click.argument("key", nargs=-1, metavar="[KEY=VALUE]...")
def resolve(
    url: str | None, path: str | None, token_file: str | None, alert: str, key: tuple[str, ...]
) -> None:
    """End ALERT for the KEY=VALUE pairs that name it, and forget what led to it.

    `sidecar alerts` shows both. Whoever was told that it fires is told that it ended. It fires
    again when its rule finds new reason to.
    """
    alert, wanted = as_utf8(alert), dict(map(_pair, map(as_utf8, key)))
    asked = {"alertname": alert, "key": wanted, "by": user()}
    Client(url, path, token_file).post("/api/v1/alerts/resolve", asked)
    about = " ".join(f"{name}={value}" for name, value in wanted.items())
    say(f"resolved {alert}{' for ' if about else ''}{about}")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{text!r} is not KEY=VALUE, for example org_id=org_1")
    return name, value


@click.command()
@options
@click.argument("alert")
def drill(url: str | None, path: str | None, token_file: str | None, alert: str) -> None:
    """Make ALERT fire, by events that are made up, and end it at once.

    The running daemon judges them apart from all that really happens, and tells the receivers that
    the routes lead to, marked DRILL, but no organisation's owner. Each stage is shown with the
    seconds since the start and what the other side answers. Exits 0 if all have accepted, 1 if one
    has not.
    """
    found = Client(url, path, token_file).post("/api/v1/drill", {"alertname": as_utf8(alert)})
    for stage in found["stages"]:
        word = paint("ok  ", "green") if stage["ok"] else paint("FAIL", "red")
        say(word, f" {stage['seconds']:7.3f} s  {stage['stage']:<7} {stage['said']}")
    sys.exit(0 if found["ok"] else PROBLEM)
