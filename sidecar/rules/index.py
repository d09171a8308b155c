"""Which rules an event concerns: the three standard fields are looked at once per triple."""

from collections.abc import Iterable, Iterator, Sequence

from sidecar.matchers import Matcher, all_match
from sidecar.parse.event import STANDARD_FIELDS, Event, Triple
from sidecar.rules.gates import Gates, texts_of
from sidecar.rules.instant import text_of
from sidecar.rules.program import Program
from sidecar.rules.rule import OWN_PROVIDER

# Triples come from the log: remember only so many of them at a time.
_MOST_TRIPLES = 10_000

# What is left to test on the event itself; None: the triple already says no.
Rest = tuple[Matcher, ...] | None
# A rule, and whether an event matches it, and whether it resolves it.
Concern = tuple[Program, bool, bool]


class Entry:
    """A rule that events of one triple may concern, as match, as resolve, or both."""

    __slots__ = ("match", "program", "resolve")

    def __init__(self, program: Program, match: Rest, resolve: Rest) -> None:
        self.program = program
        self.match = match
        self.resolve = resolve


class Candidates:
    """The entries of one triple, behind gates of the fields that are not standard.

    `settled`: what they come to where the triple alone decides, so for most; else None.
    `resolved`: the one rule, where all it comes to is to resolve one that keeps bare keys.
    """

    __slots__ = ("any_whole", "gates", "resolved", "settled")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.gates = Gates((e, [m for m in (e.match, e.resolve) if m is not None]) for e in entries)
        self.any_whole = any(not entry.program.tallied for entry in entries)
        self.settled: list[Concern] | None = None
        if not any(entry.match or entry.resolve for entry in entries):
            self.settled = [
                (e.program, e.match is not None, e.resolve is not None) for e in entries
            ]
        self.resolved: Program | None = None
        if self.settled is not None and len(self.settled) == 1:
            program, _, resolves = self.settled[0]
            self.resolved = program if resolves and program.keeps_bare_keys else None


class Index:
    """From triple and event to rules."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self._programs = Gates((p, list(_standard_parts(p))) for p in programs)
        self._known: dict[Triple, Candidates] = {}

    def wants(self, triple: Triple) -> bool:
        """Return whether some rule needs this triple's events whole."""
        return self._candidates(triple).any_whole

    def concerned(self, event: Event) -> Iterable[Concern]:
        """Return each rule that `event` matches or resolves, with which of the two it does."""
        known = self._candidates(event.triple)
        return _tested(known, event) if known.settled is None else known.settled

    def resolved(self, triple: Triple) -> Program | None:
        """Return the rule that keeps bare keys and that each of `triple`'s events resolves.

        None where that is not all that they do.
        """
        return self._candidates(triple).resolved

    def tallied(self, triple: Triple) -> Iterator[Program]:
        """Yield the rules that live on tallies and that this triple matches."""
        for entry in self._candidates(triple).gates:
            if entry.program.tallied and not entry.match:
                yield entry.program

    def _candidates(self, triple: Triple) -> Candidates:
        known = self._known.get(triple)
        if known is None:
            if len(self._known) >= _MOST_TRIPLES:
                self._known.clear()
            known = self._known[triple] = Candidates(list(self._entries(triple)))
        return known

    def _entries(self, triple: Triple) -> Iterator[Entry]:
        texts = dict(zip(STANDARD_FIELDS, triple, strict=True))
        ours = triple[0] == OWN_PROVIDER
        for program in self._programs.of(texts_of(texts)):
            if ours and not program.rule.about_us:
                continue  # what befalls the sidecar is no webhook
            match = _rest(program.rule.match, texts)
            resolve = _rest(program.rule.resolve, texts)
            if match is not None or resolve is not None:
                yield Entry(program, match, resolve)


def _tested(candidates: Candidates, event: Event) -> Iterator[Concern]:
    def text(name: str) -> str:
        return text_of(event, name)

    for entry in candidates.gates.of(text):
        matches = entry.match is not None and all_match(entry.match, text)
        resolves = entry.resolve is not None and all_match(entry.resolve, text)
        if matches or resolves:
            yield entry.program, matches, resolves


def _standard_parts(program: Program) -> Iterator[list[Matcher]]:
    for matchers in (program.rule.match, program.rule.resolve):
        if matchers is not None:
            yield [m for m in matchers if m.name in STANDARD_FIELDS]


def _rest(matchers: tuple[Matcher, ...] | None, texts: dict[str, str]) -> Rest:
    if matchers is None:
        return None
    if not all(m.matches(texts[m.name]) for m in matchers if m.name in texts):
        return None
    return tuple(m for m in matchers if m.name not in texts)
