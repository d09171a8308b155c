"""What a sample of the log says about rules and metrics: what they never saw, what fails on it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.matchers import Matcher, all_match
from sidecar.measure.series import Metric
from sidecar.parse.event import Event, as_text
from sidecar.redact import Redactor
from sidecar.render.sandbox import TemplateEnvironment
from sidecar.rules.aggregates import Shows
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.condition import Aggregate
from sidecar.rules.index import Index
from sidecar.rules.rule import Rule, label_name

# Events kept per rule to render its annotations, each with other fields than the ones before.
_SHAPES = 20
# Texts kept per field to find what a misspelt matcher may have meant.
_TEXTS = 200


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something in the rule or metric at `place` (`file:line`) that the sample speaks against.

    `meant` are the words among which the right one may be found for `word`. `slip_only`: it is
    worth a word only if one of them nearly is `word`.
    """

    place: str
    message: str
    hint: str = ""
    word: str = ""
    meant: frozenset[str] = frozenset()
    slip_only: bool = False


@dataclass(slots=True)
class _SeenByRule:
    matched: int = 0
    fields: set[str] = field(default_factory=set)
    shapes: dict[frozenset[str], Event] = field(default_factory=dict)
    bad_instants: Counter[str] = field(default_factory=Counter)
    bad_examples: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _SeenByMetric:
    matched: int = 0
    numbers: int = 0


class Coverage:
    """Collects what `rules` and `metrics` see; rules about the sidecar itself are left out."""

    def __init__(self, rules: Sequence[Rule], metrics: Sequence[Metric]) -> None:
        self.events = 0
        self.test_mode = 0
        self.types: dict[str, Counter[str]] = {}
        self._compiled_rules = [
            CompiledRule(rule, place)
            for place, rule in enumerate(r for r in rules if not r.about_us)
        ]
        self._index = Index(self._compiled_rules)
        self._of_rule = [_SeenByRule() for _ in self._compiled_rules]
        self._of_metric = [(m, _SeenByMetric()) for m in metrics if m.states_of is None]
        self._texts: dict[str, set[str]] = {}

    def see(self, event: Event) -> None:
        """Take one event."""
        self.events += 1
        self._count(event)
        names = {*_names(event.fields), "webhook_provider", "event_type", "status"}
        for name in names:
            texts = self._texts.setdefault(name, set())
            if len(texts) < _TEXTS:
                texts.add(event.text(name))
        for compiled, matches, _ in self._index.concerned(event):
            if matches:
                seen = self._of_rule[compiled.order]
                seen.matched += 1
                seen.fields |= names
                if len(seen.shapes) < _SHAPES:
                    seen.shapes.setdefault(frozenset(names), event)
                for name in filter(None, (one.bad_field(event) for one in compiled.instants)):
                    seen.bad_instants[name] += 1
                    seen.bad_examples.setdefault(name, event.get(name))
        for metric, counted in self._of_metric:
            if all_match(metric.match, event.text):
                counted.matched += 1
                counted.numbers += metric.value is None or event.number(metric.value) is not None

    def _count(self, event: Event) -> None:
        self.types.setdefault(event.event_type, Counter())[event.status] += 1
        self.test_mode += event.text("livemode") == "false"

    def rules(self) -> Iterator[tuple[Rule, int, Doubt | None]]:
        """Yield each rule, how many events it matched, and if it was none why."""
        for compiled, seen in zip(self._compiled_rules, self._of_rule, strict=True):
            rule = compiled.rule
            name = f"alert {rule.name}"
            why = None if seen.matched else self._unmatched(rule.place, name, rule.match)
            yield rule, seen.matched, why

    def idle_metrics(self) -> Iterator[tuple[Metric, Doubt]]:
        """Yield each metric that counts nothing, and why."""
        for metric, counted in self._of_metric:
            if not counted.matched:
                name = f"metric {metric.name}"
                yield metric, self._unmatched(metric.place, name, metric.match)

    def doubts(self, redactor: Redactor) -> Iterator[Doubt]:
        """Yield what the sample speaks against in what it does meet; templates get it redacted."""
        for compiled, seen in zip(self._compiled_rules, self._of_rule, strict=True):
            rule = compiled.rule
            yield from self._unseen_fields(rule, seen)
            yield from _numberless(compiled, seen)
            yield from _without_instant(rule, seen, redactor)
            yield from _failing(rule, seen, redactor)
        for metric, counted in self._of_metric:
            if counted.matched and not counted.numbers:
                what = f"metric {metric.name}: `{metric.value}`"
                message = f"{what} is no number in any of {counted.matched} events"
                yield Doubt(metric.place, message)

    def _unmatched(self, place: str, what: str, matchers: Sequence[Matcher]) -> Doubt:
        """Return why nothing matched: a field or a text that the sample does not have."""
        message = f"{what}: no event of the sample matches"
        for matcher in matchers:
            texts = self._texts.get(matcher.name)
            if texts is None and not matcher.matches(""):
                hint = f"no event has a field `{matcher.name}`"
                return Doubt(place, message, hint, matcher.name, frozenset(self._texts))
            if texts and len(texts) < _TEXTS and not any(map(matcher.matches, texts)):
                hint = f"no event has `{matcher}`"
                return Doubt(place, message, hint, matcher.value, frozenset(texts))
        listed = " and ".join(f"`{matcher}`" for matcher in matchers)
        return Doubt(place, message, f"no event has {listed} together" if matchers else "")

    def _unseen_fields(self, rule: Rule, seen: _SeenByRule) -> Iterator[Doubt]:
        needed = dict.fromkeys(_fields(rule), False)
        optional = dict.fromkeys([rule.dedup_by, rule.order_by, *rule.collect], True)
        for name, slip_only in (optional | needed).items() if seen.matched else ():
            if name and name not in seen.fields:
                message = f"alert {rule.name}: no event that matches has a field `{name}`"
                known = frozenset(self._texts)
                yield Doubt(rule.place, message, "", name, known, slip_only=slip_only)


def _names(fields: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Yield the names of fields that hold something, nested ones with dots."""
    for name, value in fields.items():
        if value is None:
            continue
        yield before + name
        if isinstance(value, Mapping):
            yield from _names(value, f"{before}{name}.")


def _fields(rule: Rule) -> Iterator[str]:
    """Yield the fields that a rule cannot do without."""
    for aggregate in _aggregates(rule):
        yield from filter(None, [aggregate.field])
    yield from rule.by
    for step in (step for step in rule.escalate if step.after is None):
        yield from step.at.fields


def _aggregates(rule: Rule) -> Iterator[Aggregate]:
    for part in rule.condition.comparisons:
        yield from filter(None, (part.left, part.divisor))


def _numberless(compiled: CompiledRule, seen: _SeenByRule) -> Iterator[Doubt]:
    """Yield the fields that should hold numbers and do not, in any event kept."""
    rule = compiled.rule
    for aggregate in (one for one in _aggregates(rule) if one.field):
        values = [event.get(aggregate.field) for event in seen.shapes.values()]
        there = [value for value in values if value is not None]
        if there and all(aggregate.function.sample(value) is None for value in there):
            message = (
                f"alert {rule.name}: `{aggregate.field}` is no number in the events that match"
            )
            yield Doubt(rule.place, message)


def _without_instant(rule: Rule, seen: _SeenByRule, redactor: Redactor) -> Iterator[Doubt]:
    """Yield the fields that should name an instant and that hold something else than an instant."""
    for name, count in seen.bad_instants.items():
        message = f"alert {rule.name}: `{name}` is no instant in {count} of {seen.matched} events"
        example = as_text(redactor.fields({name: seen.bad_examples[name]})[name])
        yield Doubt(rule.place, message, f"for example `{example}`")


def _failing(rule: Rule, seen: _SeenByRule, redactor: Redactor) -> Iterator[Doubt]:
    """Yield each annotation that fails on an event kept, once."""
    sandbox = TemplateEnvironment()
    sources = [rule.annotations, *(step.annotations for step in rule.escalate)]
    for name, source in ((n, s) for annotations in sources for n, s in annotations.items()):
        for event in seen.shapes.values():
            try:
                sandbox.fill(sandbox.from_string(source), _values(rule, event, redactor))
            except Exception as wrong:  # noqa: BLE001 - whatever a template does is its fault
                message = f"alert {rule.name}: annotation {name} fails on an event of the sample"
                yield Doubt(rule.place, message, redactor.text(str(wrong) or type(wrong).__name__))
                break


def _values(rule: Rule, event: Event, redactor: Redactor) -> dict[str, Any]:
    """Return what an annotation would be given if this event raised the alert."""
    first = rule.condition.comparisons[0].left
    labels = {"alertname": rule.name, **rule.labels}
    for step in rule.escalate:
        labels.update(step.labels)
    keys = (event.text(name) for name in rule.by)
    labels.update(zip(rule.by_labels, keys, strict=True))
    state = event.text(first.field) if first.function.shows is Shows.STATE else 1.0
    collected = {label_name(name): [event.text(name)] for name in rule.collect}
    return {
        "value": state,
        "labels": labels,
        "event": redactor.fields(event.fields),
        "collected": collected,
    }
