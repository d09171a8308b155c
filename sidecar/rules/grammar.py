"""How a condition is written, and reading it.

condition  := both { "or" both }
both       := part { "and" part }
part       := "not" part | "(" condition ")" | comparison
comparison := amount operator ( amount | literal )            =~ and !~ only with a state
            | amount "in" "[" literal { "," literal } "]"
amount     := product { ( "+" | "-" ) product }               with an aggregate in it, and no state
product    := factor { ( "*" | "/" ) factor }                 unless that is all of it
factor     := number | aggregate [ "offset" duration ] | "(" amount ")"
aggregate  := function "(" [ field [ "," number ] ] { "," matcher } ")"     see aggregates.FUNCTIONS
literal    := number | word | "text" | 'text'                 words and texts only with a state
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple, NoReturn, cast

from sidecar.durations import parse_duration, write_duration
from sidecar.matchers import Matcher, compile_re2, parse_test
from sidecar.rules.aggregates import (
    FUNCTIONS,
    MAX_OFFSET,
    MAX_TEXT,
    Comparator,
    Function,
    Shows,
)
from sidecar.rules.condition import (
    Aggregate,
    Amount,
    And,
    Comparison,
    Condition,
    Measured,
    Not,
    Or,
    Part,
    Reckoned,
    Sign,
    bounds,
    divided,
    reckon,
)

# What one condition may hold.
MAX_COMPARISONS = 32
MAX_AGGREGATES = 64
MAX_DEPTH = 16

_EXAMPLE = "write for example max(attempt_count) >= 3"
_COMPARATORS = (">", ">=", "<", "<=", "==", "!=", "=~", "!~")
_PATTERNS = ("=~", "!~")
_TESTS = ("=", "!=", *_PATTERNS, ">", ">=", "<", "<=", "==")
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
      | (?P<duration>(?:\d+(?:ms|[ywdhms]))+\b)
      | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<sign>=~|!~|!=|==|>=|<=|[><=()\[\],/*+-])
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

    @property
    def ends_amount(self) -> bool:
        """Whether a sign after it stands between two amounts, and before no number."""
        return self.kind in ("number", "duration") or self.text == ")"


def parse_condition(text: str, functions: Mapping[str, Function] = FUNCTIONS) -> Condition:
    """Read a condition such as `max(attempt_count) >= 3`; raises ConditionError."""
    return _ConditionReader(text, functions).condition()


def _tokens(text: str) -> list[_Token]:
    out: list[_Token] = []
    at = 0
    while not out or out[-1].kind != "end":
        found = _TOKEN.match(text, at)
        if found is None:
            at = len(text) - len(text[at:].lstrip())
            raise ConditionError(f"unexpected {text[at]!r}; {_EXAMPLE}", at)
        kind = cast("str", found.lastgroup)
        token = _Token(kind, found[kind], found.start(kind), found.end(kind))
        if kind == "number" and token.text[0] in "+-" and out and out[-1].ends_amount:
            token = _Token("sign", token.text[0], token.start, token.start + 1)
        out.append(token)
        at = token.end
    return out


class _ConditionReader:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, text: str, functions: Mapping[str, Function]) -> None:
        self._text = text
        self._functions = functions
        self._tokens = _tokens(text)
        self._at = 0
        self._comparisons = self._aggregates = 0

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
        if self._peek().text != "(" or self._is_amount_ahead():
            return self._comparison()
        self._next()
        part = self._either(depth + 1)
        self._expect(")", "each parenthesis is closed")
        return part

    def _comparison(self) -> Comparison:
        start = self._peek()
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            self._fail(f"a condition may have {MAX_COMPARISONS} comparisons", start)
        left = self._measured()
        operator = self._next()
        if operator.text == "in":
            part = self._membership(left)
        elif operator.text in _COMPARATORS:
            part = self._against(left, cast("Comparator", operator.text))
        else:
            signs = ", ".join(_COMPARATORS)
            self._fail(f"expected {signs} or in, not {operator.text or 'the end'!r}", operator)
        self._check_bounds(part, start)
        return part

    def _is_amount_ahead(self) -> bool:
        """Return whether a parenthesis is around an amount: what follows it works with one."""
        deep = 0
        for place in range(self._at, len(self._tokens)):
            text = self._tokens[place].text
            deep += (text == "(") - (text == ")")
            if not deep:
                after = self._tokens[place + 1].text
                return after in ("+", "-", "*", "/", "in", *_COMPARATORS)
        return False

    def _measured(self) -> Measured:
        """Read an amount with an aggregate in it."""
        start = self._peek()
        amount = self._sum(1)
        if isinstance(amount, float):
            self._fail(f"a comparison begins with what is measured; {_EXAMPLE}", start)
        return amount

    def _sum(self, depth: int) -> Amount:
        start = self._peek()
        amount = self._product(depth)
        while (sign := self._peek().text) in ("+", "-"):
            self._next()
            amount = self._reckoned(cast("Sign", sign), amount, self._product(depth), start)
        return amount

    def _product(self, depth: int) -> Amount:
        start = self._peek()
        amount = self._factor(depth)
        while (sign := self._peek().text) in ("*", "/"):
            self._next()
            amount = self._reckoned(cast("Sign", sign), amount, self._factor(depth), start)
        return amount

    def _factor(self, depth: int) -> Amount:
        token = self._peek()
        if depth > MAX_DEPTH:
            self._fail(f"parentheses may stand {MAX_DEPTH} deep", token)
        if token.kind == "number":
            return self._finite(self._next())
        if not self._accept("("):
            return self._shifted(self._aggregate())
        amount = self._sum(depth + 1)
        self._expect(")", "each parenthesis is closed")
        return amount

    def _reckoned(self, sign: Sign, left: Amount, right: Amount, start: _Token) -> Amount:
        for one in (left, right):
            if isinstance(one, Aggregate) and one.function.shows is Shows.STATE:
                self._fail(f"{one.function}() is a state, not a number to reckon with", start)
        if sign == "/" and right == 0.0:
            self._fail("nothing can be divided by 0", start)
        if not (isinstance(left, float) and isinstance(right, float)):
            return Reckoned(sign, left, right)
        found = divided(left, right) if sign == "/" else reckon(sign, left, right)
        if found is None or not math.isfinite(found):
            self._fail("the number is too large", start)
        return found

    def _shifted(self, one: Aggregate) -> Aggregate:
        """Read how far back the window of an aggregate lies, if that is written."""
        if not self._accept("offset"):
            return one
        token = self._next()
        if one.function.fold is None:
            able = ", ".join(f"{f}()" for f in self._functions.values() if f.fold is not None)
            self._fail(f"{one.function}() has no `offset`; {able} have one", token)
        if token.kind != "duration" or not (offset := parse_duration(token.text)):
            self._fail("`offset` needs a duration, for example count() offset 1d", token)
        if offset > MAX_OFFSET:
            kept = write_duration(MAX_OFFSET)
            self._fail(f"{token.text} lies further back than what is kept, {kept}", token)
        return replace(one, offset=offset)

    def _aggregate(self) -> Aggregate:
        function = self._functions.get((name := self._next()).text)
        if function is None:
            known = ", ".join(f"{one}()" for one in self._functions)
            self._fail(f"{name.text!r} is not one of {known}; {_EXAMPLE}", name)
        self._aggregates += 1
        if self._aggregates > MAX_AGGREGATES:
            self._fail(f"a condition may have {MAX_AGGREGATES} aggregates", name)
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

    def _against(self, left: Measured, op: Comparator) -> Comparison:
        state = left.function if isinstance(left, Aggregate) else None
        if state is None or state.shows is not Shows.STATE:
            return self._against_amount(left, op)
        token = self._next()
        number, text = self._literal(token)
        if number is not None and op not in _PATTERNS:
            return Comparison(left=left, op=op, number=number)
        if op not in ("==", "!=", *_PATTERNS):
            self._fail(f"texts are compared with == or != or =~ or in, not {op}", token)
        if op in _PATTERNS:
            self._pattern(text, token)
        return Comparison(left=left, op=op, values=(text,))

    def _against_amount(self, left: Measured, op: Comparator) -> Comparison:
        token, after = self._peek(), self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        begins = token.kind == "number" or token.text == "(" or after.text == "("
        if op in _PATTERNS or not begins:
            self._literal(token)
            what = f"{left.function}()" if isinstance(left, Aggregate) else "that"
            self._fail(f"{what} is a number; compare it with one", token)
        amount = self._sum(1)
        if isinstance(amount, float):
            return Comparison(left=left, op=op, number=amount)
        if isinstance(amount, Aggregate) and amount.function.shows is Shows.STATE:
            self._fail(f"{amount.function}() is a state; compare it with what it can be", token)
        return Comparison(left=left, op=op, right=amount)

    def _pattern(self, text: str, token: _Token) -> None:
        try:
            compile_re2(text)
        except ValueError as wrong:
            raise ConditionError(str(wrong), token.start) from wrong

    def _membership(self, left: Measured) -> Comparison:
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
        part = Comparison(left=left, op="in", values=tuple(texts))
        if len(known) == len(texts):
            return replace(part, numbers=known)
        if part.state is None:
            what = f"{left.function}()" if isinstance(left, Aggregate) else "that"
            self._fail(f"{what} is a number; compare it with numbers", first)
        return part

    def _literal(self, token: _Token) -> tuple[float | None, str]:
        if token.kind == "number":
            return self._finite(token), token.text
        if token.kind == "text":
            text = re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
        elif token.kind == "word":
            text = token.text
        else:
            self._fail(f"expected a number or a text, not {token.text or 'the end'!r}", token)
        if len(text) > MAX_TEXT:
            self._fail(f"a text may have {MAX_TEXT} characters", token)
        return None, text

    def _finite(self, token: _Token) -> float:
        number = float(token.text)
        if not math.isfinite(number):
            self._fail(f"{token.text} is too large", token)
        return number

    def _check_bounds(self, part: Comparison, start: _Token) -> None:
        function = part.function
        if function and any(bound > function.most for bound in bounds(part)):
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
