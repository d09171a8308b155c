"""What a running daemon is asked and told: its alerts, silences, rules and series."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from sidecar.cli import as_utf8
from sidecar.cli.client import PROBLEM, Client, options, pairs, table_or_json, user
from sidecar.cli.output import Part, by_word, paint, say, say_row, say_table, widths
from sidecar.durations import parse_duration

_Found = dict[str, Any]
_ALERTS = ("STATE", "SEVERITY", "SINCE (UTC)", "ALERT", "KEY", "SUMMARY")
_SILENCES = ("ID", "STATE", "UNTIL (UTC)", "BY", "MATCHERS", "COMMENT", "MUTES NOW")
_RULES = (
    "ALERT", "SEVERITY", "FIRING", "PENDING", "KEYS", "LAST MATCH (UTC)", "NEXT DEADLINE (UTC)",
    "JUDGING", "A KEY",
)  # fmt: skip
_UNREAD = ("PROVIDER", "EVENT TYPE", "STATUS", "EVENTS", "LAST (UTC)")
_EVERYTHING = "everything"


@click.command()
@options
@table_or_json
@click.option(
    "--ids",
    is_flag=True,
    help="Only what rules collected with the alerts (`collect`): one value a line, each once.",
)
def alerts(client: Client, form: str, *, ids: bool) -> None:
    """List the alerts that are pending or firing, the latest change first.

    Below them stand the sidecar's own problems, such as a log that it cannot read, and of a fleet
    which host judges.
    """
    found: list[_Found] = client.get("/api/v1/alerts")["alerts"]
    if ids:
        for value in _collected(found):
            say(value)
    elif form == "json":
        _say_json(found)
    else:
        _say_alerts(found)
        status = client.get("/api/v1/status")
        for problem in status["problems"]:
            say(_told(problem))
        if fleet := status["fleet"]:
            say(f"judged on {fleet['judge']}")


def _collected(found: list[_Found]) -> Iterable[str]:
    values = (value for alert in found for some in alert["collected"].values() for value in some)
    return dict.fromkeys(values)


def _say_json(found: list[_Found]) -> None:
    for one in found:
        say(msgspec.json.encode(one).decode())


def _told(problem: _Found) -> str:
    since = _utc(problem.pop("since"))
    kind = f"trouble of the sidecar itself since {since} UTC: {problem.pop('kind')}"
    return ", ".join((kind, *(f"{name} {value}" for name, value in problem.items())))


def _say_alerts(found: list[_Found]) -> None:
    if not found:
        say("no alerts")
        return
    rows = [_ALERTS, *map(_alert, found)]
    wide = widths(rows)
    say_row(_ALERTS, wide)
    for alert, row in zip(found, rows[1:], strict=True):
        say_row(row, wide)
        if ack := alert.get("acked"):
            said = f": {ack['comment']}" if ack["comment"] else ""
            say(f"    acknowledged by {ack['by'] or 'somebody'}, {_utc(ack['at'])} UTC{said}")
        for line in _held(alert):
            say(f"    {line}")
        if tip := alert.get("evidence"):
            say(paint(f"    {tip['file']} at byte {tip['offset']}: {tip['line']}", dim=True))


def _alert(alert: _Found) -> tuple[Part, ...]:
    return (
        by_word(alert["state"]),
        by_word(alert["severity"]),
        _utc(alert["since"]),
        alert["alertname"],
        _pairs(alert["key"]) or "-",
        " ".join(alert["annotations"].get("summary", "").split()),
    )


def _held(alert: _Found) -> Iterator[str]:
    """Yield the silences that mute an alert, or for what its first or next message waits."""
    silences: list[_Found] = alert.get("silenced", [])
    for one in silences:
        about = ", ".join(one["matchers"]) or _EVERYTHING
        yield f"silenced by {one['id']} ({about}), until {_utc(one['ends_at'])} UTC"
    for wait in () if silences else alert.get("waits", ()):
        yield f"not told yet to {wait['to']}: {wait['why']}, until {_utc(wait['until'])} UTC"


def _utc(at: float | None) -> str:
    return "-" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def _pairs(key: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in key.items())


def _named(alert: str, key: Mapping[str, str]) -> str:
    return f"{alert}{' for ' if key else ''}{_pairs(key)}"


@click.command()
@options
@click.argument("matchers", nargs=-1, required=True, metavar="MATCHER...")
@click.option("--comment", default="", help="What messages say of it.")
@click.option("--by", help="Who has taken it.  [default: who you are to this machine]")
def ack(client: Client, matchers: tuple[str, ...], comment: str, by: str | None) -> None:
    """Acknowledge all that fires and passes every MATCHER, such as org_id=org_1.

    It is not told again while it fires, and nobody else is told because nobody took it; its end is
    told as ever. An alert that fires again, or with a higher severity, is news again.
    """
    asked = {
        "matchers": list(map(as_utf8, matchers)),
        "by": user() if by is None else as_utf8(by),
        "comment": as_utf8(comment),
    }
    for alert in client.post("/api/v1/alerts/ack", asked)["acked"]:
        say(f"acknowledged {_named(alert['alertname'], alert['key'])}")


@click.command()
@options
@click.argument("alert")
@click.argument("key", nargs=-1, metavar="[KEY=VALUE]...")
def resolve(client: Client, alert: str, key: tuple[str, ...]) -> None:
    """End ALERT for the KEY=VALUE pairs that name it, and forget what led to it.

    `sidecar alerts` shows both. Whoever was told that it fires is told that it ended. It fires
    again when its rule finds new reason to.
    """
    alert, wanted = as_utf8(alert), pairs(key, "KEY=VALUE, for example org_id=org_1")
    client.post("/api/v1/alerts/resolve", {"alertname": alert, "key": wanted, "by": user()})
    say(f"resolved {_named(alert, wanted)}")


@click.command()
@options
@click.argument("alert")
def drill(client: Client, alert: str) -> None:
    """Make ALERT fire, by events that are made up, and end it at once.

    The running daemon judges them apart from all that really happens, and tells the receivers that
    the routes lead to, marked DRILL, but no organisation's owner. Each stage is shown with the
    seconds since the start and what the other side answers. Exits 0 if all have accepted, 1 if one
    has not.
    """
    found = client.post("/api/v1/drill", {"alertname": as_utf8(alert)})
    for stage in found["stages"]:
        word = paint("ok  ", "green") if stage["ok"] else paint("FAIL", "red")
        say(word, f" {stage['seconds']:7.3f} s  {stage['stage']:<7} {stage['said']}")
    sys.exit(0 if found["ok"] else PROBLEM)


# --- silences


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
    client: Client, *, matchers: tuple[str, ...], seconds: float | None, until: float | None,
    since: float | None, comment: str, by: str | None, yes: bool,
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
    made = client.post("/api/v1/silences", asked)["silence"]
    say(f"silence {made['id']} until {_utc(made['ends_at'])} UTC: {_muted_by(made)}")


@silence.command("list")
@options
@click.option("--all", "every", is_flag=True, help="Also those that are over.")
@table_or_json
def list_(client: Client, form: str, *, every: bool) -> None:
    """List the silences, the newest first, and what each mutes now."""
    found: list[_Found] = client.get("/api/v1/silences")["silences"]
    found = [one for one in found if every or one["state"] != "expired"]
    if form == "json":
        _say_json(found)
    elif found:
        say_table([_SILENCES, *map(_silence, found)])
    else:
        say("no silences")


@silence.command()
@options
@click.argument("id_", metavar="ID")
def expire(client: Client, id_: str) -> None:
    """End a silence now; what still fires is told."""
    client.post("/api/v1/silences/expire", {"id": as_utf8(id_)})
    say(f"silence {as_utf8(id_)} is over")


def _silence(one: _Found) -> tuple[Part, ...]:
    mutes = one["mutes"]
    names = [" ".join((m["alertname"], *m["key"].values())) for m in mutes[:2]]
    more = [f"and {len(mutes) - 2} more"] if len(mutes) > len(names) else []
    return (
        one["id"], by_word(one["state"]), _utc(one["ends_at"]), one["created_by"] or "-",
        _muted_by(one), " ".join(one["comment"].split()) or "-", ", ".join([*names, *more]) or "-",
    )  # fmt: skip


def _muted_by(one: _Found) -> str:
    return " ".join(one["matchers"]) or _EVERYTHING


# --- rules and series


@click.command()
@options
@table_or_json
@click.option(
    "--unread", is_flag=True, help="List the events that came and that no rule and no metric names."
)
def rules(client: Client, form: str, *, unread: bool) -> None:
    """List the rules: alerts and keys of each, its newest match and what it waits for next.

    JUDGING is how long it was judged since the start, A KEY what a key takes at most where the
    rule looks back by `offset`.
    """
    place, name = ("/api/v1/events", "unread") if unread else ("/api/v1/rules", "rules")
    found: list[_Found] = client.get(place)[name]
    if form == "json":
        _say_json(found)
    elif unread and not found:
        say("every event that came is named by a rule or a metric")
    else:
        say_table([_UNREAD, *map(_kind, found)] if unread else [_RULES, *map(_rule, found)])


def _rule(rule: _Found) -> tuple[Part, ...]:
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


def _kind(kind: _Found) -> tuple[Part, ...]:
    triple = (kind["provider"], kind["event_type"], kind["status"])
    return (*triple, f"{kind['count']:,}", _utc(kind["last"]))


@click.group()
def metrics() -> None:
    """Look after the series of the running daemon."""


@metrics.command()
@options
@click.argument("matchers", nargs=-1, required=True, metavar="MATCHER...")
def prune(client: Client, matchers: tuple[str, ...]) -> None:
    """Drop the series whose labels pass every MATCHER, such as 'pod=~"web-.*"'.

    The name of a metric is its label __name__. What counters have counted goes on under __other__,
    so that sums stay right. Series that rule files name stay, others come again with an event.
    """
    asked = {"matchers": list(map(as_utf8, matchers))}
    say(f"pruned {client.post('/api/v1/metrics/prune', asked)['pruned']} series")
