"""How an attempt at delivery can end: a closed set, each failure with its verdict."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What to do about a failure (field's classes A to D)."""

    RETRY = "retry"  # the same again later
    REPAIR = "repair"  # once more as plain text
    DEAD = "dead"  # this destination will not take it; stop and say so


class FailureKind(StrEnum):
    """Why an attempt failed. A closed set: it is a metric label."""

    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    CONNECT = "connect"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    PAYLOAD = "payload"
    AUTH = "auth"
    DESTINATION = "destination"
    TLS = "tls"
    EXPIRED = "expired"  # its time was over before an attempt could be made
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Sent:
    """Accepted by the other side. `reference` is its own name for the message, e.g. Slack's ts."""

    reference: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """Not accepted, or nobody knows (`ambiguous`: the connection was lost after the body went out).

    `detail` is one scrubbed line for the log; `retry_after` the server's own wish in seconds.
    """

    kind: FailureKind
    verdict: Verdict
    detail: str
    retry_after: float | None = None
    ambiguous: bool = False


Outcome = Sent | Failed
