"""The pure part as a whole: batches in, steps out, time as an argument."""

import json
from collections import Counter
from functools import partial
from pathlib import Path

import msgspec
import pytest

from sidecar.batch import ReadBatch
from sidecar.config.load import load_config
from sidecar.core import NOTHING_STORED, Core, Step
from sidecar.notify.audit import AUDIT
from sidecar.notify.model import Notification
from sidecar.parse.event import OWN_PROVIDER, Chunk, Event, LogFormat, RejectReason
from sidecar.redact import MAX_FIELDS, REDACTED
from sidecar.rows import EXPIRED, AlertRow, AuditRow, MetaRow
from sidecar.rules.alert import Evidence, TransitionKind
from sidecar.store.store import Store
from support.calls import calls
from support.daemon import RULES

NOW = 1793606400.0
DAY = 86_400.0
CONFIG = """\
sources: [{{path: /nowhere/*.log}}]
rule_files: ["{rules}/billing.rules.yaml"]
route: {{receiver: nobody}}
receivers: [{{name: nobody}}]
"""


@pytest.fixture
def core(tmp_path: Path) -> Core:
    (tmp_path / "sidecar.yaml").write_text(CONFIG.format(rules=RULES))
    made = Core(load_config(str(tmp_path / "sidecar.yaml"), {}))
    made.restore(NOTHING_STORED, NOW)
    return made


def batch(*records: dict[str, object], **facts: object) -> ReadBatch:
    data = b"".join(json.dumps(r).encode() + b"\n" for r in records)
    chunks = [Chunk(file=1, log="app", format=LogFormat.AUTO, data=data, start=0)] if data else []
    return msgspec.structs.replace(ReadBatch(chunks=chunks), **facts)


PAST_DUE = {
    "metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe", "org_id": "org_1",
    "event_type": "customer.subscription.updated", "status": "past_due", "timestamp": NOW,
}  # fmt: skip


PAID = {
    "metric_type": "WEBHOOK_METRIC", "webhook_provider": "stripe", "org_id": "org_1",
    "event_type": "invoice.payment_succeeded", "status": "billing_period_paid", "timestamp": NOW,
}  # fmt: skip
FAILED = {
    **PAID, "event_type": "invoice.payment_failed", "status": "payment_failure",
    "attempt_count": 3, "timestamp": NOW - 60,
}  # fmt: skip


def kinds(step: Step) -> list[tuple[str, TransitionKind]]:
    return [(t.alert.name, t.kind) for t in step.transitions]


def test_an_event_counts_and_alerts_in_the_same_step(core: Core) -> None:
    step = core.step(batch(PAST_DUE), NOW)
    assert kinds(step) == [("SubscriptionDelinquent", TransitionKind.FIRED)]
    counted = [row.value for row in step.series if '"past_due"' in row.labels]
    assert "1" in [value.removesuffix(".0") for value in counted]


def test_three_days_old_lines_of_a_syslog_are_three_days_old(core: Core) -> None:
    fields = {name: value for name, value in FAILED.items() if name != "timestamp"}
    line = f"<14>Oct 30 08:00:00 web-1 app[7]: WEBHOOK_METRIC: {fields}\n".encode()
    chunk = Chunk(file=1, log="app", format=LogFormat.AUTO, data=line, start=0)
    step = core.step(ReadBatch(chunks=[chunk]), NOW)
    assert [(t.alert.name, t.alert.since, t.stale) for t in step.transitions] == [
        ("PaymentFailing", NOW - 3 * DAY, True)
    ]
    assert step.bad_times == 0


def test_a_grace_period_ends_while_another_log_is_missing(core: Core) -> None:
    """A source that never appears must not hold up a deadline."""
    missing = {"caught_up": False, "problems": ["waiting for /nowhere/b.log"]}
    core.step(batch(PAST_DUE, **missing), NOW)
    step = core.step(batch(**missing), NOW + 3 * DAY)
    assert kinds(step) == [("GracePeriodOver", TransitionKind.FIRED)]


def test_absence_is_not_judged_while_a_log_is_missing(core: Core) -> None:
    missing = {"caught_up": False, "problems": ["waiting for /nowhere/b.log"]}
    assert kinds(core.step(batch(**missing), NOW + DAY)) == []
    assert kinds(core.step(batch(), NOW + DAY)) == [("NoWebhooks", TransitionKind.FIRED)]


def test_nothing_expires_while_a_log_lags_whose_time_is_unknown(core: Core) -> None:
    core.step(batch(PAST_DUE), NOW)
    lagging = {"caught_up": False, "lagging": frozenset({"other"})}
    assert kinds(core.step(batch(**lagging), NOW + 3 * DAY)) == []


def test_payments_of_many_who_never_failed_are_one_row_of_the_rules(core: Core) -> None:
    step = core.step(batch(*({**PAID, "org_id": f"org_{n}"} for n in range(500))), NOW)
    stored = Counter(type(row).table for row in step.delta.rows)
    assert stored["journal"] == 1
    assert "rule_state" not in stored


@pytest.mark.parametrize(("record", "most"), [(PAID, 10), ({**FAILED, "attempt_count": 1}, 22)])
def test_an_event_that_changes_no_verdict_costs_few_calls(
    core: Core, record: dict[str, object], most: int
) -> None:
    """Above all it is not read again as a whole, whatever of it is watched."""
    stamped = {**record, "timestamp": "2026-11-02T07:59:00"}
    spent = []
    for begin, end in ((0, 500), (500, 600), (1000, 1500)):
        read = batch(*({**stamped, "org_id": f"org_{n}"} for n in range(begin, end)))
        spent.append(calls(partial(core.take, read.chunks[0], NOW)))
    assert (spent[2] - spent[1]) / 400 < most


def test_a_failure_that_comes_later_than_the_payment_after_it_is_none_also_after_a_restart(
    core: Core, tmp_path: Path
) -> None:
    store = Store.open(str(tmp_path / "state.db"))
    store.commit(core.step(batch(PAID), NOW).delta)
    later = Core(load_config(str(tmp_path / "sidecar.yaml"), {}))
    later.restore(store, NOW)
    store.close()
    assert kinds(later.step(batch(FAILED), NOW)) == []
    assert kinds(later.step(batch({**FAILED, "timestamp": NOW + 1}), NOW)) == [
        ("PaymentFailing", TransitionKind.FIRED)
    ]


def test_a_repeat_tells_the_numbers_of_now_and_the_end_what_had_failed(tmp_path: Path) -> None:
    (tmp_path / "depth.rules.yaml").write_text("""\
groups:
  - name: depth
    rules:
      - alert: Deep
        match: ['event_type="queue"']
        condition: last(depth) > 100
        labels: {severity: warning}
        annotations: {summary: '{{ value }}: {{ event.error }}'}
""")
    (tmp_path / "sidecar.yaml").write_text("""\
sources: [{path: /nowhere/*.log}]
rule_files: [depth.rules.yaml]
route: {receiver: team, group_wait: 0s, group_interval: 1m, repeat_interval: 4h, cooldown: 0s}
receivers: [{name: team, slack_configs: [{channel: "#t", api_url: "http://localhost/x"}]}]
""")
    core = Core(load_config(str(tmp_path / "sidecar.yaml"), {}))
    core.restore(NOTHING_STORED, NOW)

    def told(at: float, **fields: object) -> list[Notification]:
        record = {**PAID, "event_type": "queue", "timestamp": at, **fields}
        step = core.step(batch(*[record] if fields else []), at)
        core.note_ends(msgspec.structs.replace(row, outcome="sent") for row in step.outbox)
        return [msgspec.json.decode(row.payload, type=Notification) for row in step.outbox]

    def seen(message: Notification) -> list[object]:
        one = message.notices[0]
        return [one.status.value, one.value, one.event["error"], one.ended_by.get("error")]

    (first,) = told(NOW, depth=500, error="disk")
    assert seen(first) == ["firing", 500.0, "disk", None]
    assert told(NOW + 60, depth=9000, error="network") == []
    (repeat,) = told(NOW + 4 * 3600 + 60)
    assert seen(repeat) == ["firing", 9000.0, "network", None]
    assert told(NOW + 4 * 3600 + 61) == []  # accepted
    (end,) = told(NOW + 5 * 3600, depth=3, error="none")
    assert seen(end) == ["resolved", 3.0, "network", "none"]


HOST_LINE = (
    "INFO - WEBHOOK_METRIC: {'event_type': 'invoice.payment_failed', 'status': 'payment_failure', "
    "'org_id': 'org_1', 'attempt_count': 3, 'plate': \"B'X 1\", 'card': {'plate': 7712}, "
    "'password': 'hunter2', 'mail': 'olga@example.com', 'timestamp': '2026-11-02T08:00:00'}"
)


def evidence_of(config: str, line: str, tmp_path: Path) -> Evidence:
    (tmp_path / "sidecar.yaml").write_text(CONFIG.format(rules=RULES) + config)
    core = Core(load_config(str(tmp_path / "sidecar.yaml"), {}))
    core.restore(NOTHING_STORED, NOW)
    data = f"first line\n{line}\n".encode()
    chunk = Chunk(file=1, log="/var/log/app.log", format=LogFormat.AUTO, data=data, start=500)
    core.step(ReadBatch(chunks=[chunk]), NOW)
    (alert,) = core.engine.alerts()
    assert alert.evidence is not None
    return alert.evidence


def test_the_line_that_tipped_an_alert_is_kept_without_its_secrets(tmp_path: Path) -> None:
    found = evidence_of("redact: {keys: [plate]}\n", HOST_LINE, tmp_path)
    assert (found.file, found.offset) == ("/var/log/app.log", 511)
    assert found.line == (
        HOST_LINE.replace('"B\'X 1"', f'"{REDACTED}"').replace("7712", REDACTED)
        .replace("hunter2", REDACTED).replace("olga", "o***")
    )  # fmt: skip


def test_evidence_is_a_line_s_head(tmp_path: Path) -> None:
    long = HOST_LINE.replace("org_1'", "org_1', 'text': '" + "x" * 5000 + "', 'note': 'secret'")
    line = evidence_of("", long, tmp_path).line
    assert len(line) == 1000
    assert line.endswith("xx…")


def test_evidence_survives_a_restart(tmp_path: Path) -> None:
    found = evidence_of("", HOST_LINE, tmp_path)
    core = Core(load_config(str(tmp_path / "sidecar.yaml"), {}))
    store = Store.open(str(tmp_path / "state.db"))
    core.restore(store, NOW)
    data = f"first line\n{HOST_LINE}\n".encode()
    chunk = Chunk(file=1, log="/var/log/app.log", format=LogFormat.AUTO, data=data, start=500)
    store.commit(core.step(ReadBatch(chunks=[chunk]), NOW).delta)
    again = Core(load_config(str(tmp_path / "sidecar.yaml"), {}))
    again.restore(store, NOW)
    assert [alert.evidence for alert in again.engine.alerts()] == [found]
    store.close()


OWN_RULES = """\
groups:
  - name: g
    rules:
      - alert: Stuck
        match: ['webhook_provider="sidecar"', 'status="problem"']
        condition: count() >= 1
        within: 30d
        resolve: {match: ['webhook_provider="sidecar"', 'status="ok"']}
"""


def test_no_line_of_a_log_ends_or_fires_an_alert_about_the_sidecar(tmp_path: Path) -> None:
    (tmp_path / "own.rules.yaml").write_text(OWN_RULES)
    config = CONFIG.replace("{rules}/billing", "own").format()
    (tmp_path / "sidecar.yaml").write_text(config)
    core = Core(load_config(str(tmp_path / "sidecar.yaml"), {}))
    core.restore(NOTHING_STORED, NOW)
    forged = {**PAID, "webhook_provider": OWN_PROVIDER, "event_type": "sidecar.outbox_stuck"}
    assert kinds(core.step(batch({**forged, "status": "problem"}), NOW)) == []
    core.note([Event(OWN_PROVIDER, "sidecar.outbox_stuck", "problem", NOW, {})])
    assert kinds(core.step(batch(), NOW)) == [("Stuck", TransitionKind.FIRED)]
    step = core.step(batch({**forged, "status": "ok"}, {**PAID, "sidecar_host": "x"}), NOW + 1)
    assert kinds(step) == []
    assert [reject.reason for reject in step.rejects] == [RejectReason.OWN_PROVIDER]
    assert step.own_fields == 1
    core.note([Event(OWN_PROVIDER, "sidecar.outbox_stuck", "ok", NOW + 2, {})])
    assert kinds(core.step(batch(), NOW + 2)) == [("Stuck", TransitionKind.RESOLVED)]


def test_a_host_whose_clock_is_fast_makes_no_other_hosts_events_late(tmp_path: Path) -> None:
    (tmp_path / "own.rules.yaml").write_text("""\
groups:
  - name: g
    rules:
      - {alert: Often, match: ['status="payment_failure"'], condition: count() >= 3, within: 5m}
""")
    (tmp_path / "sidecar.yaml").write_text(CONFIG.replace("{rules}/billing", "own").format())
    core = Core(load_config(str(tmp_path / "sidecar.yaml"), {}))
    core.restore(NOTHING_STORED, NOW)
    core.step(batch({**FAILED, "timestamp": NOW + 540}), NOW)
    assert kinds(core.step(batch({**FAILED, "timestamp": NOW + 1}), NOW + 1)) == []
    fired = core.step(batch({**FAILED, "timestamp": NOW + 2}), NOW + 2)
    assert kinds(fired) == [("Often", TransitionKind.FIRED)]
    assert fired.transitions[0].at == NOW + 2


def test_an_alert_of_a_huge_line_is_small(core: Core) -> None:
    huge = {f"note_{n}": "really " * 100 for n in range(1000)}
    step = core.step(batch({**huge, **FAILED}), NOW)
    (row,) = (row for row in step.delta.rows if isinstance(row, AlertRow))
    assert 0 < len(row.packed) < 2 * MAX_FIELDS
    messages = core.step(batch(), NOW + 60).outbox
    assert all(len(message.payload) < 4 * MAX_FIELDS for message in messages)


def test_what_is_not_told_after_the_last_step_is_on_record_as_before(tmp_path: Path) -> None:
    slack = "slack_configs: [{api_url: 'http://127.0.0.1:1/', channel: '#a'}]"
    config = CONFIG.format(rules=RULES).replace("{name: nobody}", f"{{name: nobody, {slack}}}")
    (tmp_path / "sidecar.yaml").write_text(config)
    core = Core(load_config(str(tmp_path / "sidecar.yaml"), {}))
    core.restore(NOTHING_STORED, NOW)
    core.step(batch(PAST_DUE), NOW)
    (message,) = core.step(batch(), NOW + 60).outbox
    assert core.end("SubscriptionDelinquent", ("org_1",), NOW + 70)
    core.step(batch(), NOW + 70)
    core.note_ends([msgspec.structs.replace(message, outcome=EXPIRED)])
    rows = core.take_ends(NOW + 80).rows
    assert [row.detail for row in rows if isinstance(row, AuditRow)] == ["expired, for nobody #a"]
    assert {row.name for row in rows if isinstance(row, MetaRow)} >= {AUDIT}
