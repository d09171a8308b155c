"""What a sample of the log says about rules and metrics: what they never saw, what fails on it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.matchers import Matcher, all_match, compile_re2
from sidecar.measure.series import Metric
from sidecar.parse.event import Event, Triple, as_text
from sidecar.redact import Redactor
from sidecar.render.sandbox import TemplateEnvironment
from sidecar.rules.aggregates import Shows
from sidecar.rules.compiled import CompiledRule
from sidecar.rules.condition import Aggregate
from sidecar.rules.index import Index
from sidecar.rules.rule import Rule, label_name

# Events kept per rule to render its annotations, each with other fields than the ones before.
_SHAPES = 20
# Ids kept per rule to find events of which the later ones would be taken for duplicates.
_IDS = 10_000
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
    states: dict[str, set[str]] = field(default_factory=dict)  # of last(): texts by field
    ends: dict[frozenset[str], Event] = field(default_factory=dict)
    ended: int = 0
    ids: dict[str, Triple] = field(default_factory=dict)
    shared: tuple[Triple, Triple] | None = None

    def see_id(self, text: str, triple: Triple) -> None:
        """Note an event that the rule knows by its id, for another one that is no duplicate."""
        if text and len(self.ids) < _IDS:
            known = self.ids.setdefault(text, triple)
            if known != triple:
                self.shared = self.shared or (known, triple)


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
        for compiled, matches, resolves in self._index.concerned(event):
            seen = self._of_rule[compiled.order]
            if matches:
                _see_match(compiled, seen, event, names)
            if resolves:
                seen.ended += 1
                if len(seen.ends) < _SHAPES:
                    seen.ends.setdefault(frozenset(names), event)
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
            yield from self._unmet(rule, seen)
            yield from self._unending(rule, seen)
            yield from _shared_ids(rule, seen)
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
            if texts is None and " " not in matcher.name and not matcher.matches(""):
                hint = f"no event has a field `{matcher.name}`"
                known = frozenset(self._texts)
                return Doubt(place, message, hint, matcher.name, known, slip_only=True)
            if within := self._only_within(matcher):
                return Doubt(place, message, within)
            if texts and len(texts) < _TEXTS and not any(map(matcher.matches, texts)):
                hint = f"no event has `{matcher}`"
                known = frozenset(texts)
                return Doubt(place, message, hint, matcher.value, known, slip_only=True)
        listed = " and ".join(f"`{matcher}`" for matcher in matchers)
        hint = f"no event has {listed} together" if matchers else ""
        return Doubt(place, message, hint, slip_only=True)

    def _only_within(self, matcher: Matcher) -> str:
        """Return a hint where a pattern is the whole of no text, and stands within some."""
        texts = self._texts.get(matcher.name, set())
        if matcher.op not in ("=~", "!~") or any(map(_as_pattern(matcher), texts)):
            return ""
        inside = compile_re2(f"(?s).*(?:{matcher.value}).*").fullmatch
        if not any(map(inside, texts)):
            return ""
        wide = Matcher(matcher.name, matcher.op, f".*{matcher.value}.*")
        return f"`{matcher}` is about whole texts, and only parts are so; write `{wide}`"

    def _unmet(self, rule: Rule, seen: _SeenByRule) -> Iterator[Doubt]:
        """Yield the tests and texts of a rule that nothing in its events meets."""
        inside = [matcher for one in _aggregates(rule) for matcher in one.match]
        for matcher in dict.fromkeys([*rule.match, *inside]) if seen.matched else ():
            texts = self._texts.get(matcher.name, set())
            said = f"alert {rule.name}: no event of the sample has `{matcher}`"
            if hint := self._only_within(matcher):
                yield Doubt(rule.place, f"alert {rule.name}: a pattern matches nothing", hint)
            elif texts and len(texts) < _TEXTS and not any(map(matcher.matches, texts)):
                yield Doubt(rule.place, said, "", matcher.value, frozenset(texts), slip_only=True)
        for part in rule.condition.comparisons if seen.matched else ():
            field = "" if part.state is None else part.state.field
            texts = seen.states.get(field, set())
            numeric = part.number is not None or part.numbers
            for text in () if numeric or len(texts) >= _TEXTS else set(part.named) - texts:
                said = f"alert {rule.name}: `{field}` is never `{text}` in the sample"
                yield Doubt(rule.place, said, "", text, frozenset(texts), slip_only=True)

    def _unending(self, rule: Rule, seen: _SeenByRule) -> Iterator[Doubt]:
        """Yield why nothing in the sample could end an alert of the rule."""
        if rule.resolve is None:
            return
        if not seen.ended:
            yield self._unmatched(rule.place, f"resolve of alert {rule.name}", rule.resolve)
        for name in rule.by if seen.ended else ():
            if not any(name in names for names in seen.ends):
                message = (
                    f"alert {rule.name}: no event that resolves has a field `{name}` of `by`, "
                    "so that it ends no alert"
                )
                yield Doubt(rule.place, message, "", name, frozenset().union(*seen.ends))

    def _unseen_fields(self, rule: Rule, seen: _SeenByRule) -> Iterator[Doubt]:
        needed = dict.fromkeys(_fields(rule), False)
        optional = dict.fromkeys([rule.dedup_by, rule.order_by, *rule.collect], True)
        for name, slip_only in (optional | needed).items() if seen.matched else ():
            if name and name not in seen.fields:
                message = f"alert {rule.name}: no event that matches has a field `{name}`"
                known = frozenset(self._texts)
                yield Doubt(rule.place, message, "", name, known, slip_only=slip_only)


def _see_match(compiled: CompiledRule, seen: _SeenByRule, event: Event, names: set[str]) -> None:
    seen.matched += 1
    seen.fields |= names
    if len(seen.shapes) < _SHAPES:
        seen.shapes.setdefault(frozenset(names), event)
    for name in filter(None, (one.bad_field(event) for one in compiled.instants)):
        seen.bad_instants[name] += 1
        seen.bad_examples.setdefault(name, event.get(name))
    for one in _aggregates(compiled.rule):
        if one.function.shows is Shows.STATE and event.get(one.field) is not None:
            seen.states.setdefault(one.field, set()).add(event.text(one.field))
    ident = compiled.rule.dedup_by
    if ident is not None:
        seen.see_id(event.text(ident), event.triple)


def _as_pattern(matcher: Matcher) -> Callable[[str], bool]:
    return Matcher(matcher.name, "=~", matcher.value).matches


def _shared_ids(rule: Rule, seen: _SeenByRule) -> Iterator[Doubt]:
    """Yield that events which differ share an id, so that the later ones pass for duplicates."""
    if seen.shared is not None:
        one, other = (f"{event_type} {status}" for _, event_type, status in seen.shared)
        message = f"alert {rule.name}: `{one}` and `{other}` share one `{rule.dedup_by}`"
        hint = "the later one is ignored as a duplicate; name in `match` or `resolve` only one"
        yield Doubt(rule.place, message, hint)


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
        yield from part.aggregates


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
        for event, end in _moments(seen):
            try:
                sandbox.fill(sandbox.from_string(source), _values(rule, event, end, redactor))
            except Exception as wrong:  # noqa: BLE001 - whatever a template does is its fault
                which = "an event" if end is None else "an event that ends the alert"
                message = f"alert {rule.name}: annotation {name} fails on {which} of the sample"
                yield Doubt(rule.place, message, redactor.text(str(wrong) or type(wrong).__name__))
                break


def _moments(seen: _SeenByRule) -> Iterator[tuple[Event, Event | None]]:
    """Yield the events kept by which the alert may fire, and each with one that may end it."""
    yield from ((event, None) for event in seen.shapes.values())
    first = next(iter(seen.shapes.values()), None)
    yield from ((first, end) for end in seen.ends.values() if first is not None)


def _values(rule: Rule, event: Event, end: Event | None, redactor: Redactor) -> dict[str, Any]:
    """Return what an annotation would be given if `event` raised the alert, and `end` ended it."""
    first = rule.condition.comparisons[0].state
    labels = {"alertname": rule.name, **rule.labels}
    for step in rule.escalate:
        labels.update(step.labels)
    keys = (event.text(name) for name in rule.by)
    labels.update(zip(rule.by_labels, keys, strict=True))
    state = 1.0 if first is None else event.text(first.field)
    collected = {label_name(name): [event.text(name)] for name in rule.collect}
    return {
        "value": state,
        "labels": labels,
        "event": redactor.fields(event.fields),
        "ended_by": {} if end is None else redactor.fields(end.fields),
        "collected": collected,
    }
