"""One run: a script played against the daemon, and what was wrong at the end.

make world SEED=7        plays one seed, and shrinks its script if it fails
make world SEEDS=100000  plays as many, from SEED on
"""

import asyncio
import gc
import math
import os
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from sidecar.store.schema import StoreUnavailable
from world.disk import Disk, Killed
from world.logs import Logs
from world.loop import SimulatedClock, SimulatedLoop, Spins, Stuck
from world.people import Fault, People
from world.product import (
    COOLDOWN,
    GROUP_INTERVAL,
    GROUP_WAIT,
    Settings,
    SimulatedDaemon,
    counted,
    fresh_folder,
    is_paused,
    jitter_of,
    line,
    outcomes,
    quiet,
)
from world.script import Action, Script, written
from world.servers import Mail, Slack, Weather

# From calm on, everybody knows within this: a row that failed is tried again within 5 minutes, and
# from then on a cooldown may hold back what came since.
RETRIED = 300.0
SETTLE = RETRIED + max(GROUP_WAIT + GROUP_INTERVAL, COOLDOWN) + 60.0
# What an edit changes of who is told.
_ROUTING = ("critical", "team", "paged", "group_by", "pauses", "fallback")
# So long a look at all that a poll would have found may take.
POLL = 2.0
# So long what waits may take after a reload, while all is well.
AT_ONCE = 60.0
# So long a process that was asked to stop may take.
STOP_GRACE = 20.0


@dataclass
class World:
    """Everything there is, and the time."""

    script: Script
    people: People = field(default_factory=People)

    def __post_init__(self) -> None:
        seed = self.script.seed
        hops = random.Random(f"{seed} hop")
        self.loop = SimulatedLoop(lambda: hops.random() * 0.002)
        self.clock = SimulatedClock(self.loop)
        self.disk = Disk(self._killed)
        self.slack = Slack(Weather(random.Random(f"{seed} slack")), self._accept)
        self.mail = Mail(self.loop, Weather(random.Random(f"{seed} mail")), self._accept)
        self.loop.connect = self.mail.connect
        self.jitter = jitter_of(random.Random(f"{seed} jitter"))
        self.steps = random.Random(f"{seed} steps")
        self.settings = Settings(random.Random(f"{seed} routes").choice(("pager", "team")))
        self.daemon: SimulatedDaemon | None = None
        self.life: asyncio.Task[None] | None = None
        self.stop = asyncio.Event()
        self.down = self.down_until = 0.0
        self.logged: Counter[str] = Counter()
        self.logs = Logs(self.loop, self.look)
        self.calm = False
        self.over = False
        self.errors: list[object] = []

    def run(self) -> list[Fault]:
        """Play the script; return every fault there was."""
        fresh_folder()
        self.loop.set_exception_handler(lambda _loop, context: self.errors.append(context))
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._play())
        except (Spins, Stuck) as error:
            self._fault("spins", f"at {self.loop.time():.0f}: {error!r}")
            if self.daemon is not None:
                self.daemon.vanish()
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()
        for context in self.errors:
            self._fault("crash", repr(context))
        return self.people.faults

    async def _play(self) -> None:
        transport = self.slack
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            self.client = client
            keeper = asyncio.create_task(self._keep_alive())
            for action in self.script.actions:
                await self._until(action.at)
                await self._do(action)
            await self._calm()
            self.over = True
            self.stop.set()
            if not keeper.done():
                await keeper
        if (found := counted()) != self.logged:
            self._fault("count", f"logged {dict(self.logged)}, counted {dict(found)}")

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, at - self.loop.time()))

    async def _keep_alive(self) -> None:
        """Start the daemon whenever it is down and its time has come, as a supervisor does."""
        while not self.over:
            await self._until(self.down_until)
            if self.over:
                return
            self.disk.dead = False
            self.slack.alive = self.mail.alive = True
            self.stop = asyncio.Event()
            try:
                self.daemon = SimulatedDaemon(
                    self.settings, clock=self.clock, disk=self.disk, client=self.client,
                    jitter=self.jitter, steps=self.steps,
                    ended=lambda e: self.people.end(e, self.loop.time()),
                )  # fmt: skip
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
                self._fault("crash", f"cannot start: {error!r}")
                return
            self.life = asyncio.create_task(self.daemon.run(self.stop))
            await asyncio.wait([self.life])
            self._note_end(self.life)

    def _note_end(self, life: "asyncio.Task[None]") -> None:
        """See how the process ended; a crash is a fault, being killed is not."""
        daemon, self.daemon = self.daemon, None
        self.down_until = self.loop.time() + max(self.down, 1.0)
        self.down = 0.0
        self.slack.alive = self.mail.alive = False
        error = None if life.cancelled() else life.exception()
        if daemon is not None:
            for name, times in daemon.broken().items():
                self._fault("invariant", f"{name} is broken {times:.0f} times")
            daemon.vanish()
            refused = isinstance(error, StoreUnavailable) and not daemon.running
            if error is not None and not refused and not _is_killed(error):
                self._fault("crash", _sentence(error))
        noted = outcomes() if self.people.recent else {}
        unknown = {m for _, _, m in self.people.recent if noted.get(m) != "sent"}
        self.people.forgotten(unknown)
        self.people.recent.clear()

    async def _do(self, action: Action) -> None:
        await _DOINGS[action.what](self, action.value)

    async def _calm(self) -> None:
        """Let every trouble end, and wait until everybody should know; then compare."""
        self.calm = True
        self.slack.weather.fates = self.mail.weather.fates = ("ok",)
        self.disk.failing = self.disk.says_lost = 0
        self.disk.kill_in = None
        await asyncio.sleep(STOP_GRACE)
        await self._until(self.down_until + POLL)
        pager = next(iter(set(self.slack.channels) - {"#team"}))
        right = self.settings._replace(pager=pager, token=self.slack.token, inhibit=False)
        lost = (right.pager, right.token) != (self.settings.pager, self.settings.token)
        if lost and right.paged and right.fallback:
            left = right._replace(pager=self.settings.pager, token=self.settings.token, pauses="")
            await self._heal(left)
            if await self._settled() and self.daemon is not None:
                self.people.judge_instead(self.daemon.firing())
        soon = [self.clock.now() + minutes * 60 for minutes in range(90)]
        await self._heal(right._replace(pauses="") if any(map(is_paused, soon)) else right)
        if await self._settled() and self.daemon is not None:
            known = {"team", "pager"} if right.paged else {"team"}
            self.people.judge(self.daemon.firing(), known)

    async def _heal(self, right: Settings) -> None:
        """Let the operator write what is right, and end every silence."""
        if right != self.settings:
            before = self.daemon.waiting() if self.daemon is not None else set()
            await self._edit(right)
            await asyncio.sleep(AT_ONCE)
            after = self.daemon.waiting() if self.daemon is not None else set()
            here = right.pager in self.slack.channels and right.token == self.slack.token
            if here and (late := before & after):
                self._fault("not at once", f"{len(late)} messages wait on after a reload")
        while self.daemon is not None and not await self._within(self.daemon.unsilence()):
            await self._until(self.loop.time() + 1.0)
        self.people.silenced.clear()

    async def _settled(self) -> bool:
        """Let time pass until everybody should know; return whether the daemon is still there."""
        self._poll()
        # A daemon that has just begun finds at its next look what is due later; the real one looks
        # every few seconds.
        await asyncio.sleep(RETRIED)
        self._poll()
        await asyncio.sleep(SETTLE - RETRIED)
        if self.daemon is None:
            self._fault("crash", "the daemon is down at rest")
            return False
        # What escalates by itself meanwhile is news as well.
        while self.loop.time() < (rest := self.daemon.changed_at + SETTLE):
            await self._until(rest + 1.0)
        self.daemon.look()
        await asyncio.sleep(POLL)
        return True

    # What an action does

    async def log(self, value: tuple[str, str, str]) -> None:
        event, status, org = value
        self.logs.log(line(self.clock.now(), event, status, org))
        self.logged[status] += 1

    async def rotate(self, _: None) -> None:
        self.logs.rotate()

    async def copytruncate(self, _: None) -> None:
        self.logs.copytruncate()

    async def touch(self, value: tuple[int, float]) -> None:
        which, lie = value
        # Of a log of which nothing is known the time alone says what is history.
        self.logs.touch(which, lie if counted() else max(0.0, lie))

    async def copy(self, value: tuple[int, str]) -> None:
        self.logs.copy(*value)

    async def compress(self, value: tuple[int, str]) -> None:
        await self.logs.compress(*value)

    def look(self) -> None:
        if self.daemon is not None:
            self.daemon.look()

    async def kill(self, down: float) -> None:
        if self.daemon is None:
            return
        self.down = down
        self.disk.dead = True
        self._killed()
        if self.life is not None:
            await asyncio.wait([self.life])

    def _killed(self) -> None:
        """Let nothing of the process go on."""
        self.slack.alive = self.mail.alive = False
        if self.life is not None:
            self.life.cancel()

    async def kill_at_statement(self, value: tuple[int, float]) -> None:
        self.disk.kill_in, self.down = value

    async def shut(self, down: float) -> None:
        self.down = down
        self.stop.set()

    async def slack_fates(self, fates: tuple[str, ...]) -> None:
        self.slack.weather.fates = fates

    async def mail_fates(self, fates: tuple[str, ...]) -> None:
        self.mail.weather.fates = fates

    async def disk_fails(self, times: int) -> None:
        self.disk.spared, self.disk.failing = 0, times

    async def disk_loses(self, times: int) -> None:
        self.disk.spared, self.disk.says_lost = 0, times

    async def disk_fails_at_statement(self, statement: int) -> None:
        self.disk.spared, self.disk.failing = statement - 1, 1

    async def disk_loses_at_statement(self, statement: int) -> None:
        self.disk.spared, self.disk.says_lost = statement - 1, 1

    async def set_clock(self, seconds: float) -> None:
        self.clock.offset += seconds
        # A silence is of the wall clock: out of its time messages are made, and after some days it
        # is forgotten. Nobody may count on it once the clock comes back.
        silenced, now = self.people.silenced, self.clock.now()
        self.people.silenced = [one for one in silenced if one[1] <= now < one[2]]
        self.people.paused_since = max(self.people.paused_since, self.loop.time())
        self.loop.call_later(POLL, self._poll)

    def _poll(self) -> None:
        if self.daemon is not None:
            self.daemon.look()
            self.daemon.look_into_outbox()

    async def renamed(self, name: str) -> None:
        self.slack.channels = {"#team": "#team", name: "#pager"}

    async def new_token(self, token: str) -> None:
        self.slack.token = token

    async def edit(self, changes: dict[str, Any]) -> None:
        self.people.rerouted |= not changes.keys().isdisjoint(_ROUTING)
        if not self.settings.paged and changes.get("critical") == "pager":
            changes = {**changes, "paged": True}
        await self._edit(self.settings._replace(**changes))

    async def _edit(self, settings: Settings) -> None:
        if settings.paged != self.settings.paged:
            self.people.taken_away("pager")
        self.settings, self.people.paused_since = settings, math.inf
        if self.daemon is not None:
            task = asyncio.create_task(self._take(self.daemon, settings))
            await asyncio.wait(
                [task, *([self.life] if self.life else [])],
                timeout=30,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not task.done() and self.daemon is not None:
                return
        if settings.pauses:
            self.people.paused_since = self.loop.time()

    async def _take(self, daemon: SimulatedDaemon, settings: Settings) -> None:
        with suppress(Killed):
            while daemon is self.daemon and not await daemon.edit(settings):
                await self._until(self.loop.time() + 1.0)

    async def resolve(self, value: tuple[str, str]) -> None:
        if self.daemon is not None:
            task = asyncio.create_task(self._resolve(self.daemon, *value))
            await asyncio.wait([task], timeout=5)

    async def _resolve(self, daemon: SimulatedDaemon, name: str, org: str) -> None:
        with suppress(Killed):
            await daemon.resolve(name, org)

    async def ack(self, org: str) -> None:
        if self.daemon is not None:
            task = asyncio.create_task(self._ack(self.daemon, org))
            await asyncio.wait([task], timeout=5)

    async def _ack(self, daemon: SimulatedDaemon, org: str) -> None:
        with suppress(Killed):
            taken = await daemon.ack(org)
            self.people.taken.update(dict.fromkeys(taken, self.loop.time()))

    async def silence(self, value: tuple[str, float]) -> None:
        org, seconds = value
        if self.daemon is not None and await self._within(self.daemon.silence(org, seconds)):
            now = self.clock.now()
            self.people.silenced.append((org, now, now + seconds))

    async def unsilence(self, _: None = None) -> None:
        if self.daemon is not None:
            # Nobody counts on one any more: it may end though nobody is told so in time.
            self.people.silenced.clear()
            await self._within(self.daemon.unsilence())

    async def _within(self, change: Coroutine[Any, Any, bool]) -> bool:
        """Return whether a change of a person's came through; a kill may come first."""

        async def done() -> bool:
            with suppress(Killed):
                return await change
            return False

        task = asyncio.create_task(done())
        await asyncio.wait([task], timeout=5)
        return task.done() and task.result()

    def _accept(self, reader: str, body: str, clear: bool) -> None:  # noqa: FBT001 - a callback
        self.people.hear(reader, body, self.loop.time(), clear=clear, clock=self.clock.now())

    def _fault(self, kind: str, sentence: str) -> None:
        self.people.faults.append(Fault(kind, sentence))


_DOINGS: dict[str, Callable[..., Awaitable[None]]] = {
    "log": World.log,
    "rotate": World.rotate,
    "copytruncate": World.copytruncate,
    "touch": World.touch,
    "copy": World.copy,
    "compress": World.compress,
    "kill": World.kill,
    "kill at statement": World.kill_at_statement,
    "stop": World.shut,
    "slack": World.slack_fates,
    "mail": World.mail_fates,
    "disk fails": World.disk_fails,
    "disk loses answers": World.disk_loses,
    "disk fails at statement": World.disk_fails_at_statement,
    "disk loses answers at statement": World.disk_loses_at_statement,
    "clock": World.set_clock,
    "renamed": World.renamed,
    "new token": World.new_token,
    "edit": World.edit,
    "resolve": World.resolve,
    "ack": World.ack,
    "silence": World.silence,
    "unsilence": World.unsilence,
}


def _is_killed(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_killed, error.exceptions))
    return isinstance(error, Killed | asyncio.CancelledError)


def _sentence(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return "".join(traceback.format_exception(error))[-1500:]


def play(script: Script) -> list[Fault]:
    """Play a script from the beginning to rest; return what was wrong."""
    with quiet():
        return World(script).run()


def shrunk(script: Script, kind: str) -> Script:
    """Return the shortest script found that still shows a fault of this kind."""
    actions = list(script.actions)
    size = len(actions)
    while size := size // 2 or (1 if size > 1 else 0):
        at = 0
        while at < len(actions):
            fewer = actions[:at] + actions[at + size :]
            if _fails(script.seed, fewer, kind):
                actions = fewer
            else:
                at += size
        if size == 1:
            break
    # Instants as short as they can be: what is printed is played again by hand.
    shorter = ([a._replace(at=round(a.at, digits)) for a in actions] for digits in range(4))
    found = next((some for some in shorter if _fails(script.seed, some, kind)), actions)
    return Script(script.seed, tuple(found))


def _fails(seed: int, actions: Sequence[Action], kind: str) -> bool:
    return any(fault.kind == kind for fault in play(Script(seed, tuple(actions))))


def main() -> int:
    """Play SEEDS seeds from SEED on; print what is wrong, and for one seed why.

    With FIRST=1 the first seed that fails is the last, and is only named.
    """
    first, count = int(os.environ.get("SEED", "0")), int(os.environ.get("SEEDS", "1"))
    started = time.process_time()
    failed: Counter[str] = Counter()
    # What is loaded by now stays, and little of a world dies in circles: seldom look through it.
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    for seed in range(first, first + count):
        faults = play(written(seed))
        kinds = sorted({fault.kind for fault in faults})
        failed.update(kinds)
        if kinds:
            print(f"seed {seed}: {', '.join(kinds)}; {faults[0].sentence}", flush=True)
            if count == 1 and not os.environ.get("FIRST"):
                for kind in kinds:
                    small = shrunk(written(seed), kind)
                    found = [f for f in play(small) if f.kind == kind]
                    print(f"  {kind}: {found[0].sentence if found else '?'}")
                    for action in small.actions:
                        print(f"    {action}")
            if os.environ.get("FIRST"):
                return 1
    spent = time.process_time() - started
    print(f"{count} seeds, {1000 * spent / count:.0f} ms each: {dict(failed) or 'no fault'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
