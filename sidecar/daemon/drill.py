"""The drill: an alert made to fire on purpose, told to the real receivers, and ended at once.

What is told of it is on record before it is sent: whoever heard that it fires hears that it ended,
also where the process dies in between.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import structlog

from sidecar.clock import Clock
from sidecar.config.settings import Config
from sidecar.core import Core
from sidecar.daemon.loop import Pump, PumpStopped
from sidecar.daemon.pacing import InThread, patient
from sidecar.daemon.telemetry import Telemetry
from sidecar.deliver.worker import Delivery, Worker, delivery_to
from sidecar.notify.model import OWNER, Notification
from sidecar.receivers.base import Failed, FailureKind, Outcome, Sent, Verdict, unexpected
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.rows import MetaRow
from sidecar.simulate.drill import Drill, Undrillable
from sidecar.store.store import Store
from sidecar.web.fault import Refusal

ROW = "drill"
START_SECONDS, LOOK_SECONDS = 0.2, 30.0
_TRIES = 50
LATE_SECONDS = 3600.0  # a drill that is due for longer was missed
HELD_SECONDS = 300.0  # until one that a `time_interval` held back is tried again
LONGEST_SEND = 20.0  # of one round of messages; who asks waits for two
_log = structlog.get_logger()
_To = tuple[str, str, str]  # receiver, kind and destination


class Last(msgspec.Struct, frozen=True):
    """The last drill: of which alert, when (wall clock), and what failed, empty if nothing did.

    `open`: the messages that it ended, which are not known to be sent.
    """

    alert: str
    at: float
    failed: str = ""
    open: list[Notification] = []


class Drills:
    """Makes drills, one at a time: when it is asked to, and as often as `drill` says."""

    def __init__(
        self,
        *,
        config: Callable[[], Config],
        worker: Worker,
        pump: Pump,
        store: Store,
        in_thread: InThread,
        clock: Clock,
        telemetry: Telemetry,
        sends: bool,
    ) -> None:
        self._config = config
        self._worker = worker
        self._pump = pump
        self._store = store
        self._in_thread = in_thread
        self._clock = clock
        self._telemetry = telemetry
        self._sends = sends
        self._one = asyncio.Lock()
        self._last: Last | None = None
        self._held_back = ""  # why the last one told nobody
        self._not_before = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """End what the last process left open, then make each drill when it is due."""
        with suppress(PumpStopped):
            await self._begin(stop)
            while not stop.is_set():
                await self._look()
                await self._clock.wait(stop, LOOK_SECONDS)

    async def _begin(self, stop: asyncio.Event) -> None:
        rows = await patient(self._in_thread, self._clock, lambda: self._store.load(MetaRow))
        found = next((row.value for row in rows if row.name == ROW), None)
        last = None if found is None else msgspec.json.decode(found, type=Last)
        self._last = last
        self._tell()
        while not (self._worker.senders or await self._clock.wait(stop, START_SECONDS)):
            pass
        if last is not None and last.open and self._worker.senders:
            async with self._one:
                await self._end_open(last)

    async def _look(self) -> None:
        settings, now = self._config().drill, self._clock.now()
        if settings is None or not self._sends:
            self._telemetry.drilled("", "")
            return
        last = self._last if self._last and self._last.alert == settings.alert else None
        due = now if last is None else min(last.at + settings.every, now + settings.every)
        if max(due, self._not_before) > now:
            return
        if now - due > LATE_SECONDS and not self._held_back:
            self._telemetry.drilled(settings.alert, "missed: it was due an hour ago and more")
            self._pump.wake()
        try:
            await self.make(settings.alert)
            self._not_before = now + HELD_SECONDS if self._held_back else 0.0
        except Refusal as refused:
            await self._write(Last(settings.alert, now, failed=str(refused)))
            self._tell()

    async def make(self, alert: str) -> dict[str, Any]:
        """Make one; return its stages, each with its seconds, and whether all went well."""
        for _ in range(_TRIES):  # they are opened once the first step is made
            if self._worker.senders or not self._sends:
                break
            await self._clock.wait(asyncio.Event(), START_SECONDS)
        if not self._worker.senders:
            why = "it has not begun to send" if self._sends else "it sends nothing (--shadow)"
            raise Refusal(503, f"no drill: {why}")
        async with self._one:
            return await self._make(alert)

    async def _make(self, alert: str) -> dict[str, Any]:
        config, now = self._config(), self._clock.now()
        stages = _Stages(self._clock.monotonic)
        drill = Drill(config, alert, now)
        try:
            made = await asyncio.to_thread(drill.fire)
        except Undrillable as cannot:
            raise Refusal(400, str(cannot)) from cannot
        fired = [one for one in made if one.destination != OWNER]  # no customer is drilled
        for one in drill.stages:
            stages.note(one.stage, one.said)
        ends = await asyncio.to_thread(drill.end)
        self._held_back = "" if fired else drill.held_back
        to = ", ".join(" ".join(_to(one)) for one in fired)
        nobody = f"nobody is told now: {self._held_back}" if self._held_back else "nobody is told"
        stages.note("route", to or nobody, ok=bool(to or self._held_back))
        if self._held_back:
            return {"alertname": alert, "ok": True, "stages": stages.found}
        await self._write(Last(alert, now, "the process ended in the middle of it", ends))
        self._rendered(fired, config, stages)
        references = await self._told(fired, config, stages, "send")
        ends = [_belonging(one, references, config) for one in ends]
        await self._told(ends, config, stages, "end")
        await self._write(Last(alert, now, stages.failed))
        _log.info("drill", alert=alert, failed=stages.failed)
        self._tell()
        return {"alertname": alert, "ok": not stages.failed, "stages": stages.found}

    def _rendered(
        self, messages: Sequence[Notification], config: Config, stages: "_Stages"
    ) -> None:
        renderer = Renderer(config.templates, Redactor(config.redact), config.origin)
        kinds = {kind.name: kind for kind in config.kinds}
        for told in messages:
            rendering = renderer.rendering(told)
            entry = config.receivers[told.receiver].configs[told.integration][told.index]
            kinds[told.integration].render(entry, rendering, plain=False)
            what = rendering.fault or "filled"
            stages.note("render", f"{' '.join(_to(told))}: {what}", ok=not rendering.fault)

    async def _told(
        self, messages: Sequence[Notification], config: Config, stages: "_Stages", stage: str
    ) -> dict[_To, str]:
        """Send the messages all at once and note each answer; return what they are called there."""
        renderer = Renderer(config.templates, Redactor(config.redact), config.origin)
        references: dict[_To, str] = {}

        async def send(told: Notification) -> None:
            outcome = await self._outcome(told, renderer, config)
            if isinstance(outcome, Sent):
                references[_to(told)] = outcome.reference
            answer = f"{' '.join(_to(told))}: {_said(outcome)}"
            stages.note(stage, answer, ok=isinstance(outcome, Sent))

        await asyncio.gather(*map(send, messages))
        return references

    async def _outcome(self, told: Notification, renderer: Renderer, config: Config) -> Outcome:
        delivery = delivery_to(told, config.receivers, {kind.name: kind for kind in config.kinds})
        if isinstance(delivery, Failed):
            return delivery
        try:
            async with asyncio.timeout(LONGEST_SEND):
                outcome = await self._sent(delivery, renderer, plain=False)
                again = isinstance(outcome, Failed) and outcome.verdict is Verdict.REPAIR
                return await self._sent(delivery, renderer, plain=True) if again else outcome
        except TimeoutError:
            return Failed(FailureKind.TIMEOUT, Verdict.RETRY, f"no answer in {LONGEST_SEND:g} s")
        except Exception as error:  # noqa: BLE001 - whatever rendering or sending raises
            return unexpected(error)

    async def _sent(self, delivery: Delivery, renderer: Renderer, *, plain: bool) -> Outcome:
        told = delivery.notification
        rendered = delivery.kind.render(delivery.config, renderer.rendering(told), plain=plain)
        send = self._worker.senders[delivery.kind.name]
        return await send(delivery.config, rendered.payload, told)

    async def _end_open(self, last: Last) -> None:
        """Tell the ends that the last process did not come to tell."""
        stages = _Stages(self._clock.monotonic)
        await self._told(last.open, self._config(), stages, "end")
        await self._write(Last(last.alert, last.at, last.failed))

    async def _write(self, last: Last) -> None:
        row = MetaRow(name=ROW, value=msgspec.json.encode(last).decode())

        def note(core: Core) -> None:
            core.once.append(row)

        self._last = last
        await self._pump.between_steps(note)

    def _tell(self) -> None:
        settings, last = self._config().drill, self._last
        if settings is not None and last is not None and last.alert == settings.alert:
            self._telemetry.drilled(last.alert, last.failed)
            self._pump.wake()


def _to(told: Notification) -> _To:
    return (told.receiver, told.integration, told.destination)


def _belonging(told: Notification, references: Mapping[_To, str], config: Config) -> Notification:
    """Return an end as news of the message that told the beginning, where there are threads."""
    reference = references.get(_to(told), "")
    configs = config.receivers[told.receiver].configs[told.integration]
    if not reference or not configs[told.index].threads:
        return told
    notices = [msgspec.structs.replace(one, reference=reference) for one in told.notices]
    return msgspec.structs.replace(told, notices=notices)


def _said(outcome: Outcome) -> str:
    match outcome:
        case Sent(reference):
            return f"accepted ({reference})" if reference else "accepted"
        case Failed():
            return f"{outcome.kind.value}: {outcome.detail}"


class _Stages:
    """The stages so far: each with its name, what came of it, and the seconds since the start."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._started = monotonic()
        self.found: list[dict[str, Any]] = []

    def note(self, stage: str, said: str, *, ok: bool = True) -> None:
        seconds = round(self._monotonic() - self._started, 3)
        self.found.append({"stage": stage, "seconds": seconds, "said": said, "ok": ok})

    @property
    def failed(self) -> str:
        """What failed first, empty if nothing did."""
        wrong = (f"{one['stage']}: {one['said']}" for one in self.found if not one["ok"])
        return next(wrong, "")
