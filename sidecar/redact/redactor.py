"""Redaction of values: what leaves the process or is stored goes through here first."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import repeat
from typing import Any, cast

from sidecar.matchers import compile_re2
from sidecar.redact.names import REDACTED, is_hidden, is_plain, is_state, plain_name, secret_name
from sidecar.redact.shapes import (
    PATTERNS,
    SecretShape,
    hide_secrets,
    may_hold_secrets,
    well_formed,
)
from sidecar.syntax.table import Table, key, table
from sidecar.syntax.values import Cut, Re2, Text

TRUNCATED = "...[truncated]"
OWNER_FIELD = "owner_email"
MAX_DEPTH = 16
MAX_SAMPLE = 200
MAX_FIELDS = 16_384  # characters of all fields of an event
_MARK, _NUMBER = 64, 8  # characters that the word on what was left out takes, and a number
_MARGIN = 4096  # so that a secret at the cut is seen whole
_MAX_BITS = 4096
_NO_CARD = 10**11  # card numbers have 13 digits and more
_MAX_INTEGER = 2**63  # MessagePack and SQLite hold no more


@table
class RedactPolicy(Table):
    """What to hide beyond what always is: exact `keys`, RE2 `patterns`; and `max_length`."""

    keys: tuple[Text, ...] = key("Names of fields to hide, at any depth.", default=())
    patterns: tuple[Re2, ...] = key("RE2 patterns to hide anywhere in a text.", default=())
    max_length: Cut = key("A value longer than this is cut.", default=1000)


# A mapping under one of these has parts with names of their own: `session.id`, `tokens.input`.
_PARENTS = ("session", "tokens")
_LONGEST_NAME = 64
_LONGEST_SHOWN = 200  # of a label that was changed
_LONGEST_KNOWN, _MOST_KNOWN = 256, 16_384
_TOGETHER, _FEW = 128, 16  # texts searched at once: of many, one is often worth a closer look
_SEPARATOR = "\n\0\n"  # no part of any word, number or name
_MAX_NAMES = 4096
_MOST_OF_PAIR = 8  # HAR and AWS put a comment or a type beside the two


class Labels(dict[str, str]):
    """What the texts of one field become where they are kept; made once for those that repeat.

    `hides` redacts a text, given its length is bounded; `digest` tells hidden ones apart.
    `plainly`: texts without a shape that everybody hides stay as they are.
    """

    def __init__(
        self, hides: Callable[[str], str], digest: Callable[[str], str], *, plainly: bool
    ) -> None:
        super().__init__()
        self._hides = hides
        self._digest = digest
        self._plainly = plainly

    def __missing__(self, text: str) -> str:
        if len(text) > _LONGEST_KNOWN:
            return self._made(text)
        if len(self) >= _MOST_KNOWN:
            self.clear()
        made = self[text] = self._made(text)
        return made

    def of_all(self, texts: Sequence[str]) -> list[str]:
        """Return what each of `texts` becomes; those that are new are searched some at once.

        What has a secret's shape alone has it among others as well: nothing there asks for the
        beginning of a text, or for its end alone.
        """
        known = list(map(self.get, texts))
        if None not in known:
            return cast("list[str]", known)
        new = [text for text in set(texts) if text not in self] if self._plainly else []
        if len(self) + len(new) > _MOST_KNOWN:
            self.clear()
        for start in range(0, len(new), _TOGETHER):
            self._learn(new[start : start + _TOGETHER])
        return list(map(self.__getitem__, texts))

    def _learn(self, texts: Sequence[str]) -> None:
        """Know those of `texts` of which a search of many at once says that nothing is hidden."""
        joined = _SEPARATOR.join(texts)
        short = max(map(len, texts)) <= _LONGEST_KNOWN
        if short and joined.isascii() and not may_hold_secrets(joined):
            self.update(zip(texts, texts, strict=True))
        elif len(texts) > _FEW:
            half = len(texts) // 2
            self._learn(texts[:half])
            self._learn(texts[half:])

    def _made(self, text: str) -> str:
        head = well_formed(text[: _LONGEST_SHOWN + _MARGIN])
        shown = self._hides(head)
        if shown == head:
            return well_formed(text)
        return f"{shown[:_LONGEST_SHOWN]}~{self._digest(text)}"


# Gives the `Labels` of a field, by its name.
LabelsOf = Callable[[str], Labels]


class Redactor:
    """Hides secrets in values and texts, masks mail addresses, cuts what is long.

    Time is linear in the text. Doing it twice changes nothing. Raises ValueError when a pattern
    of the policy is not RE2. `digest_key`: the secret under which `labels` tell two hidden texts
    apart. `keeps_owner`: `kept` leaves the address in the field OWNER_FIELD, to which mail goes.
    """

    def __init__(self, policy: RedactPolicy | None = None, *, keeps_owner: bool = False) -> None:
        self.digest_key = b""
        self._keeps_owner = keeps_owner
        self._policy = policy or RedactPolicy()
        self._labels: dict[str, Labels] = {}
        policy = policy or RedactPolicy()
        self._max_length = policy.max_length
        self._keys = frozenset(plain_name(key) for key in policy.keys)
        self._own = tuple(SecretShape(compile_re2(pattern)) for pattern in policy.patterns)
        self._free: dict[tuple[str, ...], bool] = {}  # names of events' fields: all are shown
        # The last flat mapping, what it was then, and redacted: an event is asked for with its line
        # and as an alert's last one.
        self._last: tuple[Mapping[str, Any], Mapping[str, Any], dict[str, Any]] = ({}, {}, {})
        self._shown: dict[str, str] = {}  # names as they are shown; the same few come all the time

    def fields(self, mapping: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of `mapping`, redacted at any depth, of JSON's types only.

        The value of a secret's name is hidden whole, except null, booleans, and what is none by
        its looks (see `is_plain`). Deeper than 16 levels it is cut off.
        """
        last, was, shown = self._last
        if mapping is last and mapping == was:
            return shown.copy()
        if not self._is_flat(mapping):
            return self._mapping(mapping, 1)
        shown = self._flat(mapping)
        self._last = mapping, dict(mapping), shown
        return shown.copy()

    def _is_flat(self, mapping: Mapping[str, Any]) -> bool:
        """Return whether values are texts and such, and all names shown and not of secrets."""
        names = tuple(mapping)
        free = self._free.get(names)
        if free is None:
            if len(self._free) >= _MAX_NAMES:
                self._free.clear()
            free = self._free[names] = not self._own and all(map(self._is_free, names))
        return free and all(map(_is_small, mapping.values()))

    def _flat(self, mapping: Mapping[str, Any]) -> dict[str, Any]:
        """Redact a flat mapping: at once where one search of all its texts shows nothing to hide.

        So it is with nearly every event, and to redact each value alone takes ten times as long.
        """
        texts = [value for value in mapping.values() if type(value) is str]
        joined = _SEPARATOR.join(texts)
        fits = max(map(len, texts), default=0) <= self._max_length
        if fits and joined.isascii() and not may_hold_secrets(joined):
            return dict(mapping)
        return {n: self.text(v) if type(v) is str else v for n, v in mapping.items()}

    def _is_free(self, written: Any) -> bool:
        """Return whether a name is shown as it is, and names nothing that is hidden."""
        if type(written) is not str or self._name(written) != written:
            return False
        hidden = plain_name(written) in self._keys or secret_name(written)
        # Beside a value of this name, another one may name it.
        return not hidden and written not in ("value", "Value")

    def kept(self, mapping: Mapping[str, Any]) -> dict[str, Any]:
        """Return the same, of a size that an alert may keep.

        Of more than 16,384 characters only the smallest fields stay, and how many do not.
        """
        kept = _bounded(self.fields(mapping))
        address = mapping.get(OWNER_FIELD) if self._keeps_owner else None
        if isinstance(address, str) and "@" in address and len(address) <= _LONGEST_KNOWN:
            kept[OWNER_FIELD] = well_formed(address)
        return kept

    def text(self, text: str) -> str:
        """Return `text` without secrets, with mail addresses masked, cut at `max_length`."""
        # Cut once more behind a margin: no secret is longer that is not known by its beginning.
        return self._cut(self.secrets(text[: self._max_length + _MARGIN]))

    def labels(self, name: str) -> Labels:
        """Return what the texts of field `name` become as labels, keys and states.

        One that redaction changes ends in a keyed digest of the whole, so that two stay two:
        `o***@example.com~1f0c93aa`. Another stays as it is, also in length. Twice is once.
        """
        found = self._labels.get(name)
        if found is None:
            hides = self._hiding(name)
            plainly = hides == self.secrets and not self._own
            found = self._labels[name] = Labels(hides, self._digest, plainly=plainly)
        return found

    def _hiding(self, name: str) -> Callable[[str], str]:
        secret, always = secret_name(name), plain_name(name) in self._keys
        if not secret and not always:
            return self.secrets

        def hide(text: str) -> str:
            plain = is_hidden(text) or (not always and is_plain(secret, text))
            return self.secrets(text) if plain else REDACTED

        return hide

    def _digest(self, text: str) -> str:
        raw = text.encode("utf-8", "replace")
        return blake2b(raw, key=self.digest_key, person=b"label", digest_size=4).hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """Names what is hidden; under another one, other texts are."""
        return blake2b(f"{self._policy}{PATTERNS}".encode(), digest_size=8).hexdigest()

    def sample(self, line: str) -> str:
        """Return the head of a log line, redacted before it is cut."""
        return self.secrets(line[: MAX_SAMPLE + _MARGIN])[:MAX_SAMPLE]

    def secrets(self, text: str) -> str:
        """Return `text` redacted in full length: for a text that its user has a bound for."""
        text = well_formed(text)
        for shape in self._own:
            text = shape.hide(text)
        return hide_secrets(text)

    def _cut(self, text: str) -> str:
        if len(text) <= self._max_length:
            return text
        return text[: self._max_length] + TRUNCATED

    def _mapping(self, mapping: Mapping[Any, Any], depth: int, within: str = "") -> dict[str, Any]:
        if depth > MAX_DEPTH:
            return {TRUNCATED: len(mapping)}
        pair = _pair_name(mapping)
        return {
            self._name(str(written)): self._held(
                pair if pair and str(written).lower() == "value" else str(written),
                value, depth, within,
            )
            for written, value in mapping.items()
        }  # fmt: skip

    def _name(self, written: str) -> str:
        shown = self._shown.get(written)
        if shown is None:
            if len(self._shown) >= _MAX_NAMES:
                self._shown.clear()
            shown = self._shown[written] = self.text(written)
        return shown

    def _paired(self, written: str, value: Any, depth: int) -> Any:
        """Return the second half of a pair; in a list of states nothing is named by its left."""
        states = isinstance(value, str) and is_state(plain_name(written), value)
        return self._value(value, depth) if states else self._held(written, value, depth)

    def _held(self, written: str, value: Any, depth: int, within: str = "") -> Any:
        """Return the value that `written` names, hidden if that is a secret's name."""
        if value is None or isinstance(value, bool):
            return value
        if self._keys and plain_name(written) in self._keys:
            return REDACTED
        name = secret_name(written)
        if not name and within:
            name = secret_name(f"{within}_{written}") or secret_name(f"{written}_{within}")
        if not name:
            return self._value(value, depth)
        if isinstance(value, Mapping) and name.endswith(_PARENTS):
            return self._mapping(value, depth + 1, name)
        text = _digits(value) if isinstance(value, int | float) else value
        stays = isinstance(text, str) and is_plain(name, text)
        return self._value(value, depth) if stays else REDACTED

    def _value(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int | float):
            return self._number(value)
        if isinstance(value, Mapping):
            return self._mapping(value, depth + 1)
        if isinstance(value, list | tuple | set | frozenset):
            return self._items(list(value), depth + 1)
        if isinstance(value, bytes):
            return self.text(value.decode(errors="replace"))
        return self.text(str(value))

    def _items(self, items: list[Any], depth: int) -> list[Any]:
        """Redact a list; one of pairs, as headers are logged, has a name before each value."""
        if depth > MAX_DEPTH:
            return [TRUNCATED]
        if len(items) % 2:
            return [self._value(item, depth) for item in items]
        names = (_as_name(items[at - 1]) if at % 2 else "" for at in range(len(items)))
        return [self._paired(name, item, depth) for name, item in zip(names, items, strict=True)]

    def _number(self, number: float) -> Any:
        """Return a number, or its text if that is a card number's, or JSON could not hold it."""
        if abs(number) < _NO_CARD and not self._own:
            return number
        text = _digits(number)
        hidden = self.text(text)
        if hidden != text:
            return hidden
        if isinstance(number, int):
            return number if abs(number) < _MAX_INTEGER else text
        return number if math.isfinite(number) else text


def _is_small(value: Any) -> bool:
    """Return whether a value is a text, or none that could be a card's number."""
    kind = type(value)
    if kind is int or kind is float:
        return bool(abs(value) < _NO_CARD)
    return value is None or kind is str or kind is bool


def _bounded(fields: dict[str, Any]) -> dict[str, Any]:
    """Return `fields`, without the largest ones if they are large together.

    An alert keeps its last event, and there may be a hundred thousand alerts; a line of a log may
    have a megabyte.
    """
    sizes = {
        name: len(name) + (len(value) + 1 if type(value) is str else _size(value))
        for name, value in fields.items()
    }
    left = MAX_FIELDS
    if sum(sizes.values()) <= left:
        return fields
    left -= _MARK
    kept = set()
    for name in sorted(sizes, key=sizes.__getitem__):
        left -= sizes[name]
        if left < 0:
            break
        kept.add(name)
    shown = {name: value for name, value in fields.items() if name in kept}
    return {**shown, TRUNCATED: len(fields) - len(kept)}


def _size(value: Any) -> int:
    """Return about how many characters a redacted value takes."""
    if isinstance(value, str):
        return len(value) + 1
    if isinstance(value, Mapping):
        return sum(len(name) + _size(item) for name, item in value.items()) + 1
    return sum(map(_size, value)) + 1 if isinstance(value, list) else _NUMBER


def _digits(number: float) -> str:
    if isinstance(number, float):
        return f"{number:.15g}"
    # Python refuses to write out a number of more digits than 4300.
    return str(number) if number.bit_length() < _MAX_BITS else f"{number.bit_length()} bits"


def _as_name(item: Any) -> str:
    """Return an item of a list as a name, if it can be one."""
    text = item.decode(errors="replace") if isinstance(item, bytes) else item
    return text if isinstance(text, str) and len(text) <= _LONGEST_NAME else ""


def _pair_name(mapping: Mapping[Any, Any]) -> str:
    """Return what `{"name": "cookie", "value": "x"}` names."""
    if len(mapping) > _MOST_OF_PAIR or not any(value in mapping for value in ("value", "Value")):
        return ""
    named = (mapping.get(name) for name in ("name", "key", "header", "field", "Name", "Key"))
    return next(filter(None, map(_as_name, named)), "")


_LONGEST_LINE = 1000  # of what is kept as evidence
_SHORTEST_HIDDEN = 4  # of a value that is looked for in the line
_NAME = re.compile(r"[\w.-]+")


def without_secrets(line: str, fields: Mapping[str, Any], redactor: Redactor) -> str:
    """Return the head of an event's line, with all hidden in it that is hidden in its `fields`.

    A value of fewer than four characters is left: it says nothing, and to hide each `=` of a line
    leaves nothing to read.
    """
    shown = redactor.fields(fields)
    hidden = [
        text
        for text in set(_hidden(fields, shown) if shown != fields else ())
        if len(text) >= _SHORTEST_HIDDEN
    ]
    quoted = _longest_first({way for text in hidden for way in _quoted(text)})
    bare = {*hidden, *(text[1:-1] for text in quoted)}
    line = _head(line, _longest_first(bare))
    # Shapes go before values: one may be what they know a secret by, such as `PASSWORD`. But what
    # is more than a name goes first where it is a whole text: shapes may take a part or decode it.
    for text in quoted:
        if not _NAME.fullmatch(text[1:-1]):
            line = line.replace(text, f"{text[0]}{REDACTED}{text[0]}")
    changed = {redactor.secrets(text) for text in bare if text in line}
    line = redactor.secrets(line)
    for text in _longest_first(bare | changed):
        line = line.replace(text, REDACTED)
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"


def _quoted(text: str) -> tuple[str, str, str]:
    """Return `text` as a log may hold it: in JSON, with and without escapes, and Python's repr."""
    return json.dumps(text), json.dumps(text, ensure_ascii=False), repr(text)


def _longest_first(texts: Iterable[str]) -> list[str]:
    return sorted(texts, key=len, reverse=True)


def _head(line: str, hidden: Iterable[str]) -> str:
    """Return the beginning of `line`, cut before what is `hidden` where that is across the cut."""
    end = _LONGEST_LINE + _MARGIN
    for text in hidden:
        at = line.find(text, max(0, end - len(text) + 1), end + len(text) - 1)
        if at >= 0:
            return line[:at] + REDACTED
    return line[:end]


def _hidden(value: Any, shown: Any) -> Iterator[str]:
    """Yield the texts and numbers in `value` of which `shown`, the same redacted, has nothing."""
    if isinstance(value, Mapping | list | tuple):
        whole = isinstance(shown, Mapping | list)
        for one, other in zip(_parts(value), _parts(shown) if whole else repeat(shown)):  # noqa: B905 - one is endless
            yield from _hidden(one, other)
    elif str(shown).startswith(REDACTED) and value not in (None, "") and value is not shown:
        yield str(value)


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, Mapping) else value
