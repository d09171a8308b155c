"""Our own log, and what is made of each line, for who asks by `--log-level debug`."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog
from msgspec.structs import replace
from structlog.typing import EventDict, Processor, WrappedLogger

from sidecar.config.settings import Config
from sidecar.parse.event import Chunk, Parsed
from sidecar.parse.parser import Parser
from sidecar.secret import printable

LINES_A_SECOND = 20
_SHOWN = 500
_log = structlog.get_logger()


def is_debug() -> bool:
    """Return whether the log is to say all that it can."""
    enabled: bool = _log.is_enabled_for(logging.DEBUG)
    return enabled


class LineLog:
    """Logs of lines what they are read as, at most twenty a second; of the rest, how many.

    Each is parsed once more, by itself, so that the reading proper stays as it is.
    """

    def __init__(self, config: Config, monotonic: Callable[[], float]) -> None:
        self._patterns = config.patterns
        self._monotonic = monotonic
        self._since = monotonic()
        self._room = LINES_A_SECOND
        self._passed = 0

    def __call__(self, chunk: Chunk, now: float) -> None:
        for line in chunk.data.splitlines(keepends=True):
            if self._may():
                parser = Parser(self._patterns)
                parsed = parser.parse(replace(chunk, data=line), now=now, wanted=lambda _: False)
                text = line[:_SHOWN].decode(errors="replace").rstrip("\n")
                _log.debug("line", log=chunk.log, line=text, **made(parsed))

    def _may(self) -> bool:
        if (at := self._monotonic()) - self._since >= 1.0:
            if self._passed:
                _log.debug("lines_not_shown", lines=self._passed)
            self._since, self._room, self._passed = at, LINES_A_SECOND, 0
        self._room -= 1
        self._passed += self._room < 0
        return self._room >= 0


def made(parsed: Parsed) -> dict[str, Any]:
    """Return in words what a line was read as."""
    for provider, event_type, status in parsed.tallies:
        return {"read_as": "event", "event_type": event_type, "status": status, "of": provider}
    if parsed.rejects:
        return {"read_as": "rejected", "reason": parsed.rejects[0].reason.value}
    if parsed.foreign:
        return {"read_as": "foreign", "reason": parsed.foreign[0].reason.value}
    if parsed.obscure:
        return {"read_as": "not understood", "reason": parsed.obscure[0].reason.value}
    if parsed.open_from is not None:
        return {"read_as": "a piece of a line"}
    return {"read_as": "no event"}


class _Stderr:
    """Where the log goes. A full disk or a reader that is gone costs lines, never the daemon."""

    def write(self, text: str) -> None:
        # Past sys.stderr, which would keep what it could not write and fail again at the exit.
        with suppress(OSError):
            os.write(2, text.encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """Nothing is kept back."""


def configure_log(*, redact: Callable[[str], str], level: int = logging.INFO) -> None:
    """Set up our own log: structlog to stderr, JSON unless a person is watching.

    `redact` scrubs every text before it is written: there is never a secret in it.
    """
    watched = sys.stderr.isatty()

    def scrub(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        return {k: redact(v) if isinstance(v, str) else v for k, v in event.items()}

    def escape(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        for key, value in event.items():  # JSON escapes by itself, a terminal is steered
            lines = str(value).split("\n") if key == "exception" else [str(value)]
            event[key] = "\n".join(map(printable, lines))
        return event

    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        scrub,
        *(
            (escape, structlog.dev.ConsoleRenderer())
            if watched
            else (structlog.processors.JSONRenderer(),)
        ),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Stderr())),
        cache_logger_on_first_use=False,
    )
    # httpx logs whole URLs at INFO, and a webhook's URL is its secret.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    for name in ("httpx", "httpcore", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
