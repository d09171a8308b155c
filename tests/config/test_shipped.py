"""The files we ship: without fault, and holding what the KPI table asks for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.load import check_config, check_files, load_config
from sidecar.config.settings import Config
from sidecar.notify.model import Receiver, Route
from sidecar.parse.event import Chunk, LogFormat
from sidecar.parse.parser import Parser
from sidecar.receivers.email.config import EmailConfig
from sidecar.receivers.slack.config import SlackConfig
from sidecar.render.sandbox import TemplateEnvironment
from sidecar.rules.alert import Transition
from sidecar.rules.engine import Engine
from sidecar.rules.rule import Rule
from sidecar.secret import Secret
from support.config import load_pattern_files, load_rule_files

NOW = 1_793_788_200.0  # 2026-11-04 10:30 UTC, when the samples have just ended
ROOT = Path(__file__).parents[2]
ENVIRON = {
    "SLACK_BOT_TOKEN": "xoxb-1",
    "SMTP_SMARTHOST": "mail.example.com:587",
    "ONCALL_EMAIL": "oncall@example.com, second@example.com",
    "TEAM_EMAIL": "team@example.com",
}
RULES = {
    rule.name: rule for rule in load_rule_files([str(ROOT / "rules/billing.rules.yaml")]).rules
}


@pytest.fixture(scope="module")
def config() -> Config:
    result = check_config(str(ROOT / "sidecar.yaml"), ENVIRON)
    assert result.faults == ()
    assert result.config is not None
    return result.config


def child(config: Config, receiver: str) -> Route:
    return next(route for route in config.route.routes if route.receiver == receiver)


def test_shipped_rules_have_neither_errors_nor_warnings() -> None:
    rules = [str(path) for path in ROOT.glob("rules/*.rules.yaml")]
    patterns = [str(path) for path in ROOT.glob("rules/*.patterns.yaml")]
    assert check_files(rules, patterns, []).faults == ()


def test_only_what_has_no_sensible_default_must_be_in_the_environment(config: Config) -> None:
    assert config.state_path == "/var/lib/sidecar/state.db"
    assert [source.path for source in config.sources] == ["/var/log/webhook/*.log"]
    assert config.http.listen[1] == 9787


def test_the_login_of_the_mail_server_is_taken_from_the_environment() -> None:
    environ = {**ENVIRON, "SMTP_USERNAME": "bot", "SMTP_PASSWORD": "p", "SMTP_REQUIRE_TLS": "false"}
    shipped = load_config(str(ROOT / "sidecar.yaml"), environ)
    mail = shipped.receivers["critical"].configs["email"][0]
    assert isinstance(mail, EmailConfig)
    assert (mail.auth_username, mail.auth_password) == ("bot", Secret("p"))
    assert mail.require_tls is False


def test_one_incoming_webhook_in_the_environment_is_enough() -> None:
    environ = {"SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T/B/x"}
    result = check_config(str(ROOT / "sidecar.yaml"), environ)
    assert result.config is not None
    assert result.config.off == "critical: email_configs, warning: email_configs"
    for receiver in result.config.receivers.values():
        (entry,) = receiver.configs["slack"]
        assert isinstance(entry, SlackConfig)
        assert entry.api_url == Secret(environ["SLACK_WEBHOOK_URL"])
    said = [fault.message for fault in result.faults]
    assert said.count("`to` expands to nothing: this entry is off") == 2
    assert len(said) == 3  # and that the channels share a webhook


def test_mail_without_a_server_is_off() -> None:
    environ = {name: value for name, value in ENVIRON.items() if name != "SMTP_SMARTHOST"}
    result = check_config(str(ROOT / "sidecar.yaml"), environ)
    assert result.config is not None
    assert result.config.off == "critical: email_configs, warning: email_configs"
    (fault,) = result.faults
    assert fault.message == "`smtp_smarthost` expands to nothing: what relies on that is off"


def test_nobody_to_tell_is_an_error_of_each_receiver() -> None:
    result = check_config(str(ROOT / "sidecar.yaml"), {})
    names = ("critical", "error", "warning", "info")
    assert [fault.message for fault in result.errors] == [
        f"receiver `{name}` has nobody to tell: all its entries are off" for name in names
    ]


def test_ten_alerts_or_thirty_seconds(config: Config) -> None:
    assert (config.route.group_limit, config.route.group_wait) == (10, 30.0)


@pytest.mark.parametrize(
    ("name", "channel", "mail", "retries", "hours"),
    [
        ("critical", "#critical-alerts", ("oncall@example.com", "second@example.com"), 3, 24),
        ("error", "#errors", (), 2, 12),
        ("warning", "#warnings", ("team@example.com",), 1, 6),
        ("info", "#notifications", (), 0, 1),
    ],
)
def test_the_four_tiers(
    *, config: Config, name: str, channel: str, mail: tuple[str, ...], retries: int, hours: int
) -> None:
    receiver: Receiver = config.receivers[name]
    told = {
        kind: tuple(name for config in configs for name in config.destinations())
        for kind, configs in receiver.configs.items()
    }
    assert (told["slack"], told.get("email", ())) == ((channel,), mail)
    assert (receiver.quick_retries, receiver.max_age) == (retries, hours * 3600.0)


def test_an_unknown_severity_takes_the_warning_tier(config: Config) -> None:
    assert config.route.receiver == "warning"
    assert [str(route.matchers[0]) for route in config.route.routes] == [
        'severity="critical"',
        'severity="warning"',
        'severity="error"',
        'severity="info"',
    ]


def test_critical_alerts_go_out_at_once_and_one_by_one_customer(config: Config) -> None:
    route = child(config, "critical")
    by = ("alertname", "org_id", "subscription_id", "session_id")
    assert (route.group_wait, route.group_by) == (0.0, by)


def test_billing_alerts_repeat_once_a_day_and_known_debtors_once_a_week(config: Config) -> None:
    critical, warning = child(config, "critical"), child(config, "warning")
    assert config.route.repeat_interval == critical.repeat_interval == 86400.0
    weekly = [*critical.routes, warning]
    assert {route.repeat_interval for route in weekly} == {7 * 86400.0}
    assert {str(route.matchers[-1]) for route in weekly} == {'kpi="subscription_status"'}


# The KPI table: what alerts are called that belong to a line of it.
KPI = {
    "payment_failure_count": {"PaymentFailing": "critical"},
    "subscription_status": {
        "SubscriptionDelinquent": "warning",
        "GracePeriodOver": "critical",
        "SubscriptionEnded": "info",
    },
    "license_sync_failure": {"LicenseSyncFailure": "error"},
    "webhook_processing_error": {
        "WebhookProcessingError": "error",
        "UsageNotBilled": "error",
        "PaidButNotServed": "critical",
        "PaidButNotServedUnnamed": "critical",
        "RefundNotHandled": "warning",
        "WebhookOutage": "critical",
    },
}
OTHERS = {
    "DisputeOpened": "error",
    "WrongApiVersion": "critical",
    "WebhookConfigError": "critical",
    "StripeVariablesMissing": "error",
    "WebhookSignatureFailures": "warning",
    "WebhookSignaturesRejected": "error",
    "InvalidPayloads": "warning",
    "NoWebhooks": "warning",
}


def test_the_kpi_table_and_the_endpoint_are_the_whole_file() -> None:
    found: dict[str, dict[str, str]] = {}
    for rule in RULES.values():
        found.setdefault(rule.labels.get("kpi", ""), {})[rule.name] = rule.severity
    assert found == {**KPI, "": OTHERS}


@pytest.mark.parametrize("kpi", KPI)
def test_a_line_of_the_kpi_table_is_found_by_its_name(kpi: str) -> None:
    dashboard = json.loads((ROOT / "grafana/billing.json").read_text())
    assert kpi in (ROOT / "docs/metrics.md").read_text()
    assert [panel["title"] for panel in panels(dashboard) if kpi in panel["title"]]


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def test_test_mode_reaches_no_rule_about_a_customer() -> None:
    live = 'livemode!="false"'
    about = [one for one in RULES.values() if "kpi" in one.labels or one.name == "DisputeOpened"]
    without = {rule.name for rule in about if live not in map(str, rule.match)}
    assert without == {"WebhookOutage"}  # which counts calls, whatever they were about
    assert all(live in map(str, rule.resolve) for rule in about if rule.resolve)


def named(rule: Rule, field: str) -> set[str]:
    values = [matcher.named_values() for matcher in rule.match if matcher.name == field]
    return {value for one in values for value in one}


def test_every_failure_status_of_the_host_is_a_processing_error() -> None:
    errors = {
        status
        for name in KPI["webhook_processing_error"]
        for status in named(RULES[name], "status")
    }
    assert errors >= {
        "processing_error",
        "construction_error",
        "database_error",
        "add_item_error",
        "org_not_found",
        "price_mismatch",
        "missing_reference_id",
        "missing_subscription_id",
    }


def test_the_second_line_about_a_third_failure_makes_no_second_alert() -> None:
    assert all("critical_payment_failure" not in named(rule, "status") for rule in RULES.values())


def test_the_end_of_the_grace_comes_from_the_shipped_patterns() -> None:
    over = RULES["GracePeriodOver"]
    assert (over.for_, [(one.name, one.offset) for one in over.until]) == (
        3 * 86400.0,
        [("event_time + grace_days_left days", 86400.0), ("current_period_end", 3 * 86400.0)],
    )
    patterns = load_pattern_files([str(ROOT / "rules/agentops.patterns.yaml")])
    stating = [one for one in patterns if "(?P<grace_days_left>" in one.regex]
    stating += [one for one in patterns if "grace_days_left" in one.fields]
    types = {one.fields["event_type"] for one in stating}
    assert len(types) == 2
    assert types <= named(over, "event_type")


def sample_transitions() -> list[Transition]:
    """Return what the rules make of everything the host printed."""
    patterns = load_pattern_files([str(ROOT / "rules/agentops.patterns.yaml")])
    engine = Engine(list(RULES.values()), redact=dict, stale_after=1e9)
    engine.restore((), (), (), now=NOW)
    for number, name in enumerate(("agentops-host.log", "host-text.log", "real-host/stock.log")):
        data = (ROOT / "tests/samples" / name).read_bytes()
        chunk = Chunk(file=number, log=name, format=LogFormat.AUTO, data=data, start=0)
        for event in Parser(patterns).parse(chunk, now=NOW, wanted=engine.wants).events:
            engine.observe(event, read_at=NOW)
    return engine.drain().transitions


def test_every_annotation_renders_for_every_alert_of_the_samples() -> None:
    sandbox = TemplateEnvironment()
    alerts = [transition.alert for transition in sample_transitions()]
    texts = [
        sandbox.fill(
            sandbox.from_string(source),
            {
                "value": alert.value,
                "labels": alert.labels,
                "event": alert.event,
                "collected": alert.collected,
            },
        )
        for alert in alerts
        for name, source in alert.annotations.items()
        if name != "resolved"
    ]
    assert {alert.name for alert in alerts} >= {
        "PaymentFailing", "SubscriptionDelinquent", "GracePeriodOver", "SubscriptionEnded",
        "LicenseSyncFailure", "WebhookProcessingError", "WebhookConfigError", "PaidButNotServed",
        "PaidButNotServedUnnamed", "UsageNotBilled", "RefundNotHandled", "InvalidPayloads",
    }  # fmt: skip
    assert [text for text in texts if not text or "None" in text or "{" in text] == []
    summaries = [text for text in texts if "docs/runbook" not in text and len(text) < 160]
    assert len(summaries) >= len(alerts)


def test_every_alert_says_what_to_do() -> None:
    for name, rule in RULES.items():
        said = set(rule.annotations) - {"resolved", "title"}
        assert said == {"summary", "description", "runbook_url"}, name
        anchor = name.removesuffix("Unnamed").lower()
        assert rule.annotations["runbook_url"] == f"docs/runbook.md#{anchor}"
        assert f"## {name.removesuffix('Unnamed')}\n" in (ROOT / "docs/runbook.md").read_text()
        assert "\n" not in rule.annotations["summary"]


def test_of_a_list_of_addresses_only_the_empty_ones_are_off(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text("""\
sources: [{path: app.log}]
rule_files: []
global: {smtp_smarthost: 'mail:25', smtp_from: a@example.com}
route: {receiver: team}
receivers:
  - {name: team, email_configs: [{to: [a@example.com, '${B:-}']}, {to: '${B:-}, c@example.com'}]}
""")
    result = check_config(str(tmp_path / "sidecar.yaml"), {})
    assert result.config is not None
    entries = result.config.receivers["team"].configs["email"]
    assert [one.destinations() for one in entries] == [("a@example.com",), ("c@example.com",)]
    assert result.config.off == ""


@pytest.mark.parametrize(
    ("source", "judged"),
    [
        ("{path: /var/log/a.log}", False),
        ("{stripe_api: {api_key: k, endpoint: 'https://a.example/b'}}", True),
        (
            "{stripe_webhook: {listen: '127.0.0.1:9788', path: /stripe, secrets_file: secrets}}",
            True,
        ),
    ],
)
def test_pairs_that_begin_at_stripe_are_judged_where_stripe_is_a_source(
    tmp_path: Path, source: str, *, judged: bool
) -> None:
    (tmp_path / "secrets").write_text("whsec_a\n")
    path = tmp_path / "sidecar.yaml"
    path.write_text(
        f"sources: [{{path: /b.log}}, {source}]\nrule_files: ['{ROOT}/rules/*.rules.yaml']\n"
        "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
    )
    config = load_config(str(path), {})
    names = [rule.name for rule in config.judged]
    assert ("WebhookNeverReachedHost" in names) == judged
    assert set(names) >= {rule.name for rule in config.rules} - {"WebhookNeverReachedHost"}
