"""`sidecar check --sample`: the rules, metrics and templates held against a real log."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

from sidecar.cli.logfiles import read_chunks
from sidecar.config.load import Checked, unrouted
from sidecar.config.settings import Config
from sidecar.parse.event import Event
from sidecar.redact import Redactor
from sidecar.simulate.coverage import Coverage, Doubt
from sidecar.simulate.messages import MessageRenderer
from sidecar.simulate.replay import History, ReadCounts, ReplayedLog
from sidecar.simulate.simulation import Moment, Simulation
from sidecar.syntax.faults import Fault, did_you_mean

# After the last event, so that every group is told that waits for others.
_FLUSH = 3600.0


def hold_against(paths: Sequence[str], checked: Checked, now: float) -> tuple[list[Fault], int]:
    """Return warnings about what the logs at `paths` speak against, and the number of events.

    `now` is the wall clock. Messages are rendered where `checked` is a whole configuration.
    Raises UnreadableLogError.
    """
    config = checked.config or unrouted(checked.rules, checked.metrics, checked.patterns)
    coverage = Coverage(config.rules, config.metrics)
    history = History(config, clock=now)
    logs = [ReplayedLog(p, partial(read_chunks, p, n, _unheard)) for n, p in enumerate(paths)]
    items = _watched(history.events(logs), coverage)
    failures = list(_failures(config, items))
    doubts = [_fault(doubt) for doubt in coverage.doubts(Redactor(config.redact))]
    dates = _bad_times(paths[0], history.counts)
    quoted = list(_quoted(paths[0], config, history.counts))
    shown = [*dates, *doubts, *failures] if coverage.events else []
    return [*quoted, *shown], coverage.events


def _bad_times(path: str, counts: ReadCounts) -> Iterator[Fault]:
    if counts.bad_times:
        message = f"the time of {counts.bad_times} of {counts.events} events cannot be read"
        hint = "they take another stamp of their line, else the time of reading; docs/rules.md#time"
        yield Fault(path, 1, 1, message, hint, "warning")


def _quoted(path: str, config: Config, counts: ReadCounts) -> Iterator[Fault]:
    """Yield, for each place where a stranger may write, how many lines have the marker there."""
    redactor = Redactor(config.redact)
    for reason, count in sorted(counts.foreign.items()):
        sample = redactor.sample(counts.foreign_samples[reason])
        lines = "1 line has" if count == 1 else f"{count} lines have"
        text = f"{lines} WEBHOOK_METRIC where a stranger may write ({reason.value}): no event"
        hint = f"see docs/security.md; the first is {sample!r}"
        yield Fault(path, 1, 1, text, hint, "warning")


def _unheard(_: int) -> None: ...


def _watched(events: Iterable[Event], coverage: Coverage) -> Iterator[Event]:
    for event in events:
        coverage.see(event)
        yield event


def _failures(config: Config, items: Iterator[Event]) -> Iterator[Fault]:
    """Yield each way in which a template of a message fails on what the sample raises."""
    first = next(items, None)
    if first is None:
        return
    simulation, renderer = Simulation(config), MessageRenderer(config)
    simulation.start(first.at)
    said = {
        f"receiver {message.receiver}, {copy.integration}: {copy.fault}"
        for moment in _moments(simulation, chain([first], items))
        for message in renderer.messages(moment)
        for copy in message.copies
        # Annotations are rendered for every rule and not only for those that were told.
        if copy.fault and not copy.fault.startswith("annotation ")
    }
    for text in sorted(said):
        yield Fault(
            config.path, 1, 1, "a template fails on what the sample raises", text, "warning"
        )


def _moments(simulation: Simulation, items: Iterable[Event]) -> Iterator[Moment]:
    yield from simulation.run(items)
    yield from simulation.run((), simulation.now + _FLUSH)


def _fault(doubt: Doubt) -> Fault:
    file, _, line = doubt.place.rpartition(":")
    near = did_you_mean(doubt.word, doubt.meant - {doubt.word}) if doubt.word else ""
    hint = ", ".join(filter(None, (doubt.hint, near)))
    return Fault(file, int(line), 1, doubt.message, hint, "warning")
