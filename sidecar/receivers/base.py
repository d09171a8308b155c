"""What makes a kind of receiver, how an attempt at delivery can end, and what is said of it.

Outcomes are a closed set, each failure with its verdict. What is said about one holds no secret
and no address, and is one short line.
"""

import os
import re
import socket
import ssl
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib import resources
from pathlib import PurePath
from typing import Any, Generic, Protocol, TypeVar

from sidecar.notify.model import Notification, ReceiverConfig
from sidecar.render.renderer import Rendering
from sidecar.secret import Secret


class Verdict(StrEnum):
    """What to do about a failure."""

    RETRY = "retry"  # the same again later
    REPAIR = "repair"  # once more as plain text
    PARK = "park"  # somebody has to mend something: slowly again, until they have
    DEAD = "dead"  # nobody can be asked any more


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
    OWNER = "owner"  # of an organisation: not known, or wants no mail
    EXPIRED = "expired"  # its time was over before an attempt could be made
    INTERNAL = "internal"  # a fault of ours
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

C = TypeVar("C", bound=ReceiverConfig)
P = TypeVar("P")
C_contra = TypeVar("C_contra", bound=ReceiverConfig, contravariant=True)
P_contra = TypeVar("P_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Rendered(Generic[P]):
    """A message for one destination: what is sent, and what a person reads of it.

    `subject` is empty where the kind has none.
    """

    payload: P
    text: str
    subject: str = ""


class Render(Protocol[C_contra, P]):
    """Makes a message; plain text alone when `plain`, for when the other side refused more."""

    def __call__(
        self, config: C_contra, rendering: Rendering, /, *, plain: bool
    ) -> Rendered[P]: ...


class Send(Protocol[C_contra, P_contra]):
    """Makes one attempt. What the other side does is an outcome and never raises."""

    async def __call__(
        self, config: C_contra, payload: P_contra, told: Notification, /
    ) -> Outcome: ...


class Acked(Protocol[C_contra]):
    """Asks whether somebody has acknowledged a message where it stands; returns that person's name.

    Else the outcome of asking, as of any call.
    """

    async def __call__(self, config: C_contra, message: str, /) -> str | Outcome: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind(Generic[C, P]):
    """A kind of receiver: all that others need to know of it. `receivers.KINDS` lists them.

    `name` is stored in rows and stands in metrics as `integration`; `section` is its key in a
    receiver, `doc` says what it lists. The keys of `global` that it falls back on are those its
    config declares so. `at_once`: attempts under way at once, over all its destinations.
    `connect` imports what sends and returns its connections, which are open inside a block.
    `acked`: for kinds whose messages can be acknowledged where they stand.

    Files that end in `.j2` beside the config are its shipped templates.
    """

    name: str
    section: str
    doc: str
    config: type[C]
    at_once: int
    render: Render[C, P]
    connect: Callable[[], AbstractAsyncContextManager[Send[C, P]]]
    acked: Acked[C] | None = None

    def templates(self) -> dict[str, str]:
        """Return the shipped templates: base name -> source."""
        folder = resources.files(sys.modules[self.config.__module__].__package__ or "")
        files = (file for file in folder.iterdir() if file.name.endswith(".j2"))
        return {file.name: file.read_text(encoding="utf-8") for file in files}


AnyKind = Kind[Any, Any]


def rfc3339(at: float) -> str:
    """Return an instant as `2026-11-02T08:20:06.500Z`, one that no calendar holds as its start."""
    try:
        found = datetime.fromtimestamp(at, UTC)
    except (OverflowError, OSError, ValueError):
        found = datetime.fromtimestamp(0, UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


HIDDEN = "***"
_LONGEST = 200
_ADDRESS = re.compile(r"[^\s<>\"'(),:;]+@[^\s<>\"'(),:;]+")
# A run that mixes letters and digits at length is rather a token than a word.
_TOKEN = re.compile(r"(?=[A-Za-z+/=_-]*\d)(?=[\d+/=_-]*[A-Za-z])[A-Za-z0-9+/=_-]{20,}")


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` as one printable line without `secrets`, mail addresses and tokens."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _TOKEN.sub(HIDDEN, _ADDRESS.sub(HIDDEN, text))
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:_LONGEST]


async def with_new_secret(
    attempt: Callable[[], Awaitable[Outcome]], *secrets: Secret | None
) -> Outcome:
    """Make an attempt; where it is not let in and a secret's file has a new one, once more."""
    outcome = await attempt()
    refused = isinstance(outcome, Failed) and outcome.kind is FailureKind.AUTH
    renewed = [_is_new(secret) for secret in secrets if refused and secret is not None]
    return await attempt() if any(renewed) else outcome


def _is_new(secret: Secret) -> bool:
    try:
        return secret.refresh()
    except OSError:
        return False


def unexpected(error: Exception) -> Failed:
    """Return the failure of an attempt that raised: the exception's type and where it was raised.

    Its text is left out: it may hold a URL or what a log said.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {PurePath(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    detail = f"unexpected {type(error).__name__}{where}"
    return Failed(FailureKind.INTERNAL, Verdict.RETRY, scrub(detail))


def network_reason(error: BaseException) -> str:
    """Return why a connection failed, in the system's words; never an exception's own text.

    Those of HTTP clients may hold the whole URL, which for Slack is the secret.
    """
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"certificate not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS handshake failed: {cause.reason or 'protocol error'}"
        if isinstance(cause, socket.gaierror):
            return "host name not found"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
    return "connection failed"


def is_tls(error: BaseException) -> bool:
    """Say whether `error` comes from TLS rather than from the network below it."""
    return any(isinstance(cause, ssl.SSLError) for cause in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Go through an exception, what it groups and what caused it, each once."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            waiting.extend(cause.exceptions)
        deeper = cause.__cause__ or cause.__context__
        if deeper is not None:
            waiting.append(deeper)
