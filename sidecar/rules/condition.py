"""Conditions and escalation instants: their grammar, and what a comparison tests.

condition  := both { "or" both }
both       := part { "and" part };  part := "not" part | "(" condition ")" | comparison
comparison := aggregate [ "/" aggregate ] operator literal      =~ and !~ only with a state
            | aggregate [ "/" aggregate ] "in" "[" literal { "," literal } "]"
aggregate  := function "(" [ field [ "," number ] ] { "," matcher } ")"     see aggregates.FUNCTIONS
literal    := number | word | "text" | 'text'                 words and texts only with a state
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice, product
from typing import Any, NamedTuple, NoReturn, cast

from sidecar.durations import parse_duration
from sidecar.matchers import Matcher, compile_re2, parse_test
from sidecar.parse.event import Event, as_number, as_text, is_missing
from sidecar.parse.instants import instant, is_bad_instant
from sidecar.rules.aggregates import FUNCTIONS, MAX_TEXT, Comparator, Function, Shows

_TEST: dict[str, Callable[[float, float], bool]] = {
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    "==": lambda value, bound: value == bound,
    "!=": lambda value, bound: value != bound,
}


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`function(field)` over the window, of the events that also meet `match`."""

    function: Function
    field: str = ""
    match: tuple[Matcher, ...] = ()
    number: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`left` (divided by `divisor`, if any) held against a number, a text, or a list.

    A list (`in`) is in `values` as text and, when all of it was written as numbers, in `numbers`.
    """

    left: Aggregate
    divisor: Aggregate | None = None
    op: Comparator
    number: float | None = None
    values: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()

    @property
    def pattern(self) -> Matcher | None:
        """The pattern that a state is held against, if it is one."""
        if self.op not in ("=~", "!~"):
            return None
        return Matcher(self.left.field, self.op, self.values[0])

    @property
    def named(self) -> tuple[str, ...]:
        """The texts that it names one by one."""
        return self.values if self.pattern is None else self.pattern.named_values()


@dataclass(frozen=True, slots=True)
class And:
    """Holds where all of its parts do."""

    parts: tuple["Part", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Holds where one of its parts does."""

    parts: tuple["Part", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Holds where its part does not."""

    part: "Part"


Part = Comparison | And | Or | Not


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold; `text` is what the user wrote."""

    whole: Part
    text: str

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Every comparison, as written from left to right."""
        return tuple(_leaves(self.whole))


def _leaves(part: Part) -> Iterator[Comparison]:
    match part:
        case Comparison():
            yield part
        case Not():
            yield from _leaves(part.part)
        case And() | Or():
            for one in part.parts:
                yield from _leaves(one)


def alternatives(part: Part, *, holds: bool = True) -> list[tuple[tuple[Comparison, bool], ...]]:
    """Return the ways in which `part` comes to `holds`: what each comparison must come to."""
    match part:
        case Comparison():
            return [((part, holds),)]
        case Not():
            return alternatives(part.part, holds=not holds)
        case And() | Or():
            ways = [alternatives(one, holds=holds) for one in part.parts]
            if isinstance(part, Or) is holds:
                return [way for some in ways for way in some]
            return [tuple(chain.from_iterable(some)) for some in islice(product(*ways), MAX_WAYS)]


def bounds(part: Comparison) -> tuple[float, ...]:
    """Return the numbers a comparison holds its aggregate against, ascending."""
    one = () if part.number is None else (part.number,)
    return tuple(sorted({*one, *part.numbers}))


def value_test(part: Comparison) -> Callable[[Any], bool]:
    """Return the test of a value that `part` stands for; of states, texts are compared as texts."""
    if part.left.function.shows is Shows.STATE:
        return _state_test(part)
    return _number_test(part)


def time_can_turn(part: Part, *, to: bool = True) -> bool:
    """Return whether the mere passing of time, without an event, can turn `part` true (or false).

    What `hold` drops is not looked at.
    """
    match part:
        case Comparison() if part.divisor is not None or not to:
            return part.left.function.shows is not Shows.STATE
        case Comparison():
            return part.op not in part.left.function.drift.value
        case Not():
            return time_can_turn(part.part, to=not to)
        case And() | Or():
            return any(time_can_turn(one, to=to) for one in part.parts)


def _number_test(part: Comparison) -> Callable[[float], bool]:
    if part.op == "in":
        return frozenset(part.numbers).__contains__
    test, bound = _TEST[part.op], part.number
    if bound is None:
        raise ValueError(f"{part.left.function}() is a number and needs one to compare with")
    return lambda value: test(value, bound)


def _state_test(part: Comparison) -> Callable[[Any], bool]:
    if part.number is not None or part.numbers:
        test = _number_test(part)
        return lambda value: (number := as_number(value)) is not None and test(number)
    if (pattern := part.pattern) is not None:
        return lambda value: pattern.matches(as_text(value))
    texts = frozenset(part.values)
    wanted = part.op != "!="
    return lambda value: (as_text(value) in texts) is wanted


# What one condition may hold; `check` looks at so many ways in which it can come true.
MAX_COMPARISONS = 32
MAX_DEPTH = 16
MAX_WAYS = 256

_EXAMPLE = "write for example max(attempt_count) >= 3"
_COMPARATORS = (">", ">=", "<", "<=", "==", "!=", "=~", "!~")
_PATTERNS = ("=~", "!~")
_TESTS = ("=", "!=", *_PATTERNS, ">", ">=", "<", "<=", "==")
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
      | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<sign>=~|!~|!=|==|>=|<=|[><=()\[\],/])
      | (?P<end>$)
    )""",
    re.VERBOSE,
)


class ConditionError(ValueError):
    """A condition that cannot be read; `offset` is the place in its text, counted from 0."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


def parse_condition(text: str, functions: Mapping[str, Function] = FUNCTIONS) -> Condition:
    """Read a condition such as `max(attempt_count) >= 3`; raises ConditionError."""
    return _ConditionReader(text, functions).condition()


# Instead of a field in an instant: the time of the event itself.
EVENT_TIME = "event_time"


class Instant(NamedTuple):
    """An instant that events name: in `field`, `offset` seconds and as many days as `days` later.

    `days` is a field as well, or empty.
    """

    field: str
    offset: float = 0.0
    days: str = ""

    @property
    def name(self) -> str:
        """What is taken from the event: all but the offset."""
        return f"{self.field} + {self.days} days" if self.days else self.field

    def base(self, event: Event) -> float | None:
        """Return the instant in `event`, without the offset; None where it names none."""
        at = event.at if self.field == EVENT_TIME else instant(event.get(self.field))
        days = event.number(self.days) if self.days else 0.0
        return None if at is None or days is None else at + days * _DAY

    def bad_field(self, event: Event) -> str:
        """Return the field that holds something else than an instant or days; empty: none does."""
        if self.field != EVENT_TIME and is_bad_instant(event.get(self.field)):
            return self.field
        days = event.get(self.days) if self.days else None
        return "" if is_missing(days) or as_number(days) is not None else self.days

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of events that it asks for."""
        return tuple(name for name in (self.field, self.days) if name and name != EVENT_TIME)


_DAY = 86_400.0
_INSTANT = re.compile(
    r"\s*([A-Za-z_][\w.]*)\s*(?:\+\s*([A-Za-z_][\w.]*)\s+days\s*)?(?:([+-])\s*(\w+))?\s*", re.ASCII
)


def parse_instant(text: str) -> Instant:
    """Read `field`, `field + 3d`, `field - 1h` or `field + other_field days + 1d`.

    Raises ValueError with a sentence that shows a right example.
    """
    found = _INSTANT.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is not an instant; write a field, for example current_period_end + 3d"
        )
    name, days, sign, offset = found.groups()
    seconds = parse_duration(offset) if offset else 0.0
    return Instant(name, -seconds if sign == "-" else seconds, days or "")


def is_absence(condition: Condition) -> bool:
    """Return whether all that `condition` asks for is little: `count() < n` and the like."""
    return _asks_for_little(condition.whole, holds=True)


def _asks_for_little(part: Part, *, holds: bool) -> bool:
    match part:
        case Comparison():
            return part.divisor is None and _is_little(part, holds=holds)
        case Not():
            return _asks_for_little(part.part, holds=not holds)
        case And() | Or():
            return all(_asks_for_little(one, holds=holds) for one in part.parts)


def _is_little(part: Comparison, *, holds: bool) -> bool:
    shows = part.left.function.shows
    if holds and part.op in ("<", "<="):
        return shows is not Shows.STATE
    # The opposite of "more" is "less" only where there is a number of nothing, too.
    opposite = not holds and part.op in (">", ">=")
    none = part.op == ("==" if holds else "!=") and part.number == 0
    return shows is Shows.HOW_MANY and (opposite or none)


def _tokens(text: str) -> list[_Token]:
    out: list[_Token] = []
    at = 0
    while not out or out[-1].kind != "end":
        found = _TOKEN.match(text, at)
        if found is None:
            at = len(text) - len(text[at:].lstrip())
            raise ConditionError(f"unexpected {text[at]!r}; {_EXAMPLE}", at)
        kind = cast("str", found.lastgroup)
        out.append(_Token(kind, found[kind], found.start(kind), found.end(kind)))
        at = found.end()
    return out


class _ConditionReader:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, text: str, functions: Mapping[str, Function]) -> None:
        self._text = text
        self._functions = functions
        self._tokens = _tokens(text)
        self._at = 0
        self._comparisons = 0

    def condition(self) -> Condition:
        whole = self._either(1)
        if (token := self._peek()).kind != "end":
            self._fail(f"expected `and` or `or` before {token.text!r}", token)
        return Condition(whole, self._text.strip())

    def _either(self, depth: int) -> Part:
        parts = [self._both(depth)]
        while self._accept("or"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _both(self, depth: int) -> Part:
        parts = [self._part(depth)]
        while self._accept("and"):
            parts.append(self._part(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _part(self, depth: int) -> Part:
        if depth > MAX_DEPTH:
            self._fail(f"`not` and parentheses may stand {MAX_DEPTH} deep", self._peek())
        if self._accept("not"):
            return Not(self._part(depth + 1))
        if not self._accept("("):
            return self._comparison()
        part = self._either(depth + 1)
        self._expect(")", "each parenthesis is closed")
        return part

    def _comparison(self) -> Comparison:
        start = self._peek()
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            self._fail(f"a condition may have {MAX_COMPARISONS} comparisons", start)
        left = self._aggregate()
        divisor = self._aggregate() if self._accept("/") else None
        for one in (left, divisor) if divisor else ():
            if one.function.shows is Shows.STATE:
                self._fail(f"{one.function}() is a state, not a number to divide", start)
        operator = self._next()
        if operator.text == "in":
            part = self._membership(left, divisor)
        elif operator.text in _COMPARATORS:
            part = self._against(left, divisor, cast("Comparator", operator.text))
        else:
            signs = ", ".join(_COMPARATORS)
            self._fail(f"expected {signs} or in, not {operator.text or 'the end'!r}", operator)
        self._check_bounds(part, start)
        return part

    def _aggregate(self) -> Aggregate:
        function = self._functions.get((name := self._next()).text)
        if function is None:
            known = ", ".join(f"{one}()" for one in self._functions)
            self._fail(f"{name.text!r} is not one of {known}; {_EXAMPLE}", name)
        self._expect("(")
        field = self._field(function) if function.takes_field else ""
        number = self._percent(function) if function.takes_number else 0.0
        matchers: list[Matcher] = []
        while self._peek().text != ")":
            if field or matchers:
                self._expect(",")
            matchers.append(self._matcher(function))
        self._expect(")")
        return Aggregate(function, field, tuple(matchers), number)

    def _percent(self, function: Function) -> float:
        self._expect(",", f"for example {function}(duration, 95)")
        token = self._next()
        number = float(token.text) if token.kind == "number" else -1.0
        if not 0 <= number <= 100:  # noqa: PLR2004 - per cent
            self._fail(f"{function}() needs a number from 0 to 100", token)
        return number

    def _field(self, function: Function) -> str:
        token = self._next()
        if token.kind != "word":
            self._fail(f"{function}() needs a field, for example {function}(attempt_count)", token)
        return token.text

    def _matcher(self, function: Function) -> Matcher:
        name, operator = self._next(), self._next()
        if name.kind != "word" or operator.text not in _TESTS:
            hint = ' or a matcher, for example count(status="failed")'
            what = "expected `)`" if function.takes_field else f"{function}() takes no field"
            self._fail(what + hint, name)
        value = self._next()
        try:
            return parse_test(self._text[name.start : value.end])
        except ValueError as wrong:
            raise ConditionError(str(wrong), name.start) from wrong

    def _against(self, left: Aggregate, divisor: Aggregate | None, op: Comparator) -> Comparison:
        token = self._next()
        number, text = self._literal(token)
        if number is not None and op not in _PATTERNS:
            return Comparison(left=left, divisor=divisor, op=op, number=number)
        if left.function.shows is not Shows.STATE:
            self._fail(f"{left.function}() is a number; compare it with one", token)
        if op not in ("==", "!=", *_PATTERNS):
            self._fail(f"texts are compared with == or != or =~ or in, not {op}", token)
        if op in _PATTERNS:
            self._pattern(text, token)
        return Comparison(left=left, divisor=divisor, op=op, values=(text,))

    def _pattern(self, text: str, token: _Token) -> None:
        try:
            compile_re2(text)
        except ValueError as wrong:
            raise ConditionError(str(wrong), token.start) from wrong

    def _membership(self, left: Aggregate, divisor: Aggregate | None) -> Comparison:
        self._expect("[", "for example last(status) in [past_due, unpaid]")
        first = self._peek()
        numbers: list[float | None] = []
        texts: list[str] = []
        while not texts or self._accept(","):
            number, text = self._literal(self._next())
            numbers.append(number)
            texts.append(text)
        self._expect("]")
        known = tuple(number for number in numbers if number is not None)
        if left.function.shows is not Shows.STATE and len(known) < len(texts):
            self._fail(f"{left.function}() is a number; compare it with numbers", first)
        every = known if len(known) == len(texts) else ()
        return Comparison(left=left, divisor=divisor, op="in", values=tuple(texts), numbers=every)

    def _literal(self, token: _Token) -> tuple[float | None, str]:
        if token.kind == "number":
            number = float(token.text)
            if not math.isfinite(number):
                self._fail(f"{token.text} is too large", token)
            return number, token.text
        if token.kind == "text":
            text = re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
        elif token.kind == "word":
            text = token.text
        else:
            self._fail(f"expected a number or a text, not {token.text or 'the end'!r}", token)
        if len(text) > MAX_TEXT:
            self._fail(f"a text may have {MAX_TEXT} characters", token)
        return None, text

    def _check_bounds(self, part: Comparison, start: _Token) -> None:
        function = part.left.function
        if part.divisor is None and any(bound > function.most for bound in bounds(part)):
            self._fail(f"{function}() can be compared with at most {function.most:,}", start)

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _accept(self, sign: str) -> bool:
        if self._peek().text != sign or self._peek().kind == "text":
            return False
        self._next()
        return True

    def _expect(self, sign: str, hint: str = _EXAMPLE) -> None:
        token = self._next()
        if token.text != sign:
            self._fail(f"expected {sign!r}, not {token.text or 'the end'!r}; {hint}", token)

    def _fail(self, message: str, token: _Token) -> NoReturn:
        raise ConditionError(message, token.start)
