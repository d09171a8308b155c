"""Every sentence of the real host: the alert it raises, in every wrapping, and how that ends."""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from sidecar.parse.columns import Columns
from sidecar.parse.event import Event
from sidecar.parse.parser import Parser
from sidecar.ruletest.cases import Case, Suite, load_tests
from sidecar.ruletest.judge import judge
from sidecar.simulate.messages import MessageRenderer, ToldAlert
from sidecar.simulate.simulation import Simulation
from support.parse import NOW, chunk_of, everything, patterns_of
from support.simulate import CLOCK, DAY, HOUR, ROOT, SAMPLES, log, replayed, shipped, told

HOST = SAMPLES / "real-host"
FACTS = dict(line.split("|", 1) for line in (HOST / "facts.txt").read_text().splitlines())
STOCK = (HOST / "stock.log").read_text().splitlines()
PARSER = Parser([*patterns_of("agentops.patterns.yaml"), *patterns_of("access-log.patterns.yaml")])
_LOGGED = re.compile(r"(?P<stamp>\S+ \S+) - (?P<level>[A-Z]+) - (?P<message>.*)")
# What the host prints beside its sentences: starting, stopping, its library's long error texts.
_NOISE = re.compile(
    r"\d{4}-\d\d-\d\d .*|INFO:     [A-Z].*|CONTEXT:.*|\[SQL:.*|FROM.*|WHERE.*| LIMIT.*"
    r"|\[param.*|\(Back.*"
)


@cache
def suite() -> Suite:
    return load_tests(str(ROOT / "rules" / "billing.test.yaml"))


def case_of(name: str) -> Case:
    return next(case for case in suite().cases if case.name == f"fact {name}")


def read(line: str) -> list[Event]:
    return PARSER.parse(chunk_of(line + "\n"), now=NOW, wanted=everything).events


def test_the_cases_hold_each_line_of_the_host() -> None:
    assert {name: case_of(name).lines[0].line for name in FACTS} == FACTS


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_raises_its_alert_and_no_other(name: str) -> None:
    case = case_of(name)
    assert judge(case, suite().config, MessageRenderer(suite().config)).failures == ()
    (event,) = read(FACTS[name])
    simulation = Simulation(suite().config)
    simulation.start(event.at)
    list(simulation.run([Columns.of([event])], event.at + 1))
    expected = {test.alertname for test in case.alert_tests if test.expected}
    pending = {"GracePeriodOver"} if expected == {"SubscriptionDelinquent"} else set()
    assert {alert.name for alert in simulation.alerts()} == expected | pending


def _docker(line: str) -> str:
    return json.dumps({"log": line + "\n", "stream": "stderr", "time": "2026-11-25T02:02:16.1Z"})


def _cri(line: str) -> str:
    return f"2026-11-25T02:02:16.123456789Z stderr F {line}"


Form = Callable[[str, str, str], str]
FORMS: dict[str, Form] = {
    "bare": lambda _stamp, _level, message: message,
    "stamp": lambda stamp, _level, message: f"{stamp} {message}",
    "level": lambda _stamp, level, message: f"{level}: {message}",
    "logger": lambda stamp, level, message: f"{stamp},123 [{level}] app.stripe_webhooks: {message}",
    "JSON": lambda stamp, level, message: json.dumps(
        {"asctime": stamp, "levelname": level, "message": message}
    ),
    "ECS": lambda stamp, level, message: json.dumps(
        {
            "@timestamp": f"{stamp.replace(' ', 'T')}.123Z",
            "log.level": level.lower(),
            "message": message,
            "ecs": {"version": "1.6.0"},
        }
    ),
    "colours": lambda stamp, level, message: f"\x1b[2m{stamp}\x1b[0m {level} - {message}\x1b[0m ",
}
WRAPPINGS: dict[str, Callable[[str], str]] = {"": str, "Docker ": _docker, "CRI ": _cri}


def what(event: Event) -> tuple[Any, ...]:
    return (*event.triple, {k: v for k, v in event.fields.items() if k != "timestamp"})


@pytest.mark.parametrize("name", [name for name, line in FACTS.items() if _LOGGED.match(line)])
def test_a_fact_is_the_same_in_every_wrapping(name: str) -> None:
    (plain,) = read(FACTS[name])
    logged = _LOGGED.fullmatch(FACTS[name])
    assert logged is not None
    for form, spell in FORMS.items():
        for wrapping, wrap in WRAPPINGS.items():
            line = wrap(spell(logged["stamp"], logged["level"], logged["message"]))
            found = [what(event) for event in read(line)]
            assert found == [what(plain)], f"{wrapping}{form}: {line}"


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_that_is_merely_quoted_is_none(name: str) -> None:
    text = FACTS[name].rpartition(" - ")[2] if _LOGGED.match(FACTS[name]) else FACTS[name]
    assert read(f"2026-11-25 02:02:14 - INFO - A visitor wrote: {text}") == []
    assert (
        read(f'203.0.113.9 - - [25/Nov/2026:02:02:14 +0000] "GET / HTTP/1.1" 404 0 "-" "{text}"')
        == []
    )


def test_each_line_of_the_stock_host_is_a_fact_a_call_or_nothing() -> None:
    facts = {(event.event_type, event.status) for line in FACTS.values() for event in read(line)}
    calls = 0
    for line in STOCK:
        events = read(line)
        if not events:
            assert _NOISE.fullmatch(line), line
            continue
        (event,) = events
        calls += event.event_type == "http.request"
        types = {(event.event_type, event.status), ("customer.subscription.deleted", event.status)}
        assert event.event_type == "http.request" or types & facts, line
    assert calls == 39


ORG = "00000000-0000-0000-0000-00000000"
# Counted by hand. Of the payments, 1002 is paid later ("No billing period found …").
RAISED = {
    ("PaymentFailing", f"{ORG}1001", "firing"),
    ("PaymentFailing", f"{ORG}1002", "fired and resolved"),
    ("PaymentFailing", f"{ORG}1003", "firing"),
    ("SubscriptionDelinquent", f"{ORG}1003", "firing"),
    ("GracePeriodOver", f"{ORG}1004", "firing"),
    ("PaidButNotServed", "sub_noitems", "firing"),
    ("PaidButNotServedUnnamed", "cs_1", "firing"),
    ("PaidButNotServedUnnamed", "cs_2", "firing"),
    ("PaidButNotServedUnnamed", f"{ORG}1006", "firing"),
    ("PaidButNotServedUnnamed", f"{ORG}9999", "firing"),
    ("PaidButNotServedUnnamed", "", "firing"),
    ("UsageNotBilled", "", "firing"),
    ("RefundNotHandled", "stripe", "firing"),
    ("WebhookProcessingError", "customer.subscription.updated", "firing"),
    ("WebhookProcessingError", "customer.subscription.deleted", "firing"),
    ("WebhookProcessingError", "unknown", "firing"),
    ("WebhookSignatureFailures", "stripe", "firing"),
    ("WebhookSignaturesRejected", "stripe", "fired and resolved"),
    ("InvalidPayloads", "stripe", "firing"),
}


def who(row: ToldAlert) -> str:
    """Return the values of the alert's `by`."""
    besides = ("alertname", "severity", "kpi", "event_id", "error_type")
    return "".join(value for name, value in row.labels.items() if name not in besides)


def test_the_stock_host_raises_all_that_it_should() -> None:
    lines = [f"{line}\n".encode() for line in STOCK]
    rows = told(replayed(shipped(), log(lines), until=replay_end(lines, 60.0)))
    assert {(row.alert, who(row), row.state) for row in rows} == RAISED
    assert len(rows) == len(RAISED)


def replay_end(lines: list[bytes], more: float) -> float:
    """Return `more` seconds after the last event, or after the replay's own clock."""
    events = PARSER.parse(chunk_of(b"".join(lines)), now=NOW, wanted=everything).events
    stamped = [event.at for event in events if event.at != NOW]
    return max(stamped[-1:] or [CLOCK]) + more


def history(lines: list[bytes], days: float) -> list[ToldAlert]:
    """Return all that is told of customers until so many days after the last line."""
    rows = told(replayed(shipped(), log(lines), until=replay_end(lines, days * DAY)))
    return [row for row in rows if row.alert != "NoWebhooks"]


@pytest.mark.parametrize(
    ("name", "alerts"),
    [
        ("min-deleted.log", {"SubscriptionDelinquent", "GracePeriodOver", "SubscriptionEnded"}),
        ("min-rebuy.log", {"SubscriptionDelinquent", "GracePeriodOver"}),
        ("min-gone.log", {"PaymentFailing", "SubscriptionEnded"}),
    ],
)
def test_what_the_host_ends_is_told_as_resolved_and_nobody_is_paged_again(
    name: str, alerts: set[str]
) -> None:
    lines = (HOST / name).read_bytes().splitlines(keepends=True)
    rows = history(lines, 31)
    last = {row.alert: row for row in rows}
    assert last.keys() == alerts
    news = last.pop("SubscriptionEnded", None)  # its end is told to nobody
    assert news is None or news.reason == "first notification"
    assert {row.state for row in last.values()} == {"resolved"}
    assert max(row.at for row in rows) < replay_end(lines, 15 * 60)


def test_each_checkout_of_the_group_is_told_of_by_itself() -> None:
    lines = (HOST / "min-group.log").read_bytes().splitlines(keepends=True)
    rows = history(lines, 31)
    first = [row for row in rows if row.reason == "first notification"]
    assert [row.labels["subscription_id"] for row in first] == ["sub_1", "sub_2", "sub_3"]
    assert [row.state for row in rows[-3:]] == ["unseen"] * 3
    assert max(row.at for row in rows) < replay_end(lines, 7 * DAY + HOUR)


def test_a_customer_who_is_past_due_for_70_days_is_told_of_once_a_week_and_at_the_end() -> None:
    update = "2026-{} 08:00:00 - INFO - Subscription updated for org acme: status={}\n"
    lines = [update.format("09-01", "past_due").encode(), update.format("11-10", "active").encode()]
    rows = history(lines, 31)
    for alert, weeks in (("SubscriptionDelinquent", 10), ("GracePeriodOver", 10)):
        mine = [row for row in rows if row.alert == alert]
        assert [row.state for row in mine] == ["firing"] * weeks + ["resolved"]
    assert max(row.at for row in rows) < replay_end(lines, 15 * 60)


def test_who_is_never_heard_of_again_is_no_longer_seen_after_90_days() -> None:
    said = b"Org acme subscription is past_due. 1 days left in grace period."
    rows = history([b"2026-08-01 08:00:00 - WARNING - " + said + b"\n"], 100)
    last = {row.alert: (row.state, round((row.at - rows[0].at) / DAY)) for row in rows}
    assert last == {"SubscriptionDelinquent": ("unseen", 90), "GracePeriodOver": ("unseen", 90)}


def test_an_older_state_that_comes_later_misleads_where_nothing_says_when_it_was_made() -> None:
    lines = (HOST / "out-of-order.log").read_bytes().splitlines(keepends=True)
    assert [row.alert for row in history(lines, 1 / 24)] == ["SubscriptionDelinquent"]
