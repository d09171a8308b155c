"""Our own log: structlog to stderr, JSON unless a person is watching, never a secret in it."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


class _Stderr:
    """Where the log goes. A full disk or a reader that is gone costs lines, never the daemon."""

    def write(self, text: str) -> None:
        # Past sys.stderr, which would keep what it could not write and fail again at the exit.
        with suppress(OSError):
            os.write(2, text.encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """Nothing is kept back."""


def configure(*, redact: Callable[[str], str], level: int = logging.INFO) -> None:
    """Set up logging for the process. `redact` scrubs every text before it is written."""

    def scrub(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        return {k: redact(v) if isinstance(v, str) else v for k, v in event.items()}

    watched = sys.stderr.isatty()
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        scrub,
        structlog.dev.ConsoleRenderer() if watched else structlog.processors.JSONRenderer(),
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
