"""Writes the host's WEBHOOK_METRIC lines. One file, Python 3.9 or newer, nothing else needed.

    from webhook_metric import configure, metric, webhook

    configure("/var/log/webhook/metrics.log")  # without a path, or never called: to stderr

    metric("invoice.payment_failed", "payment_failure", org_id=org.id, attempt_count=3)

    with webhook(event) as fields:  # received; then processed, or processing_error
        fields["org_id"] = handle(event)

Each line is a JSON object, in UTC, and one `os.write` at the end of the file, so that lines of any
number of processes stay whole; a file that was rotated is opened anew. Nothing here raises: what
cannot be written is counted (`lost`) and said on stderr. Python's logging has no part in it: no
level, filter or `disable_existing_loggers` of the host can drop a line.

With the environment variable WEBHOOK_METRIC_KEY_FILE each line ends with an HMAC-SHA256 under what
that file holds. A source of the sidecar with the same `key_file` takes only such lines.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timezone
from enum import Enum
from typing import Any

__all__ = ["configure", "lost", "metric", "webhook"]

KEY_FILE = "WEBHOOK_METRIC_KEY_FILE"
MAX_LINE = 16_384  # bytes: the length at which Docker cuts a line in pieces
_HMAC = "hmac"
_SIGNED = 78  # bytes that it adds
_LEFT_OUT = 20  # bytes of how many fields were
_STDERR = 2
_MAX_TEXT = 4_096  # characters of one text
_MAX_NUMBER = 2**63
_MAX_DEPTH = 6
_MAX_VALUES = 500
_MAX_EVENTS = 10_000  # whose attempts are remembered
_QUIET_SECONDS = 60.0  # between two complaints
# Names of fields that are never written, whole or behind a `_`: `clientSecret`, `smtp_password`.
_SECRET = re.compile(
    r"""(?:^|_)(?:access_?key|account_?key|account_number|api_?key|auth|authori[sz]ation|bank_account
    |basic_auth|bearer|broker_url|card_?number|cc|cc_number|cvc2?|cvv2?|connection_string|cookies?
    |credentials?|credit_card|csrf|database_url|dob|dsn|encryption_key|iban|jwt|master_?key
    |mfa_code|mnemonic|otp|pan|pass|passcode|passphrase|passwd|password|pem|pin|private_?key|pwd
    |routing_number|secret_?key|secrets?|security_code|seed|session(?:_?id|_key)?|sig|signature
    |signature_256|signing_?key|ssh_key|ssn|tokens?|webhook_url|xsrf)$
    |(?:apikey|dbpass|masterkey|passwd|password|privatekey|secret|secretkey|token|userpass)$""",
    re.VERBOSE,
)
# Ids of the provider's objects open nothing, and one is a session's.
_PUBLIC_ID = re.compile(r"cs_(?:(?:live|test)_)?[A-Za-z0-9]+")
_QUALIFIER = re.compile(r"(?:_?[0-9]+|_(?:value|hash|confirmation|confirm|pem|raw|encrypted))$")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class _Writer:
    """Appends lines to a file, or to stderr, and signs them if there is a key."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.lost = 0
        self._path = None if path is None else os.path.abspath(os.fspath(path))
        self._key = self._read_key()
        self._fd = _STDERR if path is None else -1
        self._file: tuple[int, int] | None = None  # device and inode of what is open
        self._torn = False  # the last write ended within its line
        self._unsaid = 0
        self._quiet_until = -math.inf
        self.renew_lock()

    def renew_lock(self) -> None:
        # A signal's handler may write while its own thread does.
        self._lock = threading.RLock()

    def write(self, fields: dict[str, Any]) -> None:
        """Write one line; raises nothing."""
        with self._lock:
            try:
                self._append(self._line(fields))
            except Exception as wrong:
                self._complain(wrong)

    def close(self) -> None:
        with self._lock:
            if self._path is not None and self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _line(self, fields: dict[str, Any]) -> bytes:
        most = MAX_LINE - (_SIGNED if self._key else 1)
        line = _encoded(fields)
        if len(line) > most:
            line = _encoded(_shortened(fields, most))
        if self._key:
            body = line[:-1]
            digest = hmac.new(self._key, body, hashlib.sha256).hexdigest()
            line = body + b', "hmac": "' + digest.encode() + b'"}'
        return line + b"\n"

    def _append(self, line: bytes) -> None:
        fd = self._descriptor()
        if self._torn:
            line = b"\n" + line
        written = os.write(fd, line)
        self._torn = written < len(line)
        if self._torn:
            raise OSError(f"{written} of {len(line)} bytes were written")

    def _descriptor(self) -> int:
        """Return what to write to: the file that lies at the path now."""
        if self._path is None:
            return _STDERR
        try:
            found = os.stat(self._path)
            if (found.st_dev, found.st_ino) == self._file:
                return self._fd
        except FileNotFoundError:
            pass
        # O_NONBLOCK: a pipe that nobody reads must not stop the host.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self._path, flags, 0o644)
        if self._fd >= 0:
            os.close(self._fd)
        found = os.fstat(fd)
        self._fd, self._torn = fd, False
        self._file = (found.st_dev, found.st_ino)
        return fd

    def _read_key(self) -> bytes:
        path = os.environ.get(KEY_FILE)
        if not path:
            return b""
        try:
            with open(path, "rb") as file:
                key = file.read()
        except OSError as wrong:
            _say(f"{KEY_FILE}: {path} cannot be read: {wrong.strerror}; lines are not signed")
            return b""
        key = key[:-1] if key.endswith(b"\n") else key
        key = key[:-1] if key.endswith(b"\r") else key
        if not key:
            _say(f"{KEY_FILE}: {path} is empty; lines are not signed")
        return key

    def _complain(self, wrong: Exception) -> None:
        self.lost += 1
        self._unsaid += 1
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            lines = "1 line" if self._unsaid == 1 else f"{self._unsaid} lines"
            where = "stderr" if self._path is None else self._path
            _say(f"{lines} not written to {where}: {wrong}")
            self._unsaid = 0


def _say(text: str) -> None:
    try:
        os.write(_STDERR, f"webhook_metric: {text}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass


class _Attempts:
    """How often this process has begun on each of the newest events."""

    def __init__(self) -> None:
        self._begun: OrderedDict[str, int] = OrderedDict()
        self.renew_lock()

    def renew_lock(self) -> None:
        self._lock = threading.RLock()

    def begin(self, event_id: str) -> int:
        with self._lock:
            count = self._begun.pop(event_id, 0) + 1
            self._begun[event_id] = count
            while len(self._begun) > _MAX_EVENTS:
                self._begun.popitem(last=False)
            return count


_attempts = _Attempts()
_writer: _Writer | None = None
_making = threading.RLock()


def configure(path: str | os.PathLike[str] | None = None) -> None:
    """Write to the file at `path` from now on, to stderr without one; read the key's file anew.

    The folder must be there. Raises nothing: each line says by itself that it cannot be written.
    """
    global _writer
    with _making:
        before, _writer = _writer, _Writer(path)
    if before is not None:
        before.close()


def lost() -> int:
    """Return how many lines could not be written since `configure`."""
    return _ready().lost


def metric(event_type: str, status: str, **fields: Any) -> None:
    """Write one line about a webhook: its type, what became of it, and whatever else is known.

    Fields whose names say that they hold a secret are left out, at any depth. A line longer than
    `MAX_LINE` bytes loses its largest fields, and says how many in `left_out`. Raises nothing.
    """
    _write(event_type, status, fields)


@contextmanager
def webhook(event: Any, **fields: Any) -> Iterator[dict[str, Any]]:
    """Say that `event` was received, then that it was processed, or why not.

    `event` is Stripe's, as an object or a dict. What is put into the dict that this returns stands
    in the last line. An exception goes on to the host, which should answer 500, so that the
    provider sends the event again. `attempt` counts in this process alone.
    """
    event_type, own = _facts(event)
    own.update(fields)
    _write(event_type, "received", own)
    added: dict[str, Any] = {}
    begun = time.monotonic()

    def end(status: str, **more: Any) -> None:
        more["duration_seconds"] = round(time.monotonic() - begun, 6)
        _write(event_type, status, {**own, **dict(list(added.items())), **more})

    try:
        yield added
    except BaseException as wrong:
        end("processing_error", error_type=type(wrong).__name__, error=_text(wrong))
        raise
    end("processed")


def _facts(event: Any) -> tuple[str, dict[str, Any]]:
    """Return the type of an event, and what else each of its lines says."""
    try:
        own = {name: _of(event, name) for name in ("created", "livemode", "api_version")}
        own = {name: value for name, value in own.items() if value is not None}
        own["event_id"] = event_id = _text(_of(event, "id") or "")
        own["attempt"] = _attempts.begin(event_id) if event_id else 1
        return _text(_of(event, "type") or "unknown"), own
    except Exception as wrong:  # an object that answers nothing
        _say(f"an event could not be read: {type(wrong).__name__}")
        return "unknown", {}


def _write(event_type: str, status: str, fields: Mapping[Any, Any]) -> None:
    try:
        line = {
            "metric_type": "WEBHOOK_METRIC",
            "webhook_provider": "stripe",
            "event_type": "",
            "status": "",
            "timestamp": datetime.now(timezone.utc).isoformat(timespec="microseconds"),
        }
        line.update(_Plain().fields(fields))
        line.update(
            metric_type="WEBHOOK_METRIC", event_type=_text(event_type), status=_text(status)
        )
        line.pop(_HMAC, None)
        _ready().write(line)
    except Exception as wrong:  # out of memory
        _say(f"a line was not made: {type(wrong).__name__}")


def _of(event: Any, name: str) -> Any:
    if isinstance(event, Mapping):
        return event.get(name)
    return getattr(event, name, None)


def _ready() -> _Writer:
    if _writer is None:
        with _making:
            if _writer is None:
                configure()
    assert _writer is not None  # noqa: S101 - for the types
    return _writer


def _after_fork() -> None:
    """Let go, in the child, of what another thread of the parent was holding."""
    global _making  # noqa: PLW0603 - the lock of `_writer`
    _making = threading.RLock()
    _attempts.renew_lock()
    if _writer is not None:
        _writer.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Plain:
    """Makes of any value what JSON has, bounded in depth and number, without secrets."""

    def __init__(self) -> None:
        self._left = _MAX_VALUES

    def fields(self, given: Mapping[Any, Any], depth: int = 1) -> dict[str, Any]:
        found = {}
        for key, value in list(given.items()):
            name = _text(key)
            if self._left > 0 and not _is_secret(name, value):
                found[name] = self._value(value, depth)
        return found

    def _value(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            return value if abs(value) < _MAX_NUMBER else _text(value)  # inf and nan are no JSON
        if isinstance(value, (datetime, date)):
            return value.isoformat()
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            return self.fields(value, depth + 1)
        if isinstance(value, (list, tuple, set, frozenset)) and depth < _MAX_DEPTH:
            return [self._value(item, depth + 1) for item in list(value)[: max(0, self._left)]]
        return _text(value)


def _text(value: Any) -> str:
    """Return the text of any value, cut; of one that has none, the name of its type."""
    try:
        text = str(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def _is_secret(name: str, value: Any) -> bool:
    spaced = _HUMP.sub("_", name[:200])
    plain = re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")
    while not _SECRET.search(plain) and (bare := _QUALIFIER.sub("", plain)) not in ("", plain):
        plain = bare
    if not _SECRET.search(plain):
        return False
    if plain.endswith("tokens") and isinstance(value, int):  # they are counted
        return False
    return not (isinstance(value, str) and _PUBLIC_ID.fullmatch(value))


def _encoded(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode("ascii")


_KEPT = ("metric_type", "webhook_provider", "event_type", "status", "timestamp", "event_id")
_MAX_KEPT = 256  # characters, of which each may become six


def _shortened(fields: dict[str, Any], most: int) -> dict[str, Any]:
    """Return `fields` without the largest of them, so that their line has `most` bytes."""
    kept = {
        name: value[:_MAX_KEPT] if name in _KEPT and isinstance(value, str) else value
        for name, value in fields.items()
    }
    sizes = {name: len(_encoded({name: value})) for name, value in kept.items()}
    left, left_out = sum(sizes.values()), 0
    for name in sorted(sizes.keys() - set(_KEPT), key=lambda name: sizes[name], reverse=True):
        if left + _LEFT_OUT <= most:
            break
        del kept[name]
        left -= sizes[name]
        left_out += 1
    return {**kept, "left_out": left_out}
