"""The rows of the state file, one struct a table, and the delta: what one step changes.

Pure code makes rows, `sidecar.store` writes them; a row's fields are its table's columns.
"""

from enum import StrEnum
from typing import ClassVar

import msgspec

# How a message in the outbox ends, as its `outcome` says; empty while it is on its way.
SENT = "sent"
DEAD = "dead"
EXPIRED = "expired"
WITHDRAWN = "withdrawn"  # there was nothing left to say
# Begins the `detail` of a row of which an attempt may have arrived unseen; it stays to the end.
AMBIGUOUS = "ambiguous: "


class Row(msgspec.Struct, frozen=True):
    """A row; writing it replaces the row with the same key."""

    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]]


class FileState(StrEnum):
    """Where a log file stands; stored in its row."""

    ACTIVE = "active"  # at its log's path
    ROTATED = "rotated"  # elsewhere, or unlinked; read until it is quiet
    DRAINED = "drained"  # read to its end and closed
    MISSING = "missing"  # not found, nothing has taken its place
    LOST = "lost"  # gone for good with bytes unread
    UNSEEN = "end unseen"  # gone while nobody held it: what was written last, nobody knows
    IGNORED = "ignored"  # history: written before there was anybody to read it
    COPY = "copy"  # it begins as another file that is known


LEFT_ALONE = (FileState.IGNORED, FileState.COPY)
FINISHED = (FileState.DRAINED, *LEFT_ALONE)
GIVEN_UP = (FileState.LOST, FileState.UNSEEN)


class FileRow(Row, frozen=True):
    """One log file. No text of it is kept: heads and tails are keyed hashes.

    `offset`: every byte before it is counted (decompressed bytes). `open_from` <= `offset`: where
    the oldest unfinished Docker or CRI line begins; after a restart the bytes between are read
    once more only to rebuild that line. `skip`: inside an over-long line, skip to its newline.
    `size` and `mtime_ns` are the file's own when the row was made: what was still unread, and
    which rotated files are younger.
    """

    table: ClassVar[str] = "files"
    key: ClassVar[tuple[str, ...]] = ("id",)
    id: int
    source: str
    log: str
    path: str
    dev: int
    ino: int
    head_len: int
    head_hash: bytes
    tail_len: int
    tail_hash: bytes
    offset: int
    open_from: int
    skip: bool
    state: str
    last_seen: float
    size: int = 0
    mtime_ns: int = 0


class SeriesRow(Row, frozen=True):
    """One series. `labels` is a JSON object with sorted keys; `value` a JSON number or, for a
    histogram, a JSON array of (bound, cumulative count) pairs, sum and count. `created` dates the
    first sample; of a gauge, the sample it shows. `touched`: the wall clock of its last change.
    """

    table: ClassVar[str] = "series"
    key: ClassVar[tuple[str, ...]] = ("name", "labels")
    name: str
    labels: str
    value: str
    created: float
    touched: float = 0.0


class RuleRow(Row, frozen=True):
    """A rule as last loaded; `since`: when this signature was first seen, absence starts there."""

    table: ClassVar[str] = "rules"
    key: ClassVar[tuple[str, ...]] = ("rule",)
    rule: str
    signature: str
    since: float


class RuleStateRow(Row, frozen=True):
    """What a rule remembers of one key; `packed` is the engine's own MessagePack."""

    table: ClassVar[str] = "rule_state"
    key: ClassVar[tuple[str, ...]] = ("rule", "by_key")
    rule: str
    by_key: str  # JSON array
    packed: bytes


class FloorsRow(Row, frozen=True):
    """What earlier versions stored of keys that were resolved, and of which nothing else was known.

    The rows are a log, read by rising `seq`; `packed` is the engine's own MessagePack.
    """

    table: ClassVar[str] = "floors"
    key: ClassVar[tuple[str, ...]] = ("seq",)
    seq: int
    packed: bytes


class JournalRow(Row, frozen=True):
    """What came to wait of rules' keys in one step, or a few small ones, on top of their states.

    The rows are a log, read by rising `seq`; `packed` is a checksum and MessagePack.
    """

    table: ClassVar[str] = "journal"
    key: ClassVar[tuple[str, ...]] = ("seq",)
    seq: int
    packed: bytes


class LogRow(Row, frozen=True):
    """What one step changed of the tables of keys and alerts, which are read with this on top.

    The rows are a log, read by rising `seq`; `packed` is compressed MessagePack.
    """

    table: ClassVar[str] = "log"
    key: ClassVar[tuple[str, ...]] = ("seq",)
    seq: int
    packed: bytes


class AlertRow(Row, frozen=True):
    """An alert that is pending or firing, or ended and remembered for its episode number.

    `packed` is MessagePack of the engine's record (labels, value, reached steps, redacted events).
    `evidence`: JSON of the line that tipped it, redacted; empty where none did.
    """

    table: ClassVar[str] = "alerts"
    key: ClassVar[tuple[str, ...]] = ("rule", "by_key")
    rule: str
    by_key: str
    episode: int
    state: str
    severity: str
    since: float
    deadline: float | None
    change: int
    packed: bytes
    evidence: str = ""


class GroupRow(Row, frozen=True):
    """A group of alerts under one route; `labels` JSON, `next_flush` wall clock or None.

    `sending`: the outbox row with its message that is on its way, empty when none is.
    `repeat_interval`, in seconds, is there for a sidecar of an earlier version.
    """

    table: ClassVar[str] = "groups"
    key: ClassVar[tuple[str, ...]] = ("id",)
    id: str
    receiver: str
    labels: str
    created: float
    next_flush: float | None
    repeat_interval: float = 0.0
    sending: str = ""


class MemberRow(Row, frozen=True):
    """An alert's place in a group, with what is still to be told there (`packed`: MessagePack)."""

    table: ClassVar[str] = "members"
    key: ClassVar[tuple[str, ...]] = ("group_id", "rule", "by_key")
    group_id: str
    rule: str
    by_key: str
    change: int
    packed: bytes


class ToldRow(Row, frozen=True):
    """Up to which change number a receiver was told about a group, and when."""

    table: ClassVar[str] = "told"
    key: ClassVar[tuple[str, ...]] = ("receiver", "group_id")
    receiver: str
    group_id: str
    change: int
    at: float
    reference: str


class CooldownRow(Row, frozen=True):
    """When a receiver was last told about an alert at a severity; outlives the alert's end."""

    table: ClassVar[str] = "cooldowns"
    key: ClassVar[tuple[str, ...]] = ("receiver", "rule", "by_key", "severity")
    receiver: str
    rule: str
    by_key: str
    severity: str
    at: float
    until: float


class SilenceRow(Row, frozen=True):
    """A silence: whose labels pass all `matchers` (a JSON array of texts) is not told meanwhile."""

    table: ClassVar[str] = "silences"
    key: ClassVar[tuple[str, ...]] = ("id",)
    id: str
    matchers: str
    starts_at: float
    ends_at: float
    created_by: str
    comment: str
    created: float


class AuditRow(Row, frozen=True):
    """One thing that happened to an alert; `subject`: its labels, a JSON object. Never changed."""

    table: ClassVar[str] = "audit"
    key: ClassVar[tuple[str, ...]] = ("seq",)
    seq: int
    at: float
    kind: str
    subject: str
    detail: str


class OutboxRow(Row, frozen=True):
    """One message for one destination. `payload` is the JSON of a Notification.

    `outcome` is empty while it is due, then one of the above. `claimed_at`: an attempt is under
    way; found so at start, that attempt's end is unknown (`ambiguous`). `plain`: the other side
    refused the rendered payload, so it is sent as plain text from now on. `topic`: severity and
    name of the alert that it tells first; those of one destination take turns by that.
    """

    table: ClassVar[str] = "outbox"
    key: ClassVar[tuple[str, ...]] = ("id",)
    id: str
    receiver: str
    integration: str
    destination: str
    group_id: str
    created: float
    attempt: int
    claimed_at: float | None
    next_at: float
    expires_at: float
    outcome: str
    detail: str
    reference: str
    payload: str
    plain: bool = False
    topic: str = ""


class ReceivedRow(Row, frozen=True):
    """An event that the provider itself told of, by its id: it counts once.

    `at`: the wall clock of its receipt; it is forgotten 30 days later. `told` is empty, or while an
    event is undelivered what has to be known to say that it was delivered after all.
    """

    table: ClassVar[str] = "received"
    key: ClassVar[tuple[str, ...]] = ("source", "id")
    source: str
    id: str
    at: float
    told: str = ""


class MetaRow(Row, frozen=True):
    """A named fact about the state file: hash key, first start, change counter and such."""

    table: ClassVar[str] = "meta"
    key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    value: str


STATE_ROWS = tuple(Row.__subclasses__())  # what a sidecar that is alone keeps, in tables or a file


class BatchRow(Row, frozen=True):
    """Events that rules need, of one step of a host, until they are judged.

    `step` rises by one; `packed` is compressed MessagePack of redacted events.
    """

    table: ClassVar[str] = "batches"
    key: ClassVar[tuple[str, ...]] = ("host", "step")
    host: str
    step: int
    packed: bytes


class BeatRow(Row, frozen=True):
    """How far a host has read; `step`: of its last batch.

    `reached`: up to which event time, None where no event says so. `caught_up`: its logs are read
    to their ends. `here`: it has not stopped in order.
    """

    table: ClassVar[str] = "beats"
    key: ClassVar[tuple[str, ...]] = ("host",)
    host: str
    step: int
    reached: float | None
    caught_up: bool
    here: bool = True


class JudgedRow(Row, frozen=True):
    """How far a host is judged: all batches up to `step`, and of the next one `taken` events."""

    table: ClassVar[str] = "judged"
    key: ClassVar[tuple[str, ...]] = ("host",)
    host: str
    step: int
    taken: int = 0


class OrderRow(Row, frozen=True):
    """What somebody orders on one host, and what whoever judges answered; empty until then."""

    table: ClassVar[str] = "orders"
    key: ClassVar[tuple[str, ...]] = ("id",)
    id: str
    at: float
    said: str  # JSON
    answer: str = ""  # JSON


FLEET_ROWS: tuple[type[Row], ...] = (BatchRow, BeatRow, JudgedRow, OrderRow)


class Gone(msgspec.Struct, frozen=True):
    """A row to delete: its struct type and the values of its key."""

    row: type[Row]
    key: tuple[str | int, ...]


class Delta(msgspec.Struct):
    """All that one step changes, written in one transaction: first the deletions, then the rows.

    A later row with the same key wins over an earlier one.
    """

    rows: list[Row] = msgspec.field(default_factory=list)
    gone: list[Gone] = msgspec.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.rows or self.gone)

    def extend(self, other: "Delta") -> None:
        self.rows += other.rows
        self.gone += other.gone
