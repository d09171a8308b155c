"""`sidecar check --sample`: rules, metrics and templates held against a real log."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from itertools import chain
from pathlib import Path
from textwrap import wrap

import msgspec

from sidecar.cli.configured import read_chunks
from sidecar.cli.output import Part, paint, room, say
from sidecar.config.load import Checked, unrouted
from sidecar.config.settings import Config
from sidecar.parse.columns import Columns
from sidecar.receivers.base import rfc3339
from sidecar.redact import Redactor
from sidecar.rules.alert import TransitionKind
from sidecar.rules.condition import is_absence
from sidecar.secret import printable
from sidecar.simulate.coverage import Coverage, Doubt
from sidecar.simulate.doctor import AlertSeen, LineFacts, Sample, Verdict, counted
from sidecar.simulate.messages import MessageRenderer
from sidecar.simulate.replay import History, ReadCounts, ReplayedLog
from sidecar.simulate.simulation import Moment, Simulation
from sidecar.syntax.faults import Fault, did_you_mean

# After the last event, so that every group is told that waits for others.
_FLUSH = 3600.0
_ALIKE = 0.7  # so much of a word may be a slip of the one that was meant


def hold_against(paths: Sequence[str], checked: Checked, now: float) -> tuple[list[Fault], Sample]:
    """Return warnings about what the logs at `paths` speak against, and what they hold.

    `now` is the wall clock. Messages are rendered where `checked` is a whole configuration.
    Raises UnreadableLogError.
    """
    config = checked.config or unrouted(checked.rules, checked.metrics, checked.patterns)
    coverage, facts = Coverage(config.rules, config.metrics), _line_facts(paths, config, now)
    history = History(config, clock=now)
    logs = [ReplayedLog(p, partial(read_chunks, p, n)) for n, p in enumerate(paths)]
    fired: Counter[str] = Counter()
    failures = list(_failures(config, _watched(history.columns(logs), coverage), fired))
    faults = list(_no_events(paths[0], config, history.counts))
    if not coverage.events:
        faults.append(Fault(paths[0], 1, 1, "the sample holds no event"))
    found = [why for _, _, why in coverage.rules() if why]
    found += [why for _, why in coverage.idle_metrics()]
    found += coverage.doubts(Redactor(config.redact))
    doubts = [doubt for doubt in found if not doubt.slip_only or _is_slip(doubt)]
    sample = _sample(
        paths,
        coverage=coverage,
        history=history,
        facts=facts,
        alerts=[*_alerts(coverage, fired)],
        redactor=Redactor(config.redact),
    )
    return [*faults, *map(_fault, doubts), *failures], sample


def _line_facts(paths: Sequence[str], config: Config, now: float) -> LineFacts:
    facts = LineFacts(config.patterns, now)
    for number, path in enumerate(paths):
        pinned = config.pinned(path)
        for chunk in read_chunks(path, number):
            facts.see(msgspec.structs.replace(chunk, **pinned))
    return facts


def _sample(
    paths: Sequence[str],
    *,
    coverage: Coverage,
    history: History,
    facts: LineFacts,
    alerts: Sequence[AlertSeen],
    redactor: Redactor,
) -> Sample:
    counts, changed_at = history.counts, Path(paths[-1]).stat().st_mtime
    sample = Sample(
        logs=paths,
        lines=counts.lines,
        events=coverage.events,
        records=facts.records,
        forms=dict(facts.forms.most_common()),
        first=None if history.first is None else rfc3339(history.first),
        last=None if history.last is None else rfc3339(history.last),
        types={
            redactor.text(name): {redactor.text(one): n for one, n in found.most_common()}
            for name, found in sorted(coverage.types.items())
        },
        alerts=alerts,
        idle_metrics={metric.name: why.hint for metric, why in coverage.idle_metrics()},
        rejects=dict(sorted(counts.rejects.items())),
        undated=counts.undated,
        unreadable=counts.bad_times,
        ahead=counts.future,
        twice=facts.twice,
        test_mode=coverage.test_mode,
        hours_apart=facts.hours_apart(),
        hours_off=facts.hours_off(changed_at),
        zones=facts.zones(changed_at),
        webhook_paths=dict(facts.paths.most_common()),
        first_lines=[redactor.sample(line) for line in facts.first],
    )
    return msgspec.structs.replace(sample, to_change=[*sample.changes()])


def _alerts(coverage: Coverage, fired: Counter[str]) -> Iterator[AlertSeen]:
    for rule, events, why in coverage.rules():
        verdict: Verdict = "fires" if fired[rule.name] else "could" if events else "never"
        if verdict == "never" and is_absence(rule.condition):
            verdict = "always"
        hint = why.hint if why else ""
        yield AlertSeen(rule.name, rule.place, verdict, events, fired[rule.name], hint)


def _is_slip(doubt: Doubt) -> bool:
    """Tell whether a word of the rule is nearly one of the log, and so may be misspelt.

    What both have up to a dot is no likeness: `invoice.paid` and `invoice.created`.
    """
    family, dot, word = doubt.word.rpartition(".")
    meant = {one.removeprefix(family + dot) for one in doubt.meant if one.startswith(family + dot)}
    return bool(get_close_matches(word, meant - {word}, n=1, cutoff=_ALIKE))


def _no_events(path: str, config: Config, counts: ReadCounts) -> Iterator[Fault]:
    """Yield, for each reason why lines with the marker are none, how many there are and one."""
    redactor = Redactor(config.redact)
    for reason, count in sorted(counts.foreign.items()):
        sample = redactor.sample(counts.foreign_samples[reason])
        text = (
            f"{_have(count)} WEBHOOK_METRIC where a stranger may write ({reason.value}): no event"
        )
        yield Fault(path, 1, 1, text, f"see docs/security.md; the first is {sample!r}", "warning")
    for unclear, count in sorted(counts.obscure.items()):
        sample = redactor.sample(counts.obscure_samples[unclear])
        text = f"{_have(count)} WEBHOOK_METRIC and cannot be understood: {unclear.words}"
        yield Fault(path, 1, 1, text, f"see docs/formats.md; the first is {sample!r}", "warning")


def _have(count: int) -> str:
    return "1 line has" if count == 1 else f"{count:,} lines have"


def _watched(blocks: Iterable[Columns], coverage: Coverage) -> Iterator[Columns]:
    for block in filter(len, blocks):
        for number in range(len(block)):
            coverage.see(block.event(number))
        yield block


def _failures(config: Config, items: Iterator[Columns], fired: Counter[str]) -> Iterator[Fault]:
    """Yield each way in which a template of a message fails on what the sample raises.

    `fired` is given how often each alert fires.
    """
    first = next(items, None)
    if first is None:
        return
    simulation, renderer = Simulation(config), MessageRenderer(config)
    simulation.start(first.times[0])
    said = {
        f"receiver {message.receiver}, {copy.integration}: {copy.fault}"
        for moment in _moments(simulation, chain([first], items), fired)
        for message in renderer.messages(moment)
        for copy in message.copies
        # Annotations are rendered for every rule and not only for those that were told.
        if copy.fault and not copy.fault.startswith("annotation ")
    }
    for text in sorted(said):
        yield Fault(
            config.path, 1, 1, "a template fails on what the sample raises", text, "warning"
        )


def _moments(
    simulation: Simulation, items: Iterable[Columns], fired: Counter[str]
) -> Iterator[Moment]:
    later = chain(simulation.run(items), _flushed(simulation))
    for moment in later:
        for transition in moment.step.transitions:
            fired[transition.alert.name] += transition.kind is TransitionKind.FIRED
        yield moment


def _flushed(simulation: Simulation) -> Iterator[Moment]:
    yield from simulation.run((), simulation.now + _FLUSH)


def _fault(doubt: Doubt) -> Fault:
    file, _, line = doubt.place.rpartition(":")
    near = did_you_mean(doubt.word, doubt.meant - {doubt.word}) if doubt.word else ""
    hint = ", ".join(filter(None, (doubt.hint, near)))
    return Fault(file, int(line), 1, doubt.message, hint, "warning")


# --- for people

_MOST_TYPES = 25


def say_sample(sample: Sample) -> None:
    """Print what the logs hold: first what they print, then the alerts, then what to change."""
    events = counted(sample.events, "event") if sample.events else "no event"
    say(paint(", ".join(sample.logs), bold=True), ": ", counted(sample.lines, "line"), ", ", events)
    if not sample.events:
        for line in sample.first_lines:
            say("  it begins: ", paint(line[: room() - 14], dim=True))
    else:
        forms = ", ".join(f"{form} {count:,}" for form, count in sample.forms.items())
        _say_wrapped("  written as ", forms)
        say("  ", _times(sample))
        say(paint("Events", bold=True))
        _say_types(sample.types)
        say(paint("Alerts", bold=True))
        _say_alerts(sample)
    if sample.to_change:
        say(paint("To change", bold=True))
    for number, text in enumerate(sample.to_change, 1):
        _say_wrapped(paint(f"  {number}. ", "yellow"), text)


def _times(sample: Sample) -> str:
    if sample.first is None:
        return "none of them states a time"
    dated = f"{sample.events - sample.undated:,} with a time, " if sample.undated else ""
    return f"{dated}from {sample.first} to {sample.last}"


def _say_types(types: Mapping[str, Mapping[str, int]]) -> None:
    shown = [*types.items()][:_MOST_TYPES]
    wide = max(len(printable(name)) for name, _ in shown)
    for name, statuses in shown:
        texts = ", ".join(f"{status} {count:,}" for status, count in statuses.items())
        _say_wrapped(f"  {printable(name):{wide}}  ", texts)
    if more := len(types) - len(shown):
        say(f"  and {more} more")


def _say_alerts(sample: Sample) -> None:
    by: dict[Verdict, list[AlertSeen]] = {}
    for one in sample.alerts:
        by.setdefault(one.verdict, []).append(one)
    fires = ", ".join(f"{one.name} {one.fired:,}" for one in by.get("fires", ()))
    could = ", ".join(f"{one.name} ({counted(one.events, 'event')})" for one in by.get("could", ()))
    _say_wrapped(paint("  fire on this log    ", "red"), fires or "none")
    if could:
        _say_wrapped(paint("  could: not enough   ", "yellow"), could)
    for one in by.get("always", ()):
        said = f"{one.name}: this log has nothing of what it waits for"
        _say_wrapped(paint("  fire by silence     ", "yellow"), said)
    if never := by.get("never"):
        say("  no line of this log can raise")
        names: dict[str, list[str]] = {}  # of those alerts that cannot be raised for one reason
        for one in never:
            names.setdefault(one.why, []).append(one.name)
        wide = max(map(len, chain.from_iterable(names.values())))
        for why, (name, *others) in names.items():
            said = why.replace("no event has", "this host never prints")
            more = f" (nor {counted(len(others), 'more alert')})" if others else ""
            _say_wrapped(f"    {name:{wide}}  ", said + more)


def _say_wrapped(before: Part, text: str) -> None:
    indent = len(before) if isinstance(before, str) else len(before.text)
    lines = wrap(printable(text), max(20, room() - indent), max_lines=3, placeholder=" …") or [""]
    say(before, lines[0])
    for line in lines[1:]:
        say(" " * indent, line)
