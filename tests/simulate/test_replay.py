"""Replays of the samples through the shipped configuration, against their known truth."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from sidecar.batch import ReadBatch
from sidecar.config.settings import Config
from sidecar.core import NOTHING_STORED, Core
from sidecar.notify.model import Route
from sidecar.parse.event import Chunk, LogFormat
from sidecar.rows import SENT, OutboxRow, Row
from sidecar.simulate.messages import Message, ToldAlert, difference
from sidecar.simulate.replay import History, Replay
from sidecar.simulate.simulation import Simulation
from support.config import load_rule_files
from support.simulate import (
    CLOCK,
    DAY,
    MINUTE,
    ROUTE,
    SAMPLES,
    T0,
    config,
    line,
    log,
    replayed,
    sample,
    shipped,
    stated_over,
    told,
)

R = TypeVar("R", bound=Row)
EXPECTED: dict[str, Any] = json.loads((SAMPLES / "expected.json").read_text())
FORMS = (
    "json-lines.log",
    "json-prefixed.log",
    "structured.log",
    "docker-json.log",
    "cri.log",
    "host-text.log",
)
# What expected.json calls an alert -> the shipped rule and its severity.
KINDS = {
    "critical: third failed payment": ("PaymentFailing", "critical"),
    "critical: grace period over": ("GracePeriodOver", "critical"),
    "warning: subscription past_due or unpaid": ("SubscriptionDelinquent", "warning"),
    "info: subscription ended": ("SubscriptionEnded", "info"),
    "error: license sync failure": ("LicenseSyncFailure", "error"),
}
FIRES = """
  - alert: Fires
    match: ['event_type="x"']
    by: [org]
    condition: count() >= 1
    within: 1h
    labels: {severity: warning}
    annotations: {summary: '{{ labels.org }} fires'}
"""


@pytest.fixture(scope="module")
def ours() -> Config:
    return shipped()


@cache
def of_sample(name: str) -> list[Message]:
    return list(replayed(shipped(), sample(name)))


def fired(rows: list[ToldAlert]) -> set[tuple[str, str, str]]:
    """Return (alert, organisation, severity) of everything that was told to fire.

    Who escalates before the first message is told at the old severity that it escalated.
    """
    return {
        (row.alert, row.labels["org_id"], row.severity)
        for row in rows
        if row.state in ("firing", "fired and resolved", "escalated") and "org_id" in row.labels
    }


def due(alerts: dict[str, list[str]]) -> Iterator[tuple[str, str, str]]:
    for kind, (alert, severity) in KINDS.items():
        yield from ((alert, org, severity) for org in alerts.get(kind, []))


def graced() -> set[tuple[str, str, str]]:
    """Return the alerts about grace periods whose end the host stated by the days left."""
    lines = (SAMPLES / "agentops-host.log").read_text().splitlines()
    return {("GracePeriodOver", org, "critical") for org in stated_over(lines)}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_of_the_log_gives_exactly_the_expected_alerts(name: str) -> None:
    assert fired(told(of_sample(name))) == set(due(EXPECTED["alerts"]))


def test_the_hosts_own_log_gives_exactly_the_expected_alerts() -> None:
    rows = told(of_sample("agentops-host.log"))
    alerts = EXPECTED["agentops-host.log"]["alerts"]
    assert fired(rows) == set(due(alerts)) | graced()
    errors = {
        f"{row.labels['event_type']}/{row.labels['error_type']}"
        for row in rows
        if row.alert == "WebhookProcessingError" and row.labels["error_type"]
    }
    assert errors == set(alerts["error: webhook processing error"])


def test_every_firing_is_told_once_at_its_severity() -> None:
    rows = told(of_sample("json-lines.log"))
    first = Counter(
        (row.alert, row.labels.get("org_id", ""), row.severity)
        for row in rows
        if row.state == "firing" and row.reason not in ("repeat interval elapsed", "grew")
    )
    assert {one: count for one, count in first.items() if count > 1} == {}


def test_two_logs_at_once_give_what_both_give(ours: Config) -> None:
    names = ("json-lines.log", "agentops-host.log")
    both = fired(told(replayed(ours, *map(sample, names))))
    expected = set(due(EXPECTED["alerts"])) | set(due(EXPECTED[names[1]]["alerts"]))
    assert both == expected | graced()


def test_a_log_cut_in_pieces_gives_what_the_whole_gives(ours: Config) -> None:
    name = "json-lines.log"
    lines = (SAMPLES / name).read_bytes().splitlines(keepends=True)
    pieces = [log(lines[at : at + 100], name=f"{at}") for at in range(0, len(lines), 100)]
    assert replayed(ours, *reversed(pieces)) == of_sample(name)


def attempts(name: str) -> dict[str, int]:
    """Return the most failed attempts that any organisation had before it paid."""
    most: dict[str, int] = {}
    for text in (SAMPLES / name).read_text().splitlines():
        record = json.loads(text)
        if record["status"] == "payment_failure":
            org = record["org_id"]
            most[org] = max(most.get(org, 0), record["attempt_count"])
    return most


def test_one_attempt_less_differs_in_exactly_the_organisations_that_had_two(
    tmp_path: Path,
) -> None:
    rules = (SAMPLES.parent.parent / "rules" / "billing.rules.yaml").read_text()
    changed = tmp_path / "billing.rules.yaml"
    changed.write_text(rules.replace("max(attempt_count) >= 3", "max(attempt_count) >= 2"))
    stricter = shipped_with(changed)
    name = "json-lines.log"
    changes = difference(of_sample(name), replayed(stricter, sample(name)))
    assert {change.told.alert for change in changes} == {"PaymentFailing"}
    most = attempts(name)
    first = [c for c in changes if c.told.reason == "first notification"]
    assert {c.told.labels["org_id"] for c in first if c.kind == "added"} == {
        org for org, count in most.items() if count == 2
    }
    # Who reached three attempts is told at the second one instead: earlier, in other words.
    assert {c.told.labels["org_id"] for c in first if c.kind == "changed"} == {
        org for org, count in most.items() if count >= 3
    }
    assert {c.told.labels["org_id"] for c in changes} == {o for o, n in most.items() if n >= 2}


def shipped_with(rules: Path) -> Config:
    return replace(shipped(), rules=load_rule_files([str(rules)]).rules)


def test_messages_are_rendered_for_each_destination(tmp_path: Path) -> None:
    (message,) = replayed(config(tmp_path, FIRES), log([line(T0, org="a")]))
    slack, mail = message.copies
    assert (slack.destination, mail.destination) == ("#team", "a@example.com")
    assert slack.text.startswith(":warning: [FIRING:1] Fires")
    assert "a fires" in slack.text
    assert mail.subject == "[FIRING:1] Fires a (warning)"
    assert message.told[0].annotations == {"summary": "a fires"}


def test_a_template_that_fails_is_counted(tmp_path: Path) -> None:
    rules = FIRES.replace("{{ labels.org }} fires", "{{ event.nothing_like_it }}")
    replay = Replay(config(tmp_path, rules), clock=CLOCK)
    list(replay.messages([log([line(T0, org="a")])]))
    ((fault, count),) = replay.summary.faults.items()
    assert "nothing_like_it" in fault
    assert count == 2


def test_since_shows_less_but_reads_all(tmp_path: Path) -> None:
    config_ = config(tmp_path, FIRES.replace("count() >= 1", "count() >= 2"))
    lines = [line(T0 + at, org="a") for at in (0, 2 * MINUTE)]
    lines += [line(T0 + 1, org="early"), line(T0 + 2, org="early")]
    shown = told(replayed(config_, log(lines), since=T0 + MINUTE))
    assert [(row.labels["org"], row.at) for row in shown] == [("a", T0 + 2 * MINUTE)]


def test_until_runs_on_to_what_time_alone_brings_about(tmp_path: Path) -> None:
    config_ = config(tmp_path, FIRES)
    states = [row.state for row in told(replayed(config_, log([line(T0, org="a")])))]
    later = told(replayed(config_, log([line(T0, org="a")]), until=T0 + DAY))
    assert (states, [row.state for row in later]) == (["firing"], ["firing", "unseen"])


def test_without_events_there_is_nothing_to_tell(tmp_path: Path) -> None:
    replay = Replay(config(tmp_path, FIRES), clock=CLOCK)
    assert list(replay.messages([log([b"nothing here\n"])])) == []
    assert (replay.first_at, replay.counts.lines) == (None, 1)


def test_the_summary_adds_up(tmp_path: Path) -> None:
    route = Route(
        id="root", receiver="team", group_by=("...",), group_wait=0.0, group_interval=1.0,
        cooldown=10 * MINUTE,
    )  # fmt: skip
    rules = FIRES.replace("within: 1h", "within: 1m")
    replay = Replay(config(tmp_path, rules, route), clock=CLOCK)
    # a fires three times in its cooldown; b and c within the same minute.
    lines = [line(T0 + at, org="a") for at in (0, 120, 240)]
    lines += [line(T0 + at, org=org) for at, org in ((241, "b"), (242, "c"), (3000, "a"))]
    messages = list(replay.messages([log(lines)]))
    total = replay.summary
    assert total.alerts == {"warning": 6}
    assert total.messages == {"team": len(messages)}
    assert total.copies == {("team", d): len(messages) for d in ("#team", "a@example.com")}
    assert total.suppressed["cooldown"] > 0
    recent = [sum(m.at - 60 < other.at <= m.at for other in messages) for m in messages]
    assert total.burst == max(recent)


def _read(name: str, *lines: bytes) -> ReadBatch:
    """Return a read of the daemon: some lines of one log, and nothing left behind."""
    data = b"".join(lines)
    return ReadBatch(chunks=[Chunk(1, name, LogFormat.AUTO, data, 0)] if data else [])


def stepped(config_: Config, name: str) -> list[str]:
    """Return the messages of the daemon's own step, called at each line's time and deadline."""
    by_time: dict[float, list[bytes]] = {}
    for text in (SAMPLES / name).read_bytes().splitlines(keepends=True):
        stamp = datetime.fromisoformat(json.loads(text)["timestamp"]).replace(tzinfo=UTC)
        by_time.setdefault(stamp.timestamp(), []).append(text)
    core = Core(config_)
    core.restore(NOTHING_STORED, min(by_time))
    sent: list[OutboxRow] = []

    def step(read: ReadBatch, at: float) -> None:
        for row in core.step(read, at).outbox:
            core.notifier.end(msgspec.structs.replace(row, outcome=SENT), at)
            sent.append(row)

    for at, lines in sorted(by_time.items()):
        while (due := core.next_deadline()) is not None and due <= at:
            step(_read(name), due)
        step(_read(name, *lines), at)
    # A replay knows no line that tipped an alert: it keeps events, not chunks.
    return [re.sub(r'"evidence":\{.*?[^\\]"\},', '"evidence":null,', row.payload) for row in sent]


def test_the_daemons_own_step_sends_the_very_same_messages(ours: Config) -> None:
    name = "json-lines.log"
    simulation = Simulation(ours)
    items = list(History(ours, clock=CLOCK, wanted=simulation.wanted).columns([sample(name)]))
    simulation.start(items[0].times[0])
    sent = [row.payload for moment in simulation.run(items) for row in moment.step.outbox]
    assert sent == stepped(ours, name)
    assert len(sent) > 100


def test_alerts_beyond_what_a_message_holds_have_their_rows_in_the_next(tmp_path: Path) -> None:
    together = config(tmp_path, FIRES, route=replace(ROUTE, group_by=("alertname",)))
    orgs = [f"org_{number}" for number in range(70)]
    messages = replayed(together, log([line(T0, org=org) for org in orgs]), until=T0 + 5 * MINUTE)
    assert [len(message.told) for message in messages] == [50, 20]
    assert sorted(row.labels["org"] for row in told(messages)) == sorted(orgs)
