"""Our own metrics: all there from the start, named as Prometheus wants it."""

import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry, Counter

from sidecar.config.settings import Config
from sidecar.measure.series import Metric
from sidecar.notify.model import Receiver, Route
from sidecar.parse.event import RejectReason
from sidecar.receivers.base import FailureKind
from sidecar.receivers.email.config import EmailConfig
from sidecar.receivers.slack.config import SlackConfig
from sidecar.rules.aggregates import COUNT
from sidecar.rules.condition import Aggregate, Comparison, Condition
from sidecar.rules.rule import Escalation, Rule
from sidecar.web.metrics import SelfMetrics, render_registry
from support.measure import matchers, sample, samples

ANY = Comparison(left=Aggregate(COUNT), op=">", number=0)
RULE = Rule(
    name="Delinquent",
    group="billing",
    match=matchers('status="past_due"'),
    by=("org_id",),
    condition=Condition(ANY, "count() > 0"),
    labels={"severity": "warning"},
    escalate=(
        Escalation(after=60.0, labels={"severity": "critical"}),
        Escalation(after=90.0, annotations={"summary": "still"}),
    ),
)
CONFIG = Config(
    path="sidecar.yaml",
    sources=(),
    patterns=(),
    rules=(RULE,),
    metrics=(Metric(name="failures_total", help=""),),
    state_path="state.db",
    route=Route(id="{}", receiver="team"),
    receivers={
        "team": Receiver(
            name="team",
            configs={
                "slack": (SlackConfig(channel="#team"),),
                "email": (EmailConfig(to=("a@b.c",), from_="d@e.f", smarthost=(("mail", 25),)),),
            },
        ),
        "quiet": Receiver(name="quiet"),
    },
)


def expecting() -> SelfMetrics:
    metrics = SelfMetrics()
    metrics.expect(CONFIG)
    return metrics


def rendered(metrics: SelfMetrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return samples(metrics.render(openmetrics=False))


def test_every_reject_reason_exists_at_0() -> None:
    found = rendered(SelfMetrics())
    assert {found[sample("sidecar_rejects_total", reason=one.value)] for one in RejectReason} == {0}


def test_every_way_a_delivery_can_fail_exists_at_0() -> None:
    found, name = rendered(expecting()), "sidecar_notifications_failed_total"
    for integration in ("slack", "email"):
        for kind in FailureKind:
            key = sample(name, receiver="team", integration=integration, reason=kind.value)
            assert found[key] == 0


def test_a_receiver_without_integrations_has_no_series() -> None:
    assert 'receiver="quiet"' not in expecting().render(openmetrics=False)


def test_overflow_of_each_metric_exists_at_0() -> None:
    found = rendered(expecting())
    for metric in ("webhook_events_total", "failures_total"):
        assert found[sample("sidecar_series_overflow_total", metric=metric)] == 0
        assert found[sample("sidecar_bad_values_total", metric=metric)] == 0


def test_what_a_rule_cannot_read_exists_at_0() -> None:
    found = rendered(expecting())
    for name in ("values", "instants"):
        assert found[sample(f"sidecar_rule_bad_{name}_total", alertname="Delinquent")] == 0


def test_expecting_again_keeps_what_was_counted() -> None:
    metrics = expecting()
    metrics.sent.labels("team", "slack").inc()
    metrics.expect(CONFIG)
    key = sample("sidecar_notifications_sent_total", receiver="team", integration="slack")
    assert rendered(metrics)[key] == 1


@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])
def test_there_are_no_created_samples(
    openmetrics: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    assert "_created" not in expecting().render(openmetrics=openmetrics)


def test_two_daemons_in_one_process_count_apart() -> None:
    first, second = SelfMetrics(), SelfMetrics()
    first.read_lines.inc()
    assert rendered(second)[sample("sidecar_read_lines_total")] == 0


def test_the_end_mark_is_left_to_whoever_writes_the_whole() -> None:
    registry = CollectorRegistry()
    Counter("x", "X.", registry=registry)
    assert render_registry(registry, openmetrics=True).splitlines()[-1] == "x_total 0.0"


def test_importing_them_does_not_import_a_web_server() -> None:
    code = "import sys, sidecar.web.metrics; print({'starlette', 'uvicorn'} & sys.modules.keys())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "set()\n"
