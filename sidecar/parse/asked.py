"""The fields of an object that somebody asks for, or all of them."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from sidecar.parse.event import IS_NULL, OWN_PREFIX, UNKNOWN_PROVIDER, field_value
from sidecar.parse.objects import NOT_JSON, QUOTES, bounded_int, fraction, read_whole
from sidecar.parse.record import bounded

_UNBOUNDED = {int, dict, list}  # what `bounded` may have to cut
_decode_any = msgspec.json.Decoder(dict[str, Any], float_hook=fraction).decode


def fields_of(source: bytes) -> dict[str, Any]:
    fields = read_whole(source) if source[1:2] == b"'" else _decode_any(source)
    if not _UNBOUNDED.isdisjoint(map(type, fields.values())):
        bounded(fields)
    fields.setdefault("webhook_provider", UNKNOWN_PROVIDER)
    return fields


class Asked:
    """Takes the fields of some names out of objects, without making anything of the others."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(name for name in names if not name.startswith(OWN_PREFIX))
        # A dotted name is that of a field, or leads into one.
        own = sorted({*self._names, *(name.partition(".")[0] for name in self._names)})
        fields = [
            (f"f{n}", Any, msgspec.field(default=msgspec.UNSET, name=name))
            for n, name in enumerate(own)
        ]
        wanted = msgspec.defstruct("Asked", fields, gc=False)
        self._decode = msgspec.json.Decoder(wanted, float_hook=fraction).decode
        self._decode_again = msgspec.json.Decoder(wanted).decode
        self._places = {name: place for place, name in enumerate(own)}

    def fields_of(self, sources: Sequence[bytes]) -> dict[str, list[Any] | None]:
        """Return the values of each name, as `Event.get` gives them. Raises one of NOT_JSON.

        None stands for those of a name of which no object holds anything.
        """
        if not self._names:
            return {}
        if any(source[1:2] == b"'" for source in sources):
            found = map(self._of_one, sources)
        else:
            found = map(self._decode, sources)
        columns = list(zip(*map(msgspec.structs.astuple, found), strict=True))
        return {name: self._column(name, columns) for name in self._names}

    def _of_one(self, source: bytes) -> Any:
        if source[1:2] != b"'":
            return self._decode(source)
        try:
            # Without those two, quotes are all that a repr of texts and numbers has of its own.
            if b'"' not in source and b"\\" not in source:
                return self._decode(source.translate(QUOTES))
        except NOT_JSON:
            pass
        return self._decode_again(msgspec.json.encode(fields_of(source)))

    def _column(self, name: str, columns: Sequence[Sequence[Any]]) -> list[Any] | None:
        column = columns[self._places[name]]
        top, dot, rest = name.partition(".")
        absent = column.count(msgspec.UNSET) == len(column)
        if absent and not dot:
            return None
        if dot:
            own = columns[self._places[top]]
            if absent and _FLAT.issuperset(map(type, own)):
                return _of_flat(rest, own)
            return [_led_to(name, *one) for one in zip(column, own, strict=True)]
        kinds = set(map(type, column))
        if kinds == {int}:
            return list(map(bounded_int, column))
        return list(column) if kinds <= _PLAIN else list(map(_plain, column))


_PLAIN = {str, float, bool, type(None)}
_FLAT = {*_PLAIN, int, msgspec.UnsetType}  # values with nothing inside of them


def _of_flat(rest: str, values: Sequence[Any]) -> list[Any] | None:
    """Return what a name's `rest` behind its first dot gives for values that hold no others."""
    is_asked = rest.partition(".")[0] == IS_NULL
    if not is_asked or values.count(msgspec.UNSET) == len(values):
        return None
    return [None if value is msgspec.UNSET else value is None for value in values]


def _plain(value: Any) -> Any:
    if value is msgspec.UNSET:
        return None
    return bounded([value])[0] if type(value) in _UNBOUNDED else value


def _led_to(name: str, value: Any, of_top: Any) -> Any:
    """Return what a dotted name gives: the field of that name, or what it leads to."""
    top = name.partition(".")[0]
    fields = {} if of_top is msgspec.UNSET else {top: of_top}
    return field_value(fields, name) if value is msgspec.UNSET else _plain(value)
