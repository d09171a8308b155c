"""What an ordinary event says about itself, decoded without making the same labels over and over.

Most lines of a log carry one of a few dozen labels. Once a decoder knows them it hands out the
text it has instead of making a new one for each line, which also has its hash already: with
counting, 0.42 us a line instead of 0.51.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from sidecar.parse.event import STANDARD_FIELDS, UNKNOWN_PROVIDER
from sidecar.parse.quick import MARKER, NOT_JSON, QUOTES

# Of each field. A log with more has no few dozen labels, and a decoder that knows few of them
# would only be asked in vain.
_MOST_LABELS = 200
_LONGEST = 200
_WORDS = ((b" None", b" null"), (b" True", b" true"), (b" False", b" false"))
_CALL = re.compile(rb' (?:Decimal|UUID)\("([^"]*)"\)')
# What replacing leaves behind in a label that held one of those, or began or ended within a call.
_TRACE = re.compile(r" null| true| false| \[$|^\]", re.MULTILINE)


class Head(msgspec.Struct, gc=False):
    """Labels and time. Stamps are RFC 3339, or the same without a zone, and nothing else."""

    webhook_provider: str
    event_type: str
    status: str
    timestamp: datetime


NO_HEAD = Head("", "", "", datetime.min)  # noqa: DTZ901 - never looked at
_Decode = Callable[[bytes], Head]


class Heads:
    """Decodes heads. With `marked`, only of objects that say they are a WEBHOOK_METRIC."""

    def __init__(self, *, marked: bool) -> None:
        self._marked = marked
        self._labels: dict[str, set[str]] = {name: {""} for name in STANDARD_FIELDS}
        self._any = _decoder(dict.fromkeys(STANDARD_FIELDS, str), marked=marked)
        self._known = self._decoder_of_known()

    def read(self, sources: Sequence[bytes]) -> list[Head]:
        """Return the head of each JSON object. Raises one of NOT_JSON where one has none."""
        try:
            return list(map(self._known, sources))
        except NOT_JSON:
            heads = list(map(self._any, sources))
        self._learn(heads)
        return heads

    def read_singly(self, sources: Sequence[bytes]) -> tuple[list[Head], list[int]]:
        """Return the head of each object, JSON or repr, and the places of those that have none.

        A call for each, so that an odd one costs only itself.
        """
        heads: list[Head] = []
        odd: list[int] = []
        new: list[Head] = []
        for source in sources:
            text = source.translate(QUOTES) if source[1:2] == b"'" else source
            try:
                heads.append(self._known(text))
            except NOT_JSON:
                head = self._among_words(text)
                if head is None:
                    odd.append(len(heads))
                else:
                    new.append(head)
                heads.append(head or NO_HEAD)
        self._learn(new)
        return heads, odd

    def _among_words(self, text: bytes) -> Head | None:
        """Return the head of a repr, JSON's quotes given, that holds None, True, UUID or Decimal.

        They are replaced wherever they stand, also inside of texts. A call becomes a list, which
        is no label; a label that shows a trace of being changed is not taken.
        """
        for word, plain in _WORDS:
            text = text.replace(word, plain)
        try:
            head = self._any(_CALL.sub(rb' ["\1"]', text))
        except NOT_JSON:
            return None
        labels = f"{head.webhook_provider}\n{head.event_type}\n{head.status}"
        return None if _TRACE.search(labels) else head

    def _learn(self, heads: Iterable[Head]) -> None:
        """Let the decoder know the labels of `heads`, unless they are too many."""
        if self._known is self._any:
            return  # there were too many
        before = sum(map(len, self._labels.values()))
        for head in heads:
            for name, known in self._labels.items():
                label = getattr(head, name)
                if len(label) <= _LONGEST:
                    known.add(label)
        if max(map(len, self._labels.values())) > _MOST_LABELS:
            self._known = self._any
        elif sum(map(len, self._labels.values())) > before:
            self._known = self._decoder_of_known()

    def _decoder_of_known(self) -> _Decode:
        types = {name: Literal[tuple(known)] for name, known in self._labels.items()}
        return _decoder(types, marked=self._marked)


def _decoder(labels: dict[str, Any], *, marked: bool) -> _Decode:
    """Return a decoder of heads whose labels have these types."""
    fields: list[Any] = [
        ("event_type", labels["event_type"]),
        ("status", labels["status"]),
        ("timestamp", datetime),
        ("webhook_provider", labels["webhook_provider"], UNKNOWN_PROVIDER),
    ]
    if marked:
        fields.insert(0, ("metric_type", Literal[MARKER]))
    head: type[Any] = msgspec.defstruct("Head", fields, gc=False)
    return msgspec.json.Decoder(head).decode
