"""Our own log: structlog to stderr, JSON unless a person is watching, never a secret in it."""

import logging
import sys
from collections.abc import Callable

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


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
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    # httpx logs whole URLs at INFO, and a webhook's URL is its secret.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    for name in ("httpx", "httpcore", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
