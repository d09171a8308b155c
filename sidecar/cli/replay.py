"""`sidecar replay`: what would have been sent for a history, and what a change would change."""

import gc
import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import click
import msgspec

from sidecar.cli.configured import LOG_FILE, UnreadableLogError, config_option, loaded, read_chunks
from sidecar.cli.output import FORMATS, by_word, say, say_report, say_row, widths
from sidecar.clock import SystemClock
from sidecar.config.settings import Config
from sidecar.notify.model import SEVERITIES, NoticeStatus, Reason
from sidecar.parse.instants import instant
from sidecar.render.words import duration, one_line, utc
from sidecar.rules.rule import Rule
from sidecar.simulate.doctor import counted
from sidecar.simulate.messages import Change, Message, ToldAlert, condensed, difference, whole
from sidecar.simulate.replay import Replay, ReplayedLog
from sidecar.syntax.faults import Fault, Severity

_KEYS = ("alert", "labels", "state", "severity", "receiver", "reason", "late")
_UNLABELLED = ("alertname", "severity")
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
HEADING = ("TIME (UTC)", "SEVERITY", "STATE", "RECEIVER", "REASON", "ALERT")


class _AlertTable:
    """Prints the alerts of messages as they come, in columns as wide as anything may be."""

    def __init__(self, config: Config) -> None:
        longest = (
            "2026-11-02 08:00:00",
            max(SEVERITIES, key=len),
            max(NoticeStatus, key=len),
            max(config.receivers, key=len),
            max(Reason, key=len),
            "",
        )
        self._widths = widths([HEADING, longest])

    def heading(self) -> None:
        say_row(HEADING, self._widths)

    def message(self, message: Message) -> None:
        for told in message.told:
            self._row(told)

    def change(self, change: Change) -> None:
        """Print what became of one notice: added, removed, or how it was and how it is."""
        sign = f"{_SIGNS[change.kind]} "
        if change.before is not None and change.after is not None:
            self._row(change.after, sign)
            self._row(change.before, "    was ")
            say(f"    changed: {', '.join(change.fields)}")
        else:
            self._row(change.told, sign)

    def _row(self, told: ToldAlert, before: str = "") -> None:
        labels = (f"{name}={text}" for name, text in told.labels.items() if name not in _UNLABELLED)
        late = told.late and "late" not in told.reason
        row = (
            utc(told.at)[:19],
            by_word(told.severity),
            by_word(told.state),
            told.receiver,
            f"{told.reason} (late)" if late else told.reason,
            one_line(" ".join((told.alert, *labels))),
        )
        say_row(row, self._widths, before=before)


def json_line(told: ToldAlert) -> str:
    """Return one notice as one JSON object (docs/testing.md, JSON)."""
    return _json(_plain(told))


def change_line(change: Change) -> str:
    """Return one difference as one JSON object: the newer notice, and what it was before."""
    before = None if change.before is None or change.after is None else _plain(change.before)
    return _json(
        {
            "change": change.kind,
            "fields": list(change.fields),
            **_plain(change.told),
            "before": before,
        }
    )


def _plain(told: ToldAlert) -> dict[str, Any]:
    return {"at": stamp(told.at), **{key: getattr(told, key) for key in _KEYS}}


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()


def stamp(at: float) -> str:
    """Return an instant as RFC 3339 with microseconds where it has any."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def summary(replay: Replay) -> Iterator[str]:
    """Yield what the whole history came to."""
    counts, total = replay.counts, replay.summary
    if replay.first_at is None or replay.last_at is None:
        yield f"no events in {counted(counts.lines, 'line')}"
        return
    span = f"{utc(replay.first_at)} to {utc(replay.last_at)}"
    yield f"{counted(counts.events, 'event')} in {counted(counts.lines, 'line')}, {span}"
    severities = [*reversed(SEVERITIES), *sorted(total.alerts.keys() - set(SEVERITIES))]
    yield f"alerts      {_counts((name, total.alerts[name]) for name in severities)}"
    yield f"messages    {'; '.join(_receivers(replay)) or 'none'}"
    if replay.still_due:
        due = f"{counted(len(replay.still_due), 'message')} due"
        yield f"still due   {due}, the first {utc(replay.still_due[0])}: see --until"
    yield f"suppressed  {_counts(total.suppressed.most_common())}"
    burst = f"{counted(total.burst, 'message')} within a minute from {utc(total.burst_at)}"
    yield f"worst burst {burst if total.burst else 'none'}"
    if counts.rejects:
        yield f"rejects     {_counts(sorted(counts.rejects.items()))}"
    if counts.foreign:
        foreign = sorted((reason.value, count) for reason, count in counts.foreign.items())
        yield f"foreign     {_counts(foreign)}"
    if counts.obscure:
        obscure = sorted((reason.words, count) for reason, count in counts.obscure.items())
        yield f"not understood {_counts(obscure)}"
    if counts.future:
        yield f"future      {counted(counts.future, 'event')} dated ahead of the clock"
    if counts.bad_times:
        yield f"bad times   {counted(counts.bad_times, 'event')} with a stamp that cannot be read"
    for fault, count in total.faults.most_common():
        yield f"fault       in {counted(count, 'message')}: {fault}"


def _receivers(replay: Replay) -> Iterator[str]:
    total = replay.summary
    for receiver, count in sorted(total.messages.items()):
        copies = [(to, n) for (name, to), n in total.copies.items() if name == receiver]
        yield f"{receiver} {count:,} ({_counts(sorted(copies))})"


def _counts(counts: Any) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts if count) or "none"


CANNOT_START = 2
_WORTH_A_BAR = 4 << 20  # bytes; less is read within a second


def _instant(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read an absolute time as logs write it: ISO 8601 (no zone means UTC) or epoch seconds."""
    at = None if value is None else instant(value)
    if value is not None and at is None:
        message = f"{value!r} is not a time; write for example 2026-11-02T08:00Z"
        raise click.BadParameter(message, ctx=ctx, param=param)
    return at


@click.command()
@config_option("Rules and routing to replay.")
@click.option("--against", type=LOG_FILE, help="Show how -c differs from this configuration.")
@click.option(
    "--since",
    metavar="TIME",
    callback=_instant,
    help="Show messages from here on; all logs are read.",
)
@click.option(
    "--until",
    metavar="TIME",
    callback=_instant,
    help="Leave out later events, let time run on to here.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", *FORMATS]),
    default="table",
    show_default=True,
    help="With --against also a report for a pull request: github, markdown or junit.",
)
@click.option("--no-progress", is_flag=True, help="Show no progress bar, also on a terminal.")
@click.argument("logs", nargs=-1, required=True, type=LOG_FILE, metavar="LOG...")
def replay(  # noqa: PLR0917 - click passes them by name
    config: str,
    against: str | None,
    since: float | None,
    until: float | None,
    format_: str,
    no_progress: bool,  # noqa: FBT001 - same
    logs: tuple[str, ...],
) -> None:
    """Show what would have been sent for the history in LOG... (also gzipped).

    Events go in the order of their times through rules, routing, grouping and templates, on a
    clock of their own. Nothing is sent and nothing is written. Exits 0 also where --against
    finds differences, 1 if a configuration is wrong, 2 if a file cannot be read.
    """
    if format_ in FORMATS and against is None:
        raise click.UsageError(f"--format {format_} reports what a change does: give --against")
    after = loaded(config, placeholders=True)
    before = None if against is None else loaded(against, placeholders=True)
    gc.set_threshold(50_000, 20, 100)  # as in the daemon: events make objects, and no cycles
    make = partial(Replay, clock=SystemClock().now(), since=since, until=until)
    try:
        with _Progress(logs, shown=not no_progress) as progress:
            if before is None:
                _show(make(after), progress, format_)
            else:
                _compare(make(before), make(after), progress, format_)
    except UnreadableLogError as wrong:
        say(f"sidecar: {wrong}", err=True)
        sys.exit(CANNOT_START)


class _Progress:
    """The logs to read, and a bar on the terminal that follows how far they are."""

    def __init__(self, paths: tuple[str, ...], *, shown: bool) -> None:
        self._paths = paths
        self._read: dict[int, int] = {}
        total = sum(Path(path).stat().st_size for path in paths)
        self.shown = shown and sys.stderr.isatty() and total > _WORTH_A_BAR
        self._bar = (
            click.progressbar(length=total, label="reading", file=sys.stderr)
            if self.shown
            else None
        )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.render_finish()

    def logs(self, *, shown: bool = True) -> list[ReplayedLog]:
        """Return the logs, to be read once; the bar follows where that is `shown`."""
        numbered = list(enumerate(self._paths, start=1))
        heard = {n: (partial(self._advance, n),) if shown else () for n, _ in numbered}
        return [ReplayedLog(path, partial(read_chunks, path, n, *heard[n])) for n, path in numbered]

    def _advance(self, number: int, read: int) -> None:
        """Move the bar; a log whose beginning was looked at before is counted once."""
        before = self._read.get(number, 0)
        if self._bar is not None and read > before:
            self._read[number] = read
            self._bar.update(read - before)


def _show(replay: Replay, progress: _Progress, format_: str) -> None:
    """Print each message as it comes, and the summary."""
    messages: Iterable[Message] = replay.messages(progress.logs())
    # On one terminal the bar and the table would write over each other.
    if progress.shown and sys.stdout.isatty():
        messages = list(messages)
    table = _AlertTable(replay.config)
    if format_ == "table":
        table.heading()
    for message in messages:
        if format_ == "table":
            table.message(message)
            continue
        for told in message.told:
            say(json_line(told))
    _summary(replay, progress, format_)


def _compare(before: Replay, after: Replay, progress: _Progress, format_: str) -> None:
    """Print what `after` tells otherwise than `before`."""
    other = _aside(partial(_told, before, progress.logs(shown=False)))
    now = _told(after, progress.logs())
    then = other()
    changes = difference(then, now)
    if format_ in FORMATS:
        progress.__exit__()
        _report(_Compared(before, after, then, now, changes), format_)
        return
    table = _AlertTable(after.config)
    for change in changes:
        if format_ == "table":
            table.change(change)
        else:
            say(change_line(change))
    counts = Counter(change.kind for change in changes)
    _summary(after, progress, format_)
    found = ", ".join(f"{counts[kind]} {kind}" for kind in ("added", "removed", "changed"))
    say(f"difference  {found}", err=format_ == "json")


def _told(replay: Replay, logs: Sequence[ReplayedLog]) -> list[Message]:
    return [condensed(message) for message in replay.messages(logs)]


def _aside(work: Callable[[], list[Message]]) -> Callable[[], list[Message]]:
    """Let another process do `work`; return what waits for it, and raises what it raised."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def answer() -> None:
        try:
            theirs.send(work())
        except UnreadableLogError as wrong:
            theirs.send(wrong)

    def wait() -> list[Message]:
        try:
            found: list[Message] | UnreadableLogError = ours.recv()
        except EOFError:
            what = "the process that replays --against has ended; is there too little memory?"
            raise click.ClickException(what) from None
        if isinstance(found, UnreadableLogError):
            raise found
        return found

    context.Process(target=answer, daemon=True).start()
    theirs.close()  # the other process has its own: where it dies, nobody waits
    return wait


class _Compared(NamedTuple):
    """Two replays of one history, what each told, and what is told otherwise."""

    before: Replay
    after: Replay
    then: list[Message]
    now: list[Message]
    changes: list[Change]


def _report(compared: _Compared, form: str) -> None:
    """Print what a change would have done, at the line of each rule that it is about."""
    changed: dict[str, list[Change]] = {}
    for change in compared.changes:
        changed.setdefault(change.told.alert, []).append(change)
    rules = {
        rule.name: rule for rule in (*compared.before.config.rules, *compared.after.config.rules)
    }
    # To JUnit only what fails is worth a look.
    severity: Severity = "error" if form == "junit" else "warning"
    faults = [_finding(rules.get(name), name, of, severity) for name, of in sorted(changed.items())]
    same = (rule for name, rule in rules.items() if name not in changed)
    said = _sentence(compared)
    if form == "github":
        say(f"::notice::{said}")
    elif form == "markdown":
        say(said)
        say()
    say_report(form, faults, [(rule.place.rpartition(":")[0], rule.name) for rule in same])
    if form == "junit":
        say(said, err=True)


def _finding(rule: Rule | None, name: str, changes: list[Change], severity: Severity) -> Fault:
    counts = Counter(change.kind for change in changes)
    fields = sorted({field for change in changes for field in change.fields})
    parts = [f"{counts[kind]} {kind}" for kind in ("added", "removed", "changed") if counts[kind]]
    what = f"alert {name}: {', '.join(parts)}" + (f" ({', '.join(fields)})" if fields else "")
    hint = f"the first at {utc(min(change.told.at for change in changes))}"
    file, _, number = ("", "", "1") if rule is None else rule.place.rpartition(":")
    return Fault(file, int(number), 1, what, hint, severity)


def _sentence(compared: _Compared) -> str:
    """Return what a change would have done, in one sentence."""
    fewer, more = whole(compared.then, compared.changes), whole(compared.now, compared.changes)
    first, last = compared.after.first_at, compared.after.last_at
    if first is None or last is None:
        return "No events: the logs say nothing of this change."
    urgent = [sum(_is_critical(one) for one in some) for some in (fewer, more)]
    critical = f" (critical: {urgent[0]:,} fewer, {urgent[1]:,} more)" if any(urgent) else ""
    return (
        f"This change would have sent {counted(len(fewer), 'message')} fewer and {len(more):,} more"
        f"{critical} in these {_span(last - first)}."
    )


def _is_critical(message: Message) -> bool:
    return any(told.severity == "critical" for told in message.told)


def _span(seconds: float) -> str:
    days = round(seconds / 86_400)
    return counted(days, "day") if days > 1 else duration(seconds)


def _summary(replay: Replay, progress: _Progress, format_: str) -> None:
    """Print the summary; beside JSON lines it goes to stderr, so that stdout stays JSON."""
    progress.__exit__()
    if format_ == "table":
        say()
    for line in summary(replay):
        say(line, err=format_ == "json")
