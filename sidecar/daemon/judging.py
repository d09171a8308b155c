"""Judging for all hosts of a fleet: what is taken up of the database, and the steps."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace as changed

import structlog
from msgspec.structs import replace

from sidecar.batch import ReadBatch
from sidecar.clock import Clock, stopwatch
from sidecar.config.settings import Config
from sidecar.core import Core
from sidecar.daemon.pacing import Beside
from sidecar.daemon.restoring import JUDGES, Noted, say_damaged, shared_secret
from sidecar.daemon.selfwatch import WHERE_JUDGED, kind_of
from sidecar.daemon.steps import Steps, Turn
from sidecar.fleet.courier import Packed
from sidecar.fleet.docket import Docket, Taken
from sidecar.fleet.order import Host
from sidecar.measure.meter import Meter
from sidecar.parse.columns import Columns
from sidecar.parse.event import HOST, Event
from sidecar.rows import AlertRow, Delta, MetaRow, OutboxRow
from sidecar.rules.alert import Alert, Evidence
from sidecar.rules.identity import digest_of
from sidecar.store.invariants import Ledger
from sidecar.store.postgresql import PostgreSql
from sidecar.store.schema import StoreUnavailable
from sidecar.store.store import Store

RULES = "rules"  # the MetaRow with the digest of the rules by which it is judged
_log = structlog.get_logger()


def database_of(config: Config, *, only_reads: bool = False) -> PostgreSql:
    """Return what a judge has in the database of `config`, of which nobody is asked to let go."""
    assert config.state_url is not None  # noqa: S101 - who has a fleet has one
    return PostgreSql(config.state_url, lock_seconds=0.0, only_reads=only_reads)


def judging_core(config: Config, *, shadow: bool) -> Core:
    """Return a core that judges and counts nothing but by what its rules know."""
    core = Core(changed(config, patterns=()), shadow=shadow, stopwatch=stopwatch)
    states = [metric for metric in config.metrics if metric.name in config.state_metrics]
    core.meter = Meter(states, labels=core.redactor.labels)
    core.once.append(MetaRow(name=RULES, value=digest_of(config.rules)))
    return core


def judged_by(store: Store) -> str:
    """Return the digest of the rules of whoever judged last; empty if nobody ever did."""
    query = "SELECT value FROM meta WHERE owner = '' AND name = ?"
    found = store.database.find(query, (RULES,))
    return str(found[0][0]) if found else ""


def takes_all(config: Config, store: Store) -> None:
    """Let the host of `store` judge as it reads, where it is alone and nothing waits of others."""
    database = store.database
    assert isinstance(database, PostgreSql)  # noqa: S101 - who has a fleet has one
    others = store.database.find(_OTHERS, (config.host,))
    if config.judges and others == [(0,)]:
        database.takes_all(config.state_metrics)


_OTHERS = (
    "SELECT (SELECT count(*) FROM beats WHERE here AND host <> ?)"
    " + (SELECT count(*) FROM batches) + (SELECT count(*) FROM orders WHERE answer = '')"
)


def as_judged(config: Config, now: float) -> tuple[Core, str]:
    """Return what is judged, as the database has it at this moment, and by which host."""
    with closing(database_of(config, only_reads=True)) as database:
        core = judging_core(config, shadow=True)
        store = Store(database)
        core.restore(Noted(store, Ledger(), shared_secret(store)), now)
        facts = {row.name: row.value for row in store.load(MetaRow)}
        return core, facts.get(JUDGES, "nobody yet")


def alerts_about(config: Config, now: float) -> list[Alert]:
    """Return the open alerts about what this sidecar reads, as it is one of several."""
    ours = {rule.name for rule in config.rules if rule.about_us}
    with closing(database_of(config, only_reads=True)) as database:
        if ours.isdisjoint(row.rule for row in Store(database).load(AlertRow)):
            return []
    core, _ = as_judged(config, now)
    found = (alert for alert in core.engine.alerts() if alert.event.get(HOST) == config.host)
    return [alert for alert in found if kind_of(alert) not in WHERE_JUDGED]


class JudgeSteps(Steps):
    """The steps of the one that judges for all hosts. `hosts`: how they stand."""

    def __init__(
        self,
        core: Core,
        store: Store,
        ledger: Ledger,
        clock: Clock,
        beside: Beside,
        *,
        host: str,
        order: Callable[[str, Core], str],
    ) -> None:
        super().__init__(core, store, ledger, clock, beside)
        self.hosts = list[Host]()
        self._docket = Docket(store)
        self._order = order
        core.once.append(MetaRow(name=JUDGES, value=host))

    def step(self, *, quick: bool = False, at_once: bool = False) -> Turn:
        self._settle()
        now = self.stepped_at = self._clock.now()
        began = self._clock.monotonic()
        taken = Taken([]) if quick else self._take(now)
        self._judge(taken, now)
        answers = self._answers(now)
        step = self.core.finish(self._standing(), now)
        step.bytes = len(taken.events) + len(taken.tallies)
        step.delta.extend(taken.delta)
        step.delta.extend(answers)
        step.seconds = self._clock.monotonic() - began
        self._check(step, None)
        more = bool(taken.left and step.bytes)
        self._commit(ReadBatch(), step)
        if at_once or not more:
            self._settle()
        return Turn(self._untold(), behind=more, more=more)

    def _take(self, now: float) -> Taken:
        try:
            hosts = self._docket.look(now)
        except StoreUnavailable:  # who writes says so
            self.hosts = []
            return Taken([])
        self.hosts = hosts
        for sentence in self._docket.damaged:
            _log.error("batch_damaged", what=sentence, lost="its events")
        self._docket.damaged.clear()
        return self._docket.take(hosts, now)

    def _answers(self, now: float) -> Delta:
        """Carry out what was ordered on other hosts; return the answers."""
        try:
            orders, gone = self._docket.orders(now)
        except StoreUnavailable:
            return Delta()
        answered = (replace(row, answer=self._order(row.said, self.core)) for row in orders)
        return Delta(rows=[*answered], gone=[*gone])

    def _judge(self, taken: Taken, now: float) -> None:
        engine = self.core.engine
        events = [packed.event for packed in taken.events]
        engine.observe_all(Columns.of(events), read_at=now, line_of=_lines(events, taken.events))
        for tally in taken.tallies:
            engine.observe_tally(tally.triple, tally.number, tally.last_at)

    def _standing(self) -> ReadBatch:
        """Return how far all are, as of logs: rule time follows the slowest of them."""
        present = {host.name: host for host in self.hosts if host.present}
        judged = {name: host.judged for name, host in present.items()}
        self.core.reached = {name: at for name, at in judged.items() if at is not None}
        complete = bool(present) and all(host.complete for host in present.values())
        return ReadBatch(lagging=frozenset(present) or frozenset({""}), caught_up=complete)


def _lines(events: Sequence[Event], packed: Sequence[Packed]) -> Callable[[Event], Evidence | None]:
    found: Mapping[int, Packed] = dict(zip(map(id, events), packed, strict=True))
    return lambda event: found[id(event)].evidence if id(event) in found else None


def restore_judging(
    config: Config, store: Store, now: float, *, shadow: bool
) -> tuple[Core, Ledger, list[OutboxRow]]:
    """Take up what is judged; return also the messages that the end of the last judge cut off."""
    ledger = Ledger()
    core = judging_core(config, shadow=shadow)
    core.restore(Noted(store, ledger, shared_secret(store)), now)
    say_damaged(core, store)
    freed = store.release_claims()
    ledger.learn(Delta(rows=[*store.waiting()]))
    return core, ledger, freed
