"""Watches in Slack for the reaction by which somebody takes a critical alert."""

import asyncio
from collections.abc import Callable

import structlog

from sidecar.clock import Clock
from sidecar.config.settings import Config
from sidecar.core import Core
from sidecar.daemon.loop import Pump, PumpStopped
from sidecar.daemon.pacing import InThread
from sidecar.matchers import Matcher
from sidecar.notify.group import Group
from sidecar.notify.model import ReceiverConfig
from sidecar.receivers.base import Failed, FailureKind, Verdict
from sidecar.rules.alert import Alert

# `reactions.get` takes 50 requests a minute (tier 3 of docs.slack.dev, rate limits).
SPACING_SECONDS = 2.0
EVERY_SECONDS = 5.0
# A token that must not ask is asked again after so long.
REFUSED_SECONDS = 3600.0
# Where Slack does not say for how long it wants to be left alone.
LIMITED_SECONDS = 30.0

_log = structlog.get_logger()


class Reactions:
    """Asks about each message that tells of what is critical and nobody has taken, by turns.

    `config` returns the configuration in force.
    """

    def __init__(
        self, pump: Pump, in_thread: InThread, config: Callable[[], Config], clock: Clock
    ) -> None:
        self._pump = pump
        self._in_thread = in_thread
        self._config = config
        self._clock = clock
        self._rests: dict[tuple[str, str], float] = {}  # until when its account is not asked

    async def run(self, stop: asyncio.Event) -> None:
        while not await self._clock.wait(stop, EVERY_SECONDS):
            for message, config in (await self._messages()).items():
                if self._rests.get(config.account(), 0.0) > self._clock.monotonic():
                    continue
                await self._look(message, config)
                if await self._clock.wait(stop, SPACING_SECONDS):
                    return

    async def _messages(self) -> dict[str, ReceiverConfig]:
        """Return the messages to ask about, each with the entry that posted it."""
        waiting = await self._in_thread(self._pump.core.notifier.unacked.waiting)
        found = ((message, self._entry(group)) for group, message, _ in waiting)
        return {message: entry for message, entry in found if entry is not None}

    def _entry(self, group: Group) -> ReceiverConfig | None:
        receiver = self._config().receivers.get(group.receiver)
        for entry in receiver.configs.get(group.to.integration, ()) if receiver else ():
            if group.to.name in entry.destinations():
                return entry if entry.acks else None
        return None

    async def _look(self, message: str, config: ReceiverConfig) -> None:
        acked = next((k.acked for k in self._config().kinds if isinstance(config, k.config)), None)
        found = await acked(config, message) if acked else None
        if isinstance(found, str):
            await self._take(message, found)
        elif isinstance(found, Failed):
            self._rest(config, found)

    def _rest(self, config: ReceiverConfig, failed: Failed) -> None:
        """Leave an account alone that asks for that, or refuses."""
        limited = failed.kind is FailureKind.RATE_LIMITED
        seconds = (failed.retry_after or LIMITED_SECONDS) if limited else 0.0
        if failed.kind is FailureKind.AUTH and failed.verdict is Verdict.PARK:
            seconds = REFUSED_SECONDS
            _log.warning("reactions_cannot_be_read", detail=failed.detail)
        if seconds:
            self._rests[config.account()] = self._clock.monotonic() + seconds

    async def _take(self, message: str, by: str) -> None:
        """Acknowledge all that fires and was told by a message."""
        now = self._clock.now()

        def take(core: Core) -> list[Alert]:
            told = [a for _, one, a in core.notifier.unacked.waiting() if one == message]
            for alert in told:
                these = [Matcher(name, "=", text) for name, text in alert.labels.items()]
                core.notifier.ack(these, core.redactor.text(by), "", now)
            return told

        try:
            for alert in await self._pump.between_steps(take):
                _log.info("acknowledged_by_reaction", alert=alert.name)
        except PumpStopped:
            return
