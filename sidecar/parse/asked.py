"""Parts of an object: labels and time, the fields that somebody asks for, or all of them."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, Literal, NamedTuple

import msgspec

from sidecar.parse.event import (
    IS_NULL,
    LONGEST_LABEL,
    OWN_PREFIX,
    STANDARD_FIELDS,
    UNKNOWN_PROVIDER,
    compared,
    field_value,
)
from sidecar.parse.objects import (
    MARKER,
    NOT_JSON,
    bounded_int,
    fraction,
)
from sidecar.parse.values import QUOTES, as_json, bounded, read_whole

_UNBOUNDED = {int, dict, list}  # what `bounded` may have to cut
_decode_any = msgspec.json.Decoder(dict[str, Any], float_hook=fraction).decode


def fields_of(source: bytes) -> dict[str, Any]:
    fields = read_whole(source) if source[1:2] == b"'" else _decode_any(source)
    if not _UNBOUNDED.isdisjoint(map(type, fields.values())):
        bounded(fields)
    fields.setdefault("webhook_provider", UNKNOWN_PROVIDER)
    return fields


_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the zone is left out on purpose
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seconds_of(at: datetime) -> float:
    """Return a decoded stamp as an instant; no zone means UTC."""
    return (at - (_EPOCH if at.tzinfo else _NAIVE_EPOCH)).total_seconds()


def all_seconds_of(times: Sequence[datetime]) -> list[float]:
    """Return what `seconds_of` gives for each of `times`."""
    try:
        return [(at - _NAIVE_EPOCH).total_seconds() for at in times]
    except TypeError:
        return list(map(seconds_of, times))


# Of each field. A log with more has no few dozen labels, and a decoder that knows few of them
# would only be asked in vain.
_MOST_LABELS = 200
_HEAD = ("metric_type", *STANDARD_FIELDS, "timestamp")
_MOST_MORE = 64  # fields; each is looked for in every object


class Head(msgspec.Struct, gc=False):
    """Labels and time. Stamps are RFC 3339, or the same without a zone, and nothing else."""

    webhook_provider: str
    event_type: str
    status: str
    timestamp: datetime


class HeadColumns(NamedTuple):
    """Heads in columns, and other fields by name; None where no object has one."""

    providers: Sequence[str]
    types: Sequence[str]
    statuses: Sequence[str]
    times: Sequence[datetime]
    more: Mapping[str, Sequence[Any] | None]


class Singly(NamedTuple):
    """Heads of objects, the objects as JSON, and the places of those that have no head."""

    heads: list[Head]
    texts: list[bytes]
    odd: list[int]


NO_HEAD = Head("", "", "", datetime.min)  # noqa: DTZ901 - never looked at
_Decode = Callable[[bytes], Head]


class Heads:
    """Decodes heads. With `marked`, only of objects that say they are a WEBHOOK_METRIC."""

    def __init__(self, *, marked: bool) -> None:
        self._marked = marked
        self._labels: dict[str, set[str]] = {name: {""} for name in STANDARD_FIELDS}
        self._more: tuple[str, ...] = ()
        self._any = self._decoder(dict.fromkeys(STANDARD_FIELDS, str))
        self._known = self._decoder_of_known()

    def look_for(self, names: Collection[str]) -> None:
        """Decode these fields as well, if they are not too many; for good."""
        more = {*self._more, *names}.difference(_HEAD)
        if len(self._more) < len(more) <= _MOST_MORE:
            self._more = tuple(sorted(more))
            only_any = self._known is self._any
            self._any = self._decoder(dict.fromkeys(STANDARD_FIELDS, str))
            self._known = self._any if only_any else self._decoder_of_known()

    def columns(self, heads: Sequence[Head]) -> HeadColumns:
        """Return what `heads`, one or more that were read since `look_for`, say, in columns."""
        columns = list(zip(*map(msgspec.structs.astuple, heads), strict=True))
        providers, types, statuses, times, *more = columns[self._marked :]
        named = zip(self._more, map(_unless_absent, more), strict=True)
        return HeadColumns(providers, types, statuses, times, dict(named))

    def read(self, sources: Sequence[bytes]) -> list[Head]:
        """Return the head of each JSON object. Raises one of NOT_JSON where one has none."""
        try:
            return list(map(self._known, sources))
        except NOT_JSON:
            heads = list(map(self._any, sources))
        self._learn(heads)
        return heads

    def read_singly(self, sources: Sequence[bytes]) -> "Singly":
        """Read the head of each object, JSON or repr, so that an odd one costs only itself."""
        texts = [one.translate(QUOTES) if one[1:2] == b"'" else one for one in sources]
        found = Singly([], texts, [])
        new: list[Head] = []
        known = map(self._known, texts)
        while len(found.heads) < len(texts):
            try:
                found.heads.extend(known)  # as far as it goes; then it goes on behind the odd one
            except NOT_JSON:
                number = len(found.heads)
                found.heads.append(self._read_closely(found, number, sources[number], new))
        self._learn(new)
        return found

    def _read_closely(self, found: "Singly", number: int, source: bytes, new: list[Head]) -> Head:
        """Return the head of an object with labels that are `new`, or Python's words as a repr."""
        text = found.texts[number]
        try:
            if text is not source:
                text = found.texts[number] = as_json(source)
                with suppress(*NOT_JSON):
                    return self._known(text)
            new.append(head := self._any(text))
        except NOT_JSON:
            found.odd.append(number)
            return NO_HEAD
        return head

    def _learn(self, heads: Iterable[Head]) -> None:
        """Let the decoder know the labels of `heads`, unless they are too many."""
        if self._known is self._any:
            return  # there were too many
        before = sum(map(len, self._labels.values()))
        for head in heads:
            for name, known in self._labels.items():
                label = getattr(head, name)
                if len(label) <= LONGEST_LABEL:
                    known.add(label)
        if max(map(len, self._labels.values())) > _MOST_LABELS:
            self._known = self._any
        elif sum(map(len, self._labels.values())) > before:
            self._known = self._decoder_of_known()

    def _decoder_of_known(self) -> _Decode:
        return self._decoder({name: Literal[tuple(known)] for name, known in self._labels.items()})

    def _decoder(self, labels: Mapping[str, Any]) -> _Decode:
        """Return a decoder of heads whose labels have these types, in the order of most logs."""
        marker = ("metric_type", Literal[MARKER])
        fields: list[Any] = [
            *([marker] if self._marked else []),
            ("webhook_provider", labels["webhook_provider"], UNKNOWN_PROVIDER),
            ("event_type", labels["event_type"]),
            ("status", labels["status"]),
            ("timestamp", datetime),
            *_any_of(self._more),
        ]
        head: type[Any] = msgspec.defstruct("Head", fields, gc=False, kw_only=True)
        return msgspec.json.Decoder(head, float_hook=fraction).decode


def _any_of(names: Iterable[str]) -> list[Any]:
    """Return fields for a struct, each with any value or none."""
    return [
        (f"f{n}", Any, msgspec.field(default=msgspec.UNSET, name=name))
        for n, name in enumerate(names)
    ]


def _unless_absent(column: Sequence[Any]) -> Sequence[Any] | None:
    absent = column[0] is msgspec.UNSET and column.count(msgspec.UNSET) == len(column)
    return None if absent else column


class Asked:
    """Takes the fields of some names out of objects, without making anything of the others.

    `sides` are the fields of an object that any of these names needs.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(name for name in names if not name.startswith(OWN_PREFIX))
        # A dotted name is that of a field, or leads into one; in a comparison may be numbers.
        sides = {
            side
            for name in self._names
            for side in name.split(" ")
            if " " not in name or side[:1].isidentifier()
        }
        own = sorted(sides.union(name.partition(".")[0] for name in sides))
        self.sides = frozenset(own)
        wanted = msgspec.defstruct("Asked", _any_of(own), gc=False)
        self._decode = msgspec.json.Decoder(wanted, float_hook=fraction).decode

    def fields_of(self, sources: Sequence[bytes]) -> dict[str, list[Any] | None]:
        """Return the values of each name in JSON objects, as `Event.get` gives them.

        None stands for those of a name of which no object holds anything. Raises one of NOT_JSON.
        """
        if not sources:
            return dict.fromkeys(self._names)
        if not self._names:
            return {}
        rows = map(msgspec.structs.astuple, map(self._decode, sources))
        columns = map(_unless_absent, zip(*rows, strict=True))
        return self.of_columns(dict(zip(sorted(self.sides), columns, strict=True)))

    def of_columns(
        self, columns: Mapping[str, Sequence[Any] | None]
    ) -> dict[str, list[Any] | None]:
        """Return the same of the columns of `sides`; None where no object has that field."""
        return {name: self._of_name(name, columns) for name in self._names}

    def _of_name(self, name: str, columns: Mapping[str, Sequence[Any] | None]) -> list[Any] | None:
        if " " not in name:
            return _column(name, columns)
        sides = [side for side in name.split(" ") if side in self.sides]
        found = {side: _column(side, columns) for side in sides}
        if None in found.values():
            return None
        rows = zip(*(column or () for column in found.values()), strict=True)
        return [compared(name, dict(zip(found, row, strict=True)).get) for row in rows]


def _column(name: str, columns: Mapping[str, Sequence[Any] | None]) -> list[Any] | None:
    column = columns[name]
    top, dot, rest = name.partition(".")
    if dot:
        return _of_dotted(name, column, columns[top], rest)
    if column is None:
        return None
    kinds = set(map(type, column))
    if kinds == {int}:
        return list(map(bounded_int, column))
    return list(column) if kinds <= _PLAIN else list(map(_plain, column))


def _of_dotted(
    name: str, column: Sequence[Any] | None, own: Sequence[Any] | None, rest: str
) -> list[Any] | None:
    """Return what a dotted name gives: fields of that name, or what leads to it from its top."""
    if column is None and own is None:
        return None
    if column is None and own is not None and _FLAT.issuperset(map(type, own)):
        return _of_flat(rest, own)
    if column is None and own is not None and "." not in rest and rest != IS_NULL:
        led = [one.get(rest) if type(one) is dict else None for one in own]
        return led if _PLAIN.issuperset(map(type, led)) else [_plain(value, 2) for value in led]
    both = zip(column or repeat(msgspec.UNSET), own or repeat(msgspec.UNSET), strict=False)
    return [_led_to(name, *one) for one in both]


_PLAIN = {str, float, bool, type(None)}
_FLAT = {*_PLAIN, int, msgspec.UnsetType}  # values with nothing inside of them


def _of_flat(rest: str, values: Sequence[Any]) -> list[Any] | None:
    """Return what a name's `rest` behind its first dot gives for values that hold no others."""
    is_asked = rest.partition(".")[0] == IS_NULL
    if not is_asked or values.count(msgspec.UNSET) == len(values):
        return None
    return [None if value is msgspec.UNSET else value is None for value in values]


def _plain(value: Any, depth: int = 1) -> Any:
    """Return a value that lies so deep in its record as `bounded` leaves it there."""
    if value is msgspec.UNSET:
        return None
    return bounded([value], depth)[0] if type(value) in _UNBOUNDED else value


def _led_to(name: str, value: Any, of_top: Any) -> Any:
    """Return what a dotted name gives: the field of that name, or what it leads to."""
    if value is not msgspec.UNSET:
        return _plain(value)
    top = name.partition(".")[0]
    fields = {} if of_top is msgspec.UNSET else {top: of_top}
    return _plain(field_value(fields, name), name.count(".") + 1)
