"""The heartbeat: a service outside is told that all is well, and notices when it is not told.

In the style of Healthchecks: a POST to `url` while reading, judging and delivering are all fresh,
else one to `url/fail` that says what is not. A daemon that is dead or hangs tells nothing.
"""

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import msgspec
import structlog

from sidecar.clock import Clock
from sidecar.config.settings import Config
from sidecar.receivers.base import Failed
from sidecar.receivers.http import client, post

# What goes on by itself every second or so, and has not for this long, hangs.
FRESH_SECONDS = 60.0
START_SECONDS = 5.0  # in which all begins
LOOK_SECONDS = 30.0  # at a configuration without a heartbeat
# Problems of the sidecar's own that mean that an alert might not reach anybody.
KINDS = ("log_unreadable", "lag", "outbox_stuck")
_log = structlog.get_logger()


def trouble(ages: dict[str, float | None], problems: list[str]) -> str:
    """Return what is not fresh or goes wrong, an empty text where all is well.

    `ages`: for each thing that has to go on, the seconds since it last did, None for never.
    """
    old = [name for name, age in ages.items() if age is None or age > FRESH_SECONDS]
    said = [f"{name} hangs" for name in old] + [name for name in problems if name in KINDS]
    return ", ".join(said)


def fail_url(url: str) -> str:
    """Return where trouble is told of: `/fail` behind the path."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/fail"))


class Heartbeat:
    """Pings as often as the configuration says; `state` returns what is wrong at present."""

    def __init__(
        self, config: Callable[[], Config], clock: Clock, state: Callable[[], str]
    ) -> None:
        self._config = config
        self._clock = clock
        self._state = state
        self._failed = ""

    async def run(self, stop: asyncio.Event) -> None:
        await self._clock.wait(stop, START_SECONDS)
        async with client() as made:
            while not stop.is_set():
                config = self._config()
                if (beat := config.heartbeat) is None or beat.url is None:
                    await self._clock.wait(stop, LOOK_SECONDS)
                    continue
                wrong, url = self._state(), beat.url.reveal()
                body = msgspec.json.encode({"trouble": wrong} if wrong else {})
                target = fail_url(url) if wrong else url
                outcome = await post(made, target, body, by=config.http_config)
                self._note(outcome.detail if isinstance(outcome, Failed) else "")
                await self._clock.wait(stop, beat.interval)

    def _note(self, failed: str) -> None:
        if failed != self._failed:
            self._failed = failed
            log = _log.warning if failed else _log.info
            log("heartbeat_failed" if failed else "heartbeat_again", detail=failed)
