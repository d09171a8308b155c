"""Turns what the lines of one chunk hold into events, tallies and rejects."""

from collections.abc import Callable
from typing import Any

from sidecar.parse.blocks import Block
from sidecar.parse.event import (
    UNKNOWN_PROVIDER,
    Event,
    Parsed,
    Reject,
    RejectReason,
    Tally,
    Triple,
)
from sidecar.parse.quick import NOT_JSON
from sidecar.parse.record import Record
from sidecar.parse.repr import Unreadable

_MAX_TEXT = 200  # of event_type, status and webhook_provider: they become labels
_MAX_SAMPLE = 200
_AHEAD = 600.0  # seconds; beyond it, a clock is wrong or a unit misread (DESIGN: Time)


class Collector:
    """Gathers one chunk's outcome; `wanted` is asked once per triple."""

    def __init__(self, now: float, wanted: Callable[[Triple], bool]) -> None:
        self._now = now
        self._latest = now + _AHEAD
        self._wanted = wanted
        self._parsed = Parsed()
        self._tallies: dict[Triple, Tally] = {}  # of the triples nobody wants whole
        self._whole: set[Triple] = set()

    def take_block(self, block: Block) -> bool:
        """Take every event of `block`; False, with nothing taken, when one needs a closer look."""
        found = block.tallies()
        if found is None or not all(_fits(triple) for triple in found):
            return False
        if max(newest for _, newest in found.values()) > self._latest:
            return False
        for triple in found:
            if triple not in self._tallies and triple not in self._whole:
                self._admit(triple)
        try:
            self._parsed.events += block.events_of(self._whole & found.keys())
        except NOT_JSON:
            return False
        for triple, (count, newest) in found.items():
            if triple not in self._whole:
                tally = self._tallies[triple]
                tally.count += count
                tally.last_at = max(tally.last_at, newest)
        return True

    def add(self, record: Record, stamp: float | None) -> None:
        """Take a record as an event; `stamp` is its container's. Raises Unreadable."""
        fields = record.fields
        triple = (_provider(fields), _label(fields, "event_type"), _label(fields, "status"))
        tally = self._tallies.get(triple)
        if tally is None and triple not in self._whole:
            tally = self._admit(triple)
        at = self._at(record, stamp)
        if tally is None:
            self._event(triple, at, fields)
        else:
            self._tally(tally, at)

    def reject(self, reason: RejectReason, position: int, text: str) -> None:
        self._parsed.rejects.append(Reject(reason, position, text[:_MAX_SAMPLE]))

    def finish(self, lines: int) -> Parsed:
        parsed = self._parsed
        parsed.lines = lines
        parsed.tallies = {triple: tally for triple, tally in self._tallies.items() if tally.count}
        newest = [tally.last_at for tally in parsed.tallies.values()]
        newest += [event.at for event in parsed.events]
        parsed.last_at = max(newest, default=None)
        return parsed

    def _admit(self, triple: Triple) -> Tally | None:
        if self._wanted(triple):
            self._whole.add(triple)
            return None
        return self._tallies.setdefault(triple, Tally())

    def _tally(self, tally: Tally, at: float) -> None:
        if at > self._latest:
            at = self._settled(at)
        tally.count += 1
        if at > tally.last_at:  # noqa: PLR1730 - max() costs three times as much here
            tally.last_at = at

    def _event(self, triple: Triple, at: float, fields: dict[str, Any]) -> None:
        self._parsed.events.append(Event(*triple, self._settled(at), fields))

    def _at(self, record: Record, stamp: float | None) -> float:
        at = record.stated_instant()
        if at is None:
            at = record.surrounding_instant() if stamp is None else stamp
        return self._now if at is None else at

    def _settled(self, at: float) -> float:
        if at > self._latest:
            self._parsed.future += 1
            return self._now
        return at


def _fits(triple: Triple) -> bool:
    return all(0 < len(text) <= _MAX_TEXT for text in triple)


def _provider(fields: dict[str, Any]) -> str:
    """Return the provider, filling it in where it is missing, null or empty."""
    if fields.get("webhook_provider") in (None, ""):
        fields["webhook_provider"] = UNKNOWN_PROVIDER
    return _label(fields, "webhook_provider")


def _label(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None or value == "":
        raise Unreadable(RejectReason.MISSING_FIELD)
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise Unreadable(RejectReason.BAD_FIELD)
    return value
