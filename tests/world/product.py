"""All that the world knows of the product: how it is built, asked, ended, and what it reports."""

import asyncio
import atexit
import json
import logging
import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from zoneinfo import ZoneInfo

import httpx
import msgspec
import structlog

from sidecar.config.load import load_config
from sidecar.config.reload import CannotTakeOver
from sidecar.config.settings import Config
from sidecar.core import Core, Step
from sidecar.daemon.app import Daemon
from sidecar.daemon.loop import Pump, PumpStopped
from sidecar.daemon.outbox import StoredOutbox
from sidecar.deliver.worker import Senders, Worker
from sidecar.matchers import Matcher
from sidecar.notify.group import match_routes
from sidecar.notify.model import Notice, Notification
from sidecar.notify.mutes import silence_row
from sidecar.receivers.base import Rendered
from sidecar.receivers.email import EMAIL
from sidecar.receivers.email.config import EmailConfig
from sidecar.receivers.email.message import MailText
from sidecar.receivers.email.send import Servers, build_and_send
from sidecar.receivers.slack import SLACK
from sidecar.receivers.slack.config import SlackConfig
from sidecar.receivers.slack.send import send as post
from sidecar.render.renderer import Renderer, Rendering
from sidecar.secret import Secret
from sidecar.store.store import Store
from world.disk import Disk, FaultyConnection
from world.loop import SimulatedClock

if TYPE_CHECKING:
    from sidecar.daemon.steps import ReadSteps
    from sidecar.store.sqlite import SqliteFile

FOLDER = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp") / f"world-{os.getpid()}"  # noqa: S108
_STATE = FOLDER / "state.db"
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
GROUP_WAIT, GROUP_INTERVAL, COOLDOWN, REPEAT = 30.0, 300.0, 600.0, 4 * 3600.0
_RULES = """\
groups:
  - name: world
    rules:
      - alert: Failing
        match: ['event_type="state"']
        by: [org]
        condition: last(status) in [bad, worse]
        labels: {severity: warning}
        escalate: [{after: 2h, labels: {severity: critical}}]
      - alert: Broken
        match: ['event_type="part"', 'status="broken"']
        by: [org]
        condition: count() >= 1
        within: 2000d
        resolve: {match: ['event_type="part"', 'status="fixed"']}
        labels: {severity: critical}
"""
_CONFIG = """\
sources: [{{path: "{folder}/logs/*.log", start_at: beginning}}]
rule_files: ["{folder}/world.rules.yaml"]
state: {{path: "{folder}/state.db"}}
global:
  smtp_smarthost: "mail.test:25"
  smtp_from: alerts@example.com
  smtp_require_tls: false
  smtp_auth_username: sidecar
  smtp_auth_password: secret
route:
  receiver: {team}
  group_by: [{group_by}]
  group_wait: {wait}s
  group_interval: {interval}s
  repeat_interval: 4h
  cooldown: {cooldown}s
  routes:
    - matchers: ['severity="critical"']
      receiver: {critical}
      group_by: [alertname, org]
      group_wait: 0s
{paused}receivers:
  - name: {team}
    slack_configs: [{{channel: "#team", api_url: "http://slack.test/services/team"}}]
    email_configs: [{{to: team@example.com}}]
    max_age: 1h
"""
_PAGER = """\
  - name: pager
    slack_configs:
      - {{channel: "{pager}", app_token: "{token}", app_url: "http://slack.test/api/chat.postMessage"}}
    email_configs: [{{to: oncall@example.com}}]
    quick_retries: 3
    max_age: 2h
"""
_FALLBACK = "    fallback: {team}\n"
# What is critical pauses, and so does what is not; the root route may not.
_PAUSED = """\
      {intervals}
    - matchers: ['severity="warning"']
      receiver: {team}
      {intervals}
"""
_INTERVALS = {"mute": "mute_time_intervals: [pauses]", "active": "active_time_intervals: [hours]"}
_ZONE = ZoneInfo("Europe/Berlin")
# In minutes of the day there; one such day has all of them while the world runs.
_PAUSES = ((9 * 60 + 20, 9 * 60 + 50), (10 * 60 + 30, 11 * 60), (13 * 60, 13 * 60 + 30))
_HOURS = """\
time_intervals:
  - name: pauses
    time_intervals: [{location: Europe/Berlin, times: [
      {start_time: "09:20", end_time: "09:50"}, {start_time: "10:30", end_time: "11:00"},
      {start_time: "13:00", end_time: "13:30"}]}]
  - name: hours
    time_intervals: [{location: Europe/Berlin, times: [
      {start_time: "00:00", end_time: "09:20"}, {start_time: "09:50", end_time: "10:30"},
      {start_time: "11:00", end_time: "13:00"}, {start_time: "13:30", end_time: "24:00"}]}]
"""
_INHIBIT = """\
inhibit_rules:
  - source_matchers: ['alertname="Broken"']
    target_matchers: ['alertname="Failing"']
    equal: [org]
"""
READERS = {"team": ("#team", "team@example.com"), "pager": ("#pager", "oncall@example.com")}


@contextmanager
def quiet() -> Iterator[None]:
    """Let the product's own log say nothing for the length of the block."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


class Settings(NamedTuple):
    """What the operator edits."""

    critical: str = "pager"  # who is told what is critical; the same team, or others
    team: str = "team"  # what the team's receiver is called
    paged: bool = True  # whether there is a receiver for the others
    group_by: str = "alertname"
    pager: str = "#pager"
    token: str = "token-1"
    wait: float = GROUP_WAIT
    interval: float = GROUP_INTERVAL
    cooldown: float = COOLDOWN
    inhibit: bool = False  # whether what is broken holds back what fails
    pauses: str = ""  # by which key of a route nobody is told in the pauses of the day
    fallback: bool = False  # whether the team is told what the others cannot be


@cache
def _configured(settings: Settings) -> Config:
    """Return what the file would say, of which a channel and a token are put in by hand."""
    config = _loaded(settings._replace(pager=Settings().pager, token=Settings().token))
    pager = config.receivers.get("pager")
    if pager is None:
        return config
    (slack,) = pager.configs[SLACK.name]
    told = replace(slack, channel=settings.pager, app_token=Secret(settings.token))
    configs = {**pager.configs, SLACK.name: (told,)}
    return replace(config, receivers={**config.receivers, "pager": replace(pager, configs=configs)})


@cache
def _loaded(settings: Settings) -> Config:
    fields = {**settings._asdict(), "wait": int(settings.wait), "interval": int(settings.interval),
              "cooldown": int(settings.cooldown)}  # fmt: skip
    if settings.critical == "team":
        fields["critical"] = settings.team
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "world.rules.yaml").write_text(_RULES)
    path = FOLDER / "sidecar.yaml"
    pager = _PAGER + _FALLBACK * settings.fallback if settings.paged else ""
    text = _CONFIG + pager + _INHIBIT * settings.inhibit
    intervals = _INTERVALS.get(settings.pauses, "")
    paused = _PAUSED.format(intervals=intervals, team=settings.team) if intervals else ""
    path.write_text(text.format(folder=FOLDER, paused=paused, **fields) + _HOURS)
    # The world edits by handing over values, so there is no file to watch.
    return replace(load_config(str(path), {}), path="", kinds=_KINDS)


def fresh_folder() -> None:
    """Begin with no logs, and with a state file in which nothing is."""
    _configured(Settings())
    for name in ("state.db-wal", "state.db-shm"):
        (FOLDER / name).unlink(missing_ok=True)
    _STATE.write_bytes(_nothing_stored())
    shutil.rmtree(FOLDER / "logs", ignore_errors=True)
    (FOLDER / "logs").mkdir()


@cache
def _nothing_stored() -> bytes:
    """Return the bytes of a new state file, which a daemon would make in the same way."""
    _STATE.unlink(missing_ok=True)
    Store.open(str(_STATE)).close()
    return _STATE.read_bytes()


class Said(NamedTuple):
    """One alert in a message, as its reader takes it in."""

    alert: tuple[str, str]
    status: str
    episode: int
    severity: str
    reason: str
    message: str
    acked: float = 0.0  # since when somebody has it


def read(body: str) -> list[Said]:
    """Return what a message says; `body` is what the plain words below made of it."""
    text = body
    if body.startswith("{"):
        text = json.loads(body).get("text", body)
    found = msgspec.json.decode(text, type=Notification)
    return [
        Said(
            (n.labels["alertname"], n.labels["org"]), n.status.value, n.episode,
            n.labels["severity"], _reason(found, n), found.id,
            n.acked.at if n.acked else 0.0,
        )
        for n in found.notices
    ]  # fmt: skip


def _reason(found: Notification, notice: Notice) -> str:
    """Return why this alert stands in the message: it may come along with what gave the reason."""
    if notice.grew:
        return "grew"
    return "repeat interval elapsed" if notice.repeated else found.reason.value


def _slack(_: SlackConfig, rendering: Rendering, /, *, plain: bool) -> Rendered[dict[str, Any]]:
    del plain
    text = msgspec.json.encode(rendering.notification).decode()
    return Rendered({"text": text}, text)


def _mail(_: EmailConfig, rendering: Rendering, /, *, plain: bool) -> Rendered[MailText]:
    del plain
    text = msgspec.json.encode(rendering.notification).decode()
    return Rendered(MailText("alert", text, None), text)


# They say the notification as it is: the world is about who hears what, not about beauty.
_KINDS = (replace(SLACK, render=_slack), replace(EMAIL, render=_mail))


class _Quiet:
    """No file system events; the world wakes the pump itself."""

    alive = True

    def watch(self, directories: object) -> None:
        del directories


class _Later(Future[Any]):
    """What a thread beside the state thread does: at once, or only when it is waited for."""

    def __init__(self, call: Callable[[], Any], *, at_once: bool) -> None:
        super().__init__()
        self._call = call
        if at_once:
            self._make()

    def _make(self) -> None:
        try:
            self.set_result(self._call())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
            self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            self._make()
        return super().result(timeout)


class _Slices:
    """A step reads a line or two, so that several follow each other wherever a few are unread."""

    budget = 400

    def seconds(self, unread: int) -> float:
        del unread
        return 0.0

    def took(self, read: int, seconds: float, look: float = 0.0, unread: int = 0) -> None:
        pass


class _SeldomRests:
    """Rests until something is due or somebody wakes the pump, a while at the most."""

    def stepped(self, now: float, *, news: bool, polled: bool, alerts: int = 0) -> None:
        pass

    def streams(self, now: float) -> bool:
        del now
        return False

    def seconds(self, now: float, *, watched: bool, look: float = 0.0) -> float:
        del now, watched, look
        return 1800.0


class Ending(NamedTuple):
    """An alert's end as the daemon saw it."""

    alert: tuple[str, str]
    episode: int


class SimulatedDaemon(Daemon):
    """The daemon with its real wiring, without threads, sockets and file system events."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: SimulatedClock,
        disk: Disk,
        client: httpx.AsyncClient,
        jitter: Callable[[], float],
        steps: random.Random,
        ended: Callable[[Ending], None],
    ) -> None:
        super().__init__(_configured(settings), clock=clock, on_step=self._note)
        self._client = client
        self._draw = jitter
        self._steps = steps
        self._ended = ended
        self.changed_at = 0.0
        self._log_waker = _Quiet()  # type: ignore[assignment]
        self._file = cast("SqliteFile", self._store.database)
        self._raw = _in_memory(self._file.db)
        self._file.db = FaultyConnection(self._raw, disk, self._keep)  # type: ignore[assignment]

    def _note(self, step: Step) -> None:
        if step.transitions:
            self.changed_at = self.clock.monotonic()
        for transition in step.transitions:
            if transition.kind.value in ("resolved", "expired", "closed"):
                alert = transition.alert
                self._ended(Ending((alert.name, alert.key[0]), alert.episode))

    def _start(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        stopped = asyncio.Event()

        async def read() -> None:
            try:
                await self._pump.run(stop)
            finally:
                self._follower.close()
                stopped.set()

        async def end_rest() -> None:
            await stop.wait()
            self._pump.wake()

        group.create_task(read())
        group.create_task(end_rest())
        mailing = partial(build_and_send, Servers())
        senders: Senders = {SLACK.name: partial(post, self._client), EMAIL.name: mailing}
        assert self._alone is not None
        group.create_task(self._alone.worker.run(senders, stopped))
        group.create_task(self._alone.purge(stopped))

    def _make_worker(self, pump: Pump, store: Store) -> Worker:
        return Worker(
            self.config.receivers,
            Renderer({}, pump.core.redactor),
            StoredOutbox(store, pump, self.clock, self.telemetry),
            kinds=self.config.kinds,
            clock=self.clock,
            report=self.telemetry.attempted,
            jitter=self._draw,
            find_owner=self._find_owner,
            look_every=1800.0,
        )

    def _make_pump(self, core: Core) -> Pump:
        pump = super()._make_pump(core)
        pump._rests = _SeldomRests()  # type: ignore[assignment]
        steps = cast("ReadSteps", pump._steps)
        steps._beside = lambda call: _Later(call, at_once=self._steps.random() < 0.5)
        if self._steps.random() < 0.5:
            steps._slice = _Slices()  # type: ignore[assignment]
        return pump

    # What the world does to it

    @property
    def running(self) -> bool:
        return hasattr(self, "_pump")

    def look(self) -> None:
        """Do what a poll of the logs does that finds something."""
        if self.running:
            self._pump.wake()

    def look_into_outbox(self) -> None:
        """Do what the worker does every few seconds: the clock may have jumped."""
        if self.running:
            assert self._alone is not None
            self._alone.worker._look_in(0.0)

    async def edit(self, settings: Settings) -> bool:
        """Take an edited configuration over; return whether that worked."""
        if not self.running:
            return False
        try:
            await self._install(_configured(settings))
        except CannotTakeOver:
            return False
        return True

    async def resolve(self, name: str, org: str) -> None:
        if self.running:
            with suppress(PumpStopped):
                await self._pump.between_steps(lambda c: c.end(name, (org,), self.clock.now()))

    async def ack(self, org: str) -> list[tuple[tuple[str, str], int, str]]:
        """Take what fires for `org`; return name and key, episode and severity of each alert."""
        wanted = [Matcher("org", "=", org)]
        found = []
        if self.running:
            with suppress(PumpStopped):
                found = await self._pump.between_steps(
                    lambda core: core.notifier.ack(wanted, "ann", "", self.clock.now())
                )
        return [((one.name, one.key[0]), one.episode, one.severity) for one in found]

    async def silence(self, org: str, seconds: float) -> bool:
        """Silence an organisation; return whether that is on disk."""
        return await self._changed(
            lambda core, now: core.notifier.silence(
                silence_row(
                    [Matcher("org", "=", org)], now, now + seconds, by="ann", comment="", now=now
                )
            )
        )

    async def unsilence(self) -> bool:
        """End every silence; return whether that is on disk."""

        def end(core: Core, now: float) -> None:
            for silence, _ in core.notifier.silences(now):
                core.notifier.unsilence(silence.row.id, now)

        return await self._changed(end)

    async def _changed(self, change: Callable[[Core, float], None]) -> bool:
        if not self.running:
            return False
        with suppress(PumpStopped):
            await self._pump.between_steps(lambda core: change(core, self.clock.now()))
            return True
        return False

    def firing(self) -> dict[tuple[str, str], tuple[int, str, str]]:
        """Return the alerts that fire, with episode, severity and who is told: team or pager."""
        found = {}
        for alert in self._pump.core.engine.alerts():
            if alert.state.value == "firing":
                receiver = match_routes(self.config.route, alert.labels)[0].receiver
                who = "pager" if receiver == "pager" else "team"
                found[alert.name, alert.key[0]] = (alert.episode, alert.severity, who)
        return found

    def waiting(self) -> set[str]:
        """Return which messages have not ended."""
        return {row.id for row in self._store.waiting()} if self.running else set()

    def broken(self) -> dict[str, float]:
        """Return how often each invariant was broken."""
        found = next(iter(self.telemetry.metrics.broken.collect())).samples
        return {s.labels["invariant"]: s.value for s in found if s.value}

    def _keep(self) -> None:
        """Let the file hold what is committed, unless it does since the store was closed."""
        with suppress(sqlite3.ProgrammingError):
            _STATE.write_bytes(self._raw.serialize())
        self._raw.close()

    def vanish(self) -> None:
        """Let the process end as SIGKILL does: what is not committed is gone."""
        with suppress(sqlite3.Error):
            self._raw.rollback()
        self._keep()
        with suppress(OSError):
            self._file.lock.release()


def _in_memory(db: sqlite3.Connection) -> sqlite3.Connection:
    """Return what a state file holds in memory; `db` is closed.

    A kill of the world is a rollback: nothing has to outlive this process, and a real file is half
    of what a seed costs.
    """
    db.execute("PRAGMA journal_mode = MEMORY")
    raw = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    raw.deserialize(db.serialize())
    db.close()
    return raw


def counted() -> Counter[str]:
    """Return what the state file counts, by status."""
    found: Counter[str] = Counter()
    for labels, value in _stored("labels, value FROM series WHERE name = 'webhook_events_total'"):
        found[json.loads(labels)["status"]] += int(float(value))
    return +found


def outcomes() -> dict[str, str]:
    """Return the outcome of each stored message by its id."""
    return dict(_stored("id, outcome FROM outbox"))


def _stored(what: str) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(_STATE)) as db:
        return db.execute(f"SELECT {what}").fetchall()


def is_paused(at: float) -> bool:
    """Return whether the wall clock `at` is in a pause of the day."""
    local = datetime.fromtimestamp(at, _ZONE)
    return any(begin <= local.hour * 60 + local.minute < end for begin, end in _PAUSES)


def jitter_of(chance: random.Random) -> Callable[[], float]:
    return chance.random


def line(at: float, event: str, status: str, org: str) -> str:
    """Return what the host logs, at wall clock `at`."""
    fields: dict[str, Any] = {
        "metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe", "event_type": event,
        "status": status, "org": org, "timestamp": at,
    }  # fmt: skip
    return json.dumps(fields) + "\n"
