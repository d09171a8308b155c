"""`sidecar silence`: has alerts told to nobody for a while."""

import time
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from sidecar.cli import as_utf8
from sidecar.cli.client import Client, options, table_or_json, user
from sidecar.cli.output import by_word, say, say_row, widths
from sidecar.durations import parse_duration

_HEAD = ("ID", "STATE", "UNTIL (UTC)", "BY", "MATCHERS", "COMMENT", "MUTES NOW")
_EVERYTHING = "everything"


@click.group()
def silence() -> None:
    """Have alerts told to nobody for a while: add, list or expire silences."""


def _duration(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong)) from wrong


def _instant(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise click.BadParameter(f"{text!r} is not an instant such as 2026-11-02T08:00") from wrong
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


@silence.command()
@options
@click.argument("matchers", nargs=-1, metavar="[MATCHER]...")
@click.option("--for", "seconds", callback=_duration, help="How long, such as 2h.")
@click.option("--until", callback=_instant, help="Or until when; UTC if it names no offset.")
@click.option("--from", "since", callback=_instant, help="Since when.  [default: now]")
@click.option("--comment", default="", help="Why.")
@click.option("--by", help="Who wants it.  [default: who you are to this machine]")
@click.option("--yes", is_flag=True, help="Do not ask again before everything is muted.")
def add(
    url: str | None, path: str | None, token_file: str | None, *, matchers: tuple[str, ...],
    seconds: float | None, until: float | None, since: float | None, comment: str,
    by: str | None, yes: bool,
) -> None:  # fmt: skip
    """Tell nobody of alerts that pass every MATCHER, such as org_id=org_1; none: of any alert.

    They fire as ever. What still fires when the silence ends is told then, and so is the end of
    what was told to fire before.
    """
    if (seconds is None) == (until is None):
        raise click.UsageError("say how long: --for 2h, or --until 2026-11-02T08:00")
    if not matchers and not yes:
        question = f"This mutes every alert. Type `{_EVERYTHING}` to go on"
        if click.prompt(question, default="", show_default=False) != _EVERYTHING:
            raise click.ClickException("nothing is muted")
    begin = time.time() if since is None else since
    asked = {
        "matchers": list(map(as_utf8, matchers)),
        "everything": not matchers,
        "starts_at": since,
        "ends_at": until if seconds is None else begin + seconds,
        "by": user() if by is None else as_utf8(by),
        "comment": as_utf8(comment),
    }
    made = Client(url, path, token_file).post("/api/v1/silences", asked)["silence"]
    say(f"silence {made['id']} until {_utc(made['ends_at'])} UTC: {_about(made)}")


@silence.command("list")
@options
@click.option("--all", "every", is_flag=True, help="Also those that are over.")
@table_or_json
def list_(
    url: str | None, path: str | None, token_file: str | None, *, every: bool, form: str
) -> None:
    """List the silences, the newest first, and what each mutes now."""
    found: list[dict[str, Any]] = Client(url, path, token_file).get("/api/v1/silences")["silences"]
    found = [one for one in found if every or one["state"] != "expired"]
    if form == "json":
        for one in found:
            say(msgspec.json.encode(one).decode())
        return
    if not found:
        say("no silences")
        return
    rows = [_HEAD, *map(_row, found)]
    for row in rows:
        say_row(row, widths(rows))


@silence.command()
@options
@click.argument("id_", metavar="ID")
def expire(url: str | None, path: str | None, token_file: str | None, id_: str) -> None:
    """End a silence now; what still fires is told."""
    Client(url, path, token_file).post("/api/v1/silences/expire", {"id": as_utf8(id_)})
    say(f"silence {as_utf8(id_)} is over")


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    mutes = one["mutes"]
    names = [" ".join((m["alertname"], *m["key"].values())) for m in mutes[:2]]
    more = [f"and {len(mutes) - 2} more"] if len(mutes) > len(names) else []
    return (
        one["id"], by_word(one["state"]), _utc(one["ends_at"]), one["created_by"] or "-",
        _about(one), " ".join(one["comment"].split()) or "-", ", ".join([*names, *more]) or "-",
    )  # fmt: skip


def _about(one: dict[str, Any]) -> str:
    return " ".join(one["matchers"]) or _EVERYTHING


def _utc(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
