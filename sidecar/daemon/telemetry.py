"""What happened, as self metrics, log lines and problems: the only place that makes all three."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, assert_never

import structlog
from prometheus_client import Gauge

from sidecar.batch import (
    BytesLost,
    EndUnseen,
    LeftAlone,
    LogEvent,
    LogStatus,
    LookFailed,
    OverlongLines,
    ReadBatch,
    Rotated,
    Truncated,
)
from sidecar.config.reload import Reloaded
from sidecar.config.settings import Config
from sidecar.core import Core, Step
from sidecar.daemon.selfwatch import Problem, SelfWatch, Subject
from sidecar.daemon.skew import Skews
from sidecar.deliver.retry import Dead, said
from sidecar.deliver.waiting import Destination
from sidecar.deliver.worker import Attempt
from sidecar.parse.event import Event, Foreign, Obscure, Reject
from sidecar.provider.facts import Answered, NotAnswered
from sidecar.receivers.base import Failed, FailureKind, Outcome, Sent, Verdict
from sidecar.redact import Redactor
from sidecar.rows import FileState, OutboxRow
from sidecar.secret import printable
from sidecar.store.invariants import NAMES, Broken
from sidecar.store.schema import StoreUnavailable
from sidecar.store.store import OutboxBacklog
from sidecar.web.metrics import SelfMetrics

# A host that logs broken lines all day gets one log line about it in so many seconds.
REJECT_LOG_SECONDS = 60.0
# The first start finds a year of rotated files: so many are logged one by one.
MOST_LEFT_ALONE = 20
# The last odd lines, for who asks: a screen of them.
MOST_ODD_LINES = 20
# From here on being behind, or not getting rid of a message, is a problem of its own.
LAG_SECONDS = 300.0
_UNREAD = (FileState.ACTIVE, FileState.ROTATED)
STUCK_SECONDS = 900.0
_log = structlog.get_logger()


class Telemetry:
    """Counts and logs what the parts report, and tells `watch` what is a problem."""

    def __init__(self, config: Config, clock: Callable[[], float], *, shadow: bool = False) -> None:
        self.metrics = SelfMetrics()
        self.metrics.shadow.set(shadow)
        for name in NAMES:
            self.metrics.broken.labels(name)
        self.watch = SelfWatch(clock(), config.host)
        self._shadow = shadow
        self._judges = False
        self._clock = clock
        self._stripe = ""  # why it does not answer
        self._redacted = lru_cache(Redactor(config.redact).text)
        self.backlog = OutboxBacklog(pending=0, oldest=None)  # the outbox table, as last looked at
        self.metrics.outbox_pending.set_function(lambda: self.backlog.pending)
        self.metrics.outbox_oldest.set_function(lambda: _age(self.backlog.oldest, clock()))
        self.metrics.commit_failing.set_function(lambda: self._commit_failing_since is not None)
        self._not_kept_alive: set[Destination] = set()
        self._problems: frozenset[str] = frozenset()
        self._logs: set[str] = set()
        self._skews = Skews()
        self._seen: Counter[tuple[str, str]] = Counter()
        self._shown: dict[tuple[Gauge, str], float] = {}
        self._sampled_at: dict[str, float] = {}
        # The last lines with the marker that are no events: when, what, why, and the line.
        self.odd_lines: deque[tuple[float, str, str, str]] = deque(maxlen=MOST_ODD_LINES)
        self._commit_failing_since: float | None = None
        self._commit_failure = ""
        self._state = "state_file" if config.state_url is None else "database"

    def installed(self, core: Core, config: Config, now: float) -> None:
        """Note that `core` works by `config` from `now` (wall clock) on."""
        metrics = self.metrics
        metrics.reload_successful.set(1)
        metrics.reload_success_time.set(now)
        metrics.alerts.clear()  # rules may be gone, and their alerts with them
        metrics.expect(config)
        for labels, number in core.engine.counts().items():
            metrics.alerts.labels(*labels).set(number)
        self.watch.present(Problem.RELOAD_FAILED, {}, now)
        self._redacted = lru_cache(core.redactor.text)
        self._seen.clear()  # a new core counts from 0
        self._shown.clear()

    def seated(self, core: Core) -> None:
        """Note that this one judges, by `core`."""
        self._judges = True
        self.metrics.judging.set(1)
        for labels, number in core.engine.counts().items():
            self.metrics.alerts.labels(*labels).set(number)

    def reloaded(self, done: Reloaded) -> None:
        """Note the end of a reload."""
        self.metrics.reloads.labels("ok" if done.ok else "failed").inc()
        for warning in done.warnings:
            _log.warning("configuration_doubtful", fault=warning)
        if done.ok:
            _log.info("configuration_reloaded")
            return
        self.metrics.reload_successful.set(0)
        _log.error("configuration_not_reloaded", faults=list(done.faults), running="the last good")
        fields = {"faults": len(done.faults), "fault": done.faults[0]}
        self.watch.present(Problem.RELOAD_FAILED, {(): fields}, done.at)

    def interrupted(self, rows: Iterable[OutboxRow]) -> None:
        """Note messages whose attempt the end of the last process cut off."""
        for row in rows:
            self.metrics.ambiguous.labels(row.receiver, row.integration).inc()
            _log.warning("notification_ambiguous", detail=row.detail, **_facts(row))

    def own_events(self) -> list[Event]:
        """Return what rules are to hear about the sidecar now."""
        now = self._clock()
        age = _age(self.backlog.oldest, now)
        stuck = age > STUCK_SECONDS and not self._shadow
        fields = {"pending": self.backlog.pending, "oldest_seconds": round(age)}
        self.watch.present(Problem.OUTBOX_STUCK, {(): fields} if stuck else {}, now)
        return self.watch.due_events(now)

    def stepped(
        self, batch: ReadBatch, step: Step, core: Core, *, now: float, commit_seconds: float
    ) -> None:
        """Note a committed step that read; `commit_seconds` is 0 when there was nothing to write.

        What it judged is noted by `judged`.
        """
        self._read(batch, step, core, now)
        self._counted(step, core, now)
        self.committed(commit_seconds)

    def judged(self, step: Step, core: Core, now: float) -> None:
        """Note what a committed step judged and decided to tell."""
        self._judged(step, core)
        for row in step.withheld:
            _log.info("notification_withheld", why="shadow", **_facts(row))
        if step.outbox:
            # Until the first outcome is saved and the table looked at again.
            self.backlog = OutboxBacklog(
                pending=self.backlog.pending + len(step.outbox),
                oldest=now if self.backlog.oldest is None else self.backlog.oldest,
            )

    def committed(self, seconds: float) -> None:
        """Note a commit; `seconds` is 0 when there was nothing to write."""
        if seconds:
            self.metrics.commit_seconds.observe(seconds)
            self.written()

    def written(self) -> None:
        """Note that the state could be written."""
        if self._commit_failing_since is None:
            return
        now = self._clock()
        stood = round(max(0.0, now - self._commit_failing_since))
        self._commit_failing_since = None
        _log.info(f"{self._state}_writable_again", after_seconds=stood)
        self.watch.happened(
            Problem.COMMIT_FAILED, (), now, error=self._commit_failure, stood_still=stood
        )

    def state_deleted(self, path: str) -> None:
        """Note that somebody deleted the state file, and that it was written anew."""
        error = f"the state file {path} was deleted; it is written anew"
        _log.error("state_file_deleted", error=error)
        self.watch.happened(Problem.COMMIT_FAILED, (), self._clock(), error=error, stood_still=0)

    def commit_failed(self, failure: StoreUnavailable) -> None:
        """Note a failed commit: reading waits, and it is tried again."""
        self.metrics.commit_failures.inc()
        if self._commit_failing_since is None:
            self._commit_failing_since, self._commit_failure = self._clock(), str(failure)
            _log.error(f"{self._state}_not_writable", error=str(failure), reading="waits")

    def webhook(self, answered: Answered) -> None:
        """Note the end of one post to a webhook."""
        path, metrics = answered.path, self.metrics
        metrics.webhook_requests.labels(path, str(answered.code)).inc()
        if answered.secret is not None:
            metrics.webhook_secret.labels(path, str(answered.secret)).inc()
        if answered.reason is not None:
            metrics.webhook_rejects.labels(path, answered.reason.value).inc()
        elif answered.code == 200:  # noqa: PLR2004 - HTTP's "OK"
            metrics.webhook_last.labels(path).set(self._clock())
            metrics.webhook_duplicates.labels(path).inc(answered.duplicate)
            if answered.delay is not None:
                metrics.webhook_delay.labels(path).observe(answered.delay)

    def asked(self, failure: NotAnswered | None) -> None:
        """Note how asking Stripe ended: that all was answered, or what failed."""
        now, metrics = self._clock(), self.metrics
        metrics.stripe_asked.labels("ok" if failure is None else failure.trouble.value).inc()
        problem = "" if failure is None else str(failure)
        if failure is None:
            metrics.stripe_answered.set(now)
        if problem != self._stripe:
            self._stripe = problem
            log = _log.warning if problem else _log.info
            log("stripe_not_answering" if problem else "stripe_answers_again", problem=problem)
        self.watch.present(Problem.STRIPE_SILENT, {(problem,): {}} if problem else {}, now)

    def broken(self, found: Iterable[Broken]) -> None:
        """Note invariants that a commit would have broken."""
        now = self._clock()
        for one in found:
            self.metrics.broken.labels(one.name).inc()
            if abs(now - self._sampled_at.get(one.name, 0.0)) >= REJECT_LOG_SECONDS:
                self._sampled_at[one.name] = now
                _log.error("invariant_broken", invariant=one.name, how=one.sentence)
            self.watch.happened(Problem.INVARIANT_BROKEN, (one.name,), now, how=one.sentence)

    def attempted(self, attempt: Attempt) -> None:
        """Note the end of one attempt at delivery."""
        row, outcome = attempt.row, attempt.outcome
        where = (row.receiver, row.integration)
        subject = (*where, self._redacted(row.destination))
        facts = _facts(row)
        if attempt.fault is not None:
            self.metrics.template_failures.labels(row.receiver).inc()
            _log.error("template_failed", fault=attempt.fault, told_as="plain text", **facts)
            self.watch.happened(
                Problem.TEMPLATE_FAILED, (row.receiver,), attempt.ended, fault=attempt.fault
            )
        match outcome:
            case Sent():
                self.metrics.sent.labels(*where).inc()
                self.metrics.latency.observe(max(0.0, attempt.ended - row.created))
                _log.info("notification_sent", **facts)
                self.watch.ended(Problem.DESTINATION_DEAD, subject)
            case Failed():
                self.metrics.ambiguous.labels(*where).inc(outcome.ambiguous)
                self.metrics.failed.labels(*where, outcome.kind.value).inc()
                # That an owner cannot be mailed is told to the team.
                dead = isinstance(attempt.step, Dead) and outcome.kind is not FailureKind.OWNER
                log = _log.error if dead else _log.warning
                event = "notification_given_up" if dead else "notification_failed"
                log(event, reason=outcome.kind.value, detail=said(outcome), **facts)
                if dead:
                    self.metrics.dead.labels(*where).inc()
                if dead or attempt.fell_back or outcome.verdict is Verdict.PARK:
                    self.watch.happened(
                        Problem.DESTINATION_DEAD, subject, attempt.ended,
                        reason=outcome.kind.value, detail=outcome.detail,
                    )  # fmt: skip

    def drilled(self, alert: str, failed: str) -> None:
        """Note how the last drill ended; `failed` is empty where all went well."""
        wrong: dict[Subject, dict[str, str]] = {(alert,): {"failed": failed}} if failed else {}
        self.watch.present(Problem.DRILL_FAILED, wrong, self._clock())

    def sent_again(self, to: Destination, outcome: Outcome) -> None:
        """Log when a destination cannot be sent again what fires, and when it can once more."""
        failing = isinstance(outcome, Failed)
        if failing == (to in self._not_kept_alive):
            return
        where = {"integration": to[0], "destination": self._redacted(to[1])}
        if isinstance(outcome, Failed):
            self._not_kept_alive.add(to)
            _log.warning("keep_alive_failed", detail=outcome.detail, **where)
        else:
            self._not_kept_alive.discard(to)
            _log.info("keep_alive_again", **where)

    def _read(self, batch: ReadBatch, step: Step, core: Core, now: float) -> None:
        metrics = self.metrics
        metrics.read_bytes.inc(step.bytes)
        metrics.read_lines.inc(step.lines)
        metrics.event_lines.inc(step.event_lines)
        metrics.piece_lines.inc(step.pieces)
        metrics.ignored_lines.inc(step.ignored)
        metrics.future_events.inc(step.future)
        metrics.bad_timestamps.inc(step.bad_times)
        metrics.undated_events.inc(step.undated)
        metrics.own_fields.inc(step.own_fields)
        for reject in step.rejects:
            metrics.rejects.labels(reject.reason.value).inc()
            self.watch.happened(Problem.REJECTS, (reject.reason.value,), now, sample=reject.sample)
        for foreign in step.foreign:
            metrics.foreign.labels(foreign.reason.value).inc()
        for obscure in step.obscure:
            metrics.not_understood.labels(obscure.reason.value).inc()
        self._log_sample("marker_not_understood", step.obscure, now, see="docs/formats.md")
        self._log_sample("line_rejected", step.rejects, now)
        self._log_sample("foreign_marker", step.foreign, now, see="docs/security.md")
        for event in batch.events:
            self._happened(event, now)
        self._log_left_alone([one for one in batch.events if isinstance(one, LeftAlone)])
        self._lag(batch, core, now)
        for log, off in self._skews.follow(step.late, batch.lagging, now).items():
            if off is None:
                self.watch.ended(Problem.TIMES_OFF, (printable(log),))
            else:
                self.watch.happened(Problem.TIMES_OFF, (printable(log),), now, **off)
        if (problems := frozenset(batch.problems)) != self._problems:
            for problem in sorted(problems - self._problems):
                _log.warning("log_not_readable", problem=problem)
            for problem in sorted(self._problems - problems):
                _log.info("log_readable_again", problem=problem)
            self._problems = problems
        self.watch.present(Problem.LOG_UNREADABLE, {(problem,): {} for problem in problems}, now)

    def _log_left_alone(self, files: Sequence[LeftAlone]) -> None:
        """Log each file that is not read; of many at once the first, and how many more."""
        for one in files[:MOST_LEFT_ALONE]:
            like = {"like": printable(one.like)} if one.like else {}
            _log.info(
                "log_file_left_alone", log=printable(one.log), path=printable(one.path),
                bytes=one.size, why=one.why.value, **like,
            )  # fmt: skip
        if more := files[MOST_LEFT_ALONE:]:
            size = sum(one.size for one in more)
            _log.info("log_files_left_alone", files=len(more), bytes=size)

    def _log_sample(
        self, event: str, lines: Sequence[Reject | Foreign | Obscure], now: float, **more: str
    ) -> None:
        """Keep the last of `lines` for who asks, and log the first, unless one was just logged."""
        last = lines[-MOST_ODD_LINES:]
        self.odd_lines += [(now, event, one.reason.value, one.sample) for one in last]
        if lines and abs(now - self._sampled_at.get(event, 0.0)) >= REJECT_LOG_SECONDS:
            self._sampled_at[event] = now
            first = lines[0]
            if isinstance(first, Reject) and first.field:
                more["field"] = first.field
            _log.warning(event, reason=first.reason.value, sample=first.sample, **more)

    def _happened(self, event: LogEvent, now: float) -> None:
        metrics = self.metrics
        match event:
            case Rotated(how=how):
                metrics.rotations.labels(how.value).inc()
            case Truncated():
                metrics.truncations.inc()
            case BytesLost(log=log, amount=amount):
                metrics.lost_bytes.inc(amount)
                name = printable(log)
                _log.error("log_bytes_lost", log=name, bytes=amount)
                self.watch.happened(Problem.BYTES_LOST, (name,), now, bytes=amount)
            case EndUnseen(log=log, path=path, position=position):
                metrics.ends_unseen.inc()
                facts = {"path": printable(path), "read_to": position}
                name = printable(log)
                _log.error("log_end_unseen", log=name, **facts)
                self.watch.happened(Problem.LOG_END_UNSEEN, (name,), now, **facts)
            case LeftAlone():
                metrics.left_alone.labels(event.why.value).inc(event.size)
            case OverlongLines(log=log, lines=lines):
                metrics.overlong_lines.inc(lines)
                metrics.read_lines.inc(lines)
                metrics.rejects.labels("too_long").inc(lines)
                self.watch.happened(Problem.REJECTS, ("too_long",), now, log=printable(log))
            case LookFailed():
                metrics.scan_errors.inc()
            case _:
                assert_never(event)

    def _lag(self, batch: ReadBatch, core: Core, now: float) -> None:
        self.metrics.open_files.set(sum(status.held for status in batch.logs))
        self.metrics.catching_up.set(bool(batch.lagging))
        lag: Counter[str] = Counter()
        waiting: dict[str, float] = {}
        # Oldest first: what stays is where the log's newest file stands.
        for log, status in {status.log: status for status in batch.logs}.items():
            self._show(self.metrics.position, printable(log), status.position)
            self._show(self.metrics.size, printable(log), status.size)
        unread_files: defaultdict[str, list[LogStatus]] = defaultdict(list)
        for status in batch.logs:
            lag[status.log] += status.lag_bytes
            waiting[status.log] = max(status.waiting, waiting.get(status.log, 0.0))
            if status.state in _UNREAD:
                unread_files[status.log].append(status)
        labels = set(map(printable, lag))
        for gone in self._logs - labels:
            for gauge in self.metrics.by_log:
                gauge.remove(gone)
                self._shown.pop((gauge, gone), None)
        self._logs = labels
        late: dict[Subject, dict[str, Any]] = {}
        for log, unread in lag.items():
            size, stands = core.positions.waiting(log, now)
            behind = unread + size
            self._show(self.metrics.lag_bytes, printable(log), behind)
            self._show(self.metrics.unfinished, printable(log), size)
            seconds = core.lag_seconds(log, now) if log in batch.lagging else 0.0
            seconds = max(seconds, waiting[log], stands)
            self._show(self.metrics.lag_seconds, printable(log), seconds)
            if seconds > LAG_SECONDS:
                why = (
                    _unfinished(size)
                    if stands == seconds
                    else _held_up(log, unread_files[log], batch.problems)
                )
                fields = {"lag_bytes": behind, "lag_seconds": round(seconds), "why": why}
                late[printable(log),] = fields
        self.watch.present(Problem.LAG, late, now)
        mute: dict[Subject, dict[str, int]] = {
            (printable(log),): {"lines": max(heard.lines, heard.told)}
            for log in lag
            if (heard := core.heard.get(log)) is not None and heard.is_mute()
        }
        self.watch.present(Problem.NO_EVENTS, mute, now)

    def _counted(self, step: Step, core: Core, now: float) -> None:
        self.metrics.rule_seconds.inc(step.seconds)
        if core.rule_time is not None and not self._judges:  # then it is what it has read
            self.metrics.rule_time.set(core.rule_time)
        self.watch.follow(step.series, core.drift, now)
        self._full(self._rises(self.metrics.series_overflow.labels, "metric", core.meter.overflow))
        self._rises(self.metrics.bad_values.labels, "bad", core.meter.bad_values)

    def _full(self, caps: set[tuple[str, str]]) -> None:
        for cap, name in caps:
            self.watch.happened(Problem.CAP_REACHED, (cap, name), self._clock())

    def _judged(self, step: Step, core: Core) -> None:
        metrics = self.metrics
        if core.rule_time is not None:
            metrics.rule_time.set(core.rule_time)
        for name, at in core.engine.last_matches.items():
            self._show(metrics.rule_last_match, name, at)
        if step.transitions:
            for labels, number in core.engine.counts().items():
                metrics.alerts.labels(*labels).set(number)
        for transition in step.transitions:
            alert = transition.alert
            _log.info(
                f"alert_{transition.kind.value}", alertname=alert.name, key=list(alert.key),
                severity=alert.severity, episode=alert.episode, value=alert.value,
            )  # fmt: skip
        for decision in step.decisions:
            if not decision.told:
                metrics.suppressed.labels(decision.reason.value).inc(decision.alerts)
        full = self._rises(metrics.rule_overflow.labels, "rule", core.engine.overflow)
        self._full(full | self._rises(metrics.rule_forgotten.labels, "keys", core.engine.forgotten))
        self._rises(metrics.rule_bad_values.labels, "rule bad", core.engine.not_numbers)
        self._rises(metrics.rule_bad_instants.labels, "instant", core.engine.bad_instants)

    def _show(self, gauge: Gauge, name: str, value: float) -> None:
        """Set the gauge of `name`, unless it shows `value`: most steps change none."""
        if self._shown.get((gauge, name)) != value:
            self._shown[gauge, name] = value
            gauge.labels(name).set(value)

    def _rises(
        self, child: Callable[[str], object], kind: str, totals: dict[str, int]
    ) -> set[tuple[str, str]]:
        """Bring the counters behind `child` up to running `totals`; return which ones grew."""
        grew = set()
        for name, total in totals.items():
            if grown := total - self._seen[kind, name]:
                child(name).inc(grown)  # type: ignore[attr-defined]  # a prometheus Counter child
                self._seen[kind, name] = total
                grew.add((kind, name))
        return grew


def _facts(row: OutboxRow) -> dict[str, object]:
    return {
        "receiver": row.receiver,
        "integration": row.integration,
        "destination": row.destination,
        "id": row.id,
        "attempt": row.attempt,
    }


def _age(since: float | None, now: float) -> float:
    return 0.0 if since is None else max(0.0, now - since)


def _unfinished(size: int) -> str:
    return f"{size:,} bytes are of a line or an object whose end has not come"


def _held_up(log: str, files: Sequence[LogStatus], problems: Iterable[str]) -> str:
    """Return what holds up a log that lags, empty if nothing is known but that there is much.

    `files`: those of it that are not read to their end, oldest first. `problems`: of the look.
    """
    for one in files:
        named = (problem for problem in problems if f" {printable(one.path)}:" in problem)
        if problem := printable(one.problem) or next(named, ""):
            return problem
    older = files[0].path if files else log
    return "" if older == log else f"{printable(older)} is not read to its end"
