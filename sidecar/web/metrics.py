"""Our own metrics, `sidecar_…`: all declared in one place, on a registry of their own."""

import platform
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from sidecar import __version__
from sidecar.batch import Left, Rotation
from sidecar.config.settings import Config
from sidecar.measure.series import EVENTS_TOTAL
from sidecar.notify.model import Reason
from sidecar.parse.event import ForeignReason, ObscureReason, RejectReason
from sidecar.provider.facts import RejectReason as Unaccepted, Trouble
from sidecar.receivers.base import FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable

# Why a decision was not to speak: a closed set, so that each exists at 0 before it first happens.
SUPPRESSED = (
    Reason.NOTHING_NEW, Reason.COOLDOWN, Reason.RESOLVED_NOT_SENT, Reason.SILENCED,
    Reason.INHIBITED, Reason.TIME_MUTED,
)  # fmt: skip
COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
LATENCY_BUCKETS = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
)  # fmt: skip


DELAY_BUCKETS = (0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 259_200.0)


class SelfMetrics:
    """What the sidecar says about itself; no organisation, event or address is ever a label.

    The process' own (`process_resident_memory_bytes` and so on) come along.
    """

    def __init__(self) -> None:
        # A `_created` sample for each would double the cost of a scrape for no use. The switch
        # is prometheus-client's own and process-wide; nothing else here uses the library.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it bare
        self.registry = CollectorRegistry()
        self._expected: set[tuple[str, str]] = set()  # receivers and their integrations
        ProcessCollector(registry=self.registry)
        self._declare_reading()
        self._declare_logs()
        self._declare_taking()
        self._declare_deciding()
        self._declare_telling()
        self._declare_running()

    def expect(self, config: Config) -> None:
        """Let every series that `config` names exist at 0, keeping those that already count."""
        for name in (EVENTS_TOTAL, *(metric.name for metric in config.metrics)):
            self.series_overflow.labels(name)
            self.bad_values.labels(name)
        for rule in config.rules:
            self.rule_overflow.labels(rule.name)
            self.rule_forgotten.labels(rule.name)
            self.rule_bad_values.labels(rule.name)
            self.rule_bad_instants.labels(rule.name)
        for trouble in ("ok", *Trouble) if config.apis else ():
            self.stripe_asked.labels(str(trouble))
        for hook in config.webhooks:
            self._expect_webhook(hook.path)
        for receiver in config.receivers.values():
            for integration in receiver.configs:
                self._expect_integration(receiver.name, integration)

    def render(self, *, openmetrics: bool) -> str:
        """Return the text of all of them, without the `# EOF` of OpenMetrics."""
        return render_registry(self.registry, openmetrics=openmetrics)

    def _declare_reading(self) -> None:
        self.read_bytes = self._counter("read_bytes", "Bytes of log read, decompressed.")
        self.read_lines = self._counter("read_lines", "Lines of log read.")
        self.event_lines = self._counter("event_lines", "Lines that held events, and no fault.")
        self.piece_lines = self._counter(
            "piece_lines", "Lines that are a part of one that ends in another."
        )
        self.ignored_lines = self._counter(
            "ignored_lines", "Lines that said nothing that is looked for."
        )
        self.not_understood = self._counter(
            "not_understood",
            "Lines with the WEBHOOK_METRIC marker of which nothing was understood.",
            "reason",
        )
        for unclear in ObscureReason:
            self.not_understood.labels(unclear.value)
        self.rejects = self._counter(
            "rejects", "Lines with the WEBHOOK_METRIC marker that held no event.", "reason"
        )
        for reason in RejectReason:
            self.rejects.labels(reason.value)
        self.foreign = self._counter(
            "foreign", "Lines with the WEBHOOK_METRIC marker where a stranger may write.", "reason"
        )
        for where in ForeignReason:
            self.foreign.labels(where.value)

    def _declare_logs(self) -> None:
        self.position = self._gauge(
            "log_position_bytes", "Where reading stands in the newest file of a log.", "log"
        )
        self.size = self._gauge("log_size_bytes", "Size of the newest file of a log.", "log")
        self.lag_bytes = self._gauge("log_lag_bytes", "Bytes of a log not read yet.", "log")
        self.lag_seconds = self._gauge(
            "log_lag_seconds",
            "Age of the newest event read of a log that is not read to its end, else 0.",
            "log",
        )
        self.unfinished = self._gauge(
            "log_unfinished_bytes", "Bytes of lines and objects whose rest has not come.", "log"
        )
        self.by_log = (
            self.position, self.size, self.lag_bytes, self.lag_seconds, self.unfinished,
        )  # fmt: skip
        self.rotations = self._counter("log_rotations", "Rotations of a log followed.", "kind")
        for kind in Rotation:
            self.rotations.labels(kind)
        self.truncations = self._counter("log_truncations", "Logs found shorter than read.")
        self.ends_unseen = self._counter(
            "log_ends_unseen", "Files read in part that were gone before anybody saw their end."
        )
        self.left_alone = self._counter(
            "log_left_alone_bytes", "Bytes on disk of files that are not read.", "reason"
        )
        for why in Left:
            self.left_alone.labels(why)
        self.lost_bytes = self._counter(
            "bytes_lost", "Bytes known to be written that were gone before they could be read."
        )
        self.overlong_lines = self._counter("log_overlong_lines", "Lines skipped as too long.")
        self.scan_errors = self._counter(
            "log_scan_errors", "Failed tries to list a log directory or to open or read a log."
        )
        self.open_files = self._gauge("log_open_files", "Log files held open.")
        self.catching_up = self._gauge(
            "catching_up", "1 while a log is not read to its end, 0 otherwise."
        )

    def _declare_taking(self) -> None:
        self.webhook_requests = self._counter(
            "webhook_requests", "Posts to a webhook of `sources`, by path and code.", "path", "code"
        )
        self.stripe_asked = self._counter(
            "stripe_api_asked", "Times Stripe was asked, by what came of it.", "result"
        )
        self.stripe_answered = self._gauge(
            "stripe_api_last_answer_timestamp_seconds", "When Stripe last answered all."
        )
        self.webhook_rejects = self._counter(
            "webhook_rejects", "Posts that were not taken, by path and reason.", "path", "reason"
        )
        self.webhook_duplicates = self._counter(
            "webhook_duplicates", "Posts of an event that was told of before.", "path"
        )
        self.webhook_secret = self._counter(
            "webhook_secret_matches", "Posts, by which of the secrets has signed them.", "path",
            "index",
        )  # fmt: skip
        self.webhook_last = self._gauge(
            "webhook_last_timestamp_seconds", "When the last event was taken.", "path"
        )
        self.webhook_delay = Histogram(
            "sidecar_webhook_delay_seconds",
            "Time from an event's creation at the provider to its receipt.",
            ("path",),
            buckets=DELAY_BUCKETS,
            registry=self.registry,
        )

    def _declare_deciding(self) -> None:
        self.future_events = self._counter(
            "future_events", "Events too far ahead of the clock; they took the time of reading."
        )
        self.undated_events = self._counter(
            "undated_events", "Events without a time that can be read; they took that of reading."
        )
        self.bad_timestamps = self._counter(
            "bad_timestamps", "Events with a stamp that could not be read; they took another time."
        )
        self.own_fields = self._counter(
            "own_fields", "Fields named sidecar_* that a line brought; only the sidecar sets them."
        )
        self.bad_values = self._counter(
            "bad_values", "Events whose field was no number a metric could take.", "metric"
        )
        self.series_overflow = self._counter(
            "series_overflow", "Samples counted under __other__ because of the cap.", "metric"
        )
        self.rule_time = self._gauge(
            "rule_timestamp_seconds", "The time rules have reached; behind the clock while lagging."
        )
        self.rule_seconds = self._counter(
            "rule_evaluation_seconds", "Time spent reading and parsing lines and judging events."
        )
        self.rule_overflow = self._counter(
            "rule_overflow", "Events not judged: all keys their rule may track have open alerts.",
            "alertname",
        )  # fmt: skip
        self.rule_forgotten = self._counter(
            "rule_forgotten", "Keys that gave way to others, as their rule has all that it may.",
            "alertname",
        )  # fmt: skip
        self.rule_bad_values = self._counter(
            "rule_bad_values", "Values that were no number where a rule needs one.", "alertname"
        )
        self.rule_last_match = self._gauge(
            "rule_last_match_timestamp_seconds",
            "The time of the newest event that a rule matched, since this start.",
            "alertname",
        )
        self.rule_bad_instants = self._counter(
            "rule_bad_instants", "Values that were no instant where a rule escalates at one.",
            "alertname",
        )  # fmt: skip
        self.alerts = self._gauge(
            "alerts", "Alerts that are pending or firing.", "alertname", "severity", "state"
        )

    def _declare_telling(self) -> None:
        at = ("receiver", "integration")
        self.sent = self._counter("notifications_sent", "Notifications accepted.", *at)
        self.failed = self._counter(
            "notifications_failed", "Attempts at delivery that failed.", *at, "reason"
        )
        self.ambiguous = self._counter(
            "notifications_ambiguous", "Attempts that may have arrived without our knowing.", *at
        )
        self.dead = self._counter("notifications_dead", "Notifications given up on.", *at)
        self.template_failures = self._counter(
            "template_failures", "Messages that went out plain: their template failed.", "receiver"
        )
        self.suppressed = self._counter(
            "notifications_suppressed", "Decisions not to notify.", "reason"
        )
        for reason in SUPPRESSED:
            self.suppressed.labels(reason.value)
        self.latency = Histogram(
            "sidecar_delivery_latency_seconds",
            "Time from deciding on a notification to its being accepted.",
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.outbox_pending = self._gauge("outbox_pending", "Notifications not delivered yet.")
        self.outbox_oldest = self._gauge(
            "outbox_oldest_age_seconds", "Age of the oldest notification not delivered; 0 if none."
        )

    def _declare_running(self) -> None:
        self.build_info = self._gauge("build_info", "Always 1.", "version", "python")
        self.build_info.labels(__version__, platform.python_version()).set(1)
        self.reload_successful = self._gauge(
            "config_last_reload_successful", "1 if the last load of the configuration succeeded."
        )
        self.reload_success_time = self._gauge(
            "config_last_reload_success_timestamp_seconds", "When a configuration last loaded."
        )
        self.reloads = self._counter(
            "config_reloads", "Times the configuration was read anew.", "result"
        )
        for result in ("ok", "failed"):
            self.reloads.labels(result)
        self.shadow = self._gauge(
            "shadow", "1 while notifications are decided on and recorded, and none is sent."
        )
        self.judging = self._gauge("judging", "1 where it is judged, for all hosts of a fleet.")
        self.rules_differ = self._gauge(
            "rules_differ", "1 where another host of a fleet judges by other rules than these."
        )
        self.commit_seconds = Histogram(
            "sidecar_commit_duration_seconds",
            "Time to commit one step to the state file.",
            buckets=COMMIT_BUCKETS,
            registry=self.registry,
        )
        self.commit_failing = self._gauge(
            "commit_failing", "Whether what was read cannot be written, so that reading waits."
        )
        self.commit_failures = self._counter(
            "commit_failures", "Commits that failed and are tried again."
        )
        self.broken = self._counter(
            "invariants_broken", "What a commit would have broken, and was kept from.", "invariant"
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"sidecar_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"sidecar_{name}", text, labels, registry=self.registry)

    def _expect_webhook(self, path: str) -> None:
        self.webhook_requests.labels(path, "200")
        self.webhook_duplicates.labels(path)
        self.webhook_delay.labels(path)
        for reason in Unaccepted:
            self.webhook_rejects.labels(path, reason.value)

    def _expect_integration(self, receiver: str, integration: str) -> None:
        if (receiver, integration) in self._expected:
            return
        self._expected.add((receiver, integration))
        self.template_failures.labels(receiver)
        self.sent.labels(receiver, integration)
        self.ambiguous.labels(receiver, integration)
        self.dead.labels(receiver, integration)
        for kind in FailureKind:
            self.failed.labels(receiver, integration, kind.value)


def render_registry(registry: CollectorRegistry, *, openmetrics: bool) -> str:
    """Return a registry's metrics as text, without the `# EOF` of OpenMetrics."""
    write: Callable[[CollectorRegistry], bytes]
    write = generate_openmetrics if openmetrics else generate_latest
    return write(registry).decode().removesuffix("# EOF\n")
