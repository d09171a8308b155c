"""The files we ship: without fault, and holding what the KPI table asks for."""

from pathlib import Path

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
        'severity="error"',
        'severity="info"',
    ]


def test_critical_alerts_go_out_at_once_and_one_by_one_customer(config: Config) -> None:
    route = child(config, "critical")
    assert (route.group_wait, route.group_by) == (0.0, ("alertname", "org_id"))


def test_billing_alerts_repeat_once_a_day(config: Config) -> None:
    assert config.route.repeat_interval == child(config, "critical").repeat_interval == 86400.0


@pytest.mark.parametrize(
    ("name", "severity", "condition", "by"),
    [
        ("PaymentFailing", "critical", "max(attempt_count) >= 3", ("org_id",)),
        (
            "SubscriptionDelinquent",
            "warning",
            "last(status) in [past_due, unpaid]",
            ("org_id",),
        ),
        ("SubscriptionEnded", "info", "count() >= 1", ("org_id",)),
        ("LicenseSyncFailure", "error", "count() >= 1", ("org_id",)),
        ("WebhookProcessingError", "error", "count() >= 1", ("event_type", "error_type")),
        ("WebhookConfigError", "critical", "count() >= 1", ("webhook_provider",)),
        ("WebhookSignatureFailures", "warning", "count() >= 5", ("webhook_provider",)),
        ("NoWebhooks", "warning", "count() < 1", ()),
    ],
)
def test_the_kpi_table(name: str, severity: str, condition: str, by: tuple[str, ...]) -> None:
    rule = RULES[name]
    assert (rule.severity, rule.condition.text, rule.by) == (severity, condition, by)


def test_the_kpi_table_is_the_whole_file() -> None:
    assert len(RULES) == 8


def named(rule: Rule, field: str) -> set[str]:
    values = [matcher.named_values() for matcher in rule.match if matcher.name == field]
    return {value for one in values for value in one}


def test_every_failure_status_of_the_host_is_a_processing_error() -> None:
    assert named(RULES["WebhookProcessingError"], "status") == {
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


def test_a_delinquent_subscription_escalates_when_its_grace_is_over() -> None:
    steps = RULES["SubscriptionDelinquent"].escalate
    days = 86400.0
    assert [(step.at.field, step.at.offset, step.after) for step in steps] == [
        ("current_period_end", 3 * days, 3 * days),
        ("grace_ended_at", 0.0, None),
    ]
    assert {step.labels["severity"] for step in steps} == {"critical"}


def test_the_field_that_ends_the_grace_comes_from_the_shipped_pattern() -> None:
    patterns = load_pattern_files([str(ROOT / "rules/agentops.patterns.yaml")])
    ends = [pattern for pattern in patterns if "(?P<grace_ended_at>" in pattern.regex]
    types = {pattern.fields["event_type"] for pattern in ends}
    assert types
    assert types <= named(RULES["SubscriptionDelinquent"], "event_type")


def sample_transitions() -> list[Transition]:
    """Return what the rules make of everything the host printed."""
    patterns = load_pattern_files([str(ROOT / "rules/agentops.patterns.yaml")])
    engine = Engine(list(RULES.values()), redact=dict, stale_after=1e9)
    engine.restore((), (), (), now=NOW)
    for number, name in enumerate(("agentops-host.log", "host-text.log")):
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
            {"value": alert.value, "labels": alert.labels, "event": alert.event},
        )
        for alert in alerts
        for source in alert.annotations.values()
    ]
    assert {alert.name for alert in alerts} == RULES.keys() - {
        "NoWebhooks",
        "WebhookSignatureFailures",
    }
    assert [text for text in texts if not text or "None" in text or "{" in text] == []


def test_every_alert_says_what_to_do() -> None:
    for name, rule in RULES.items():
        assert set(rule.annotations) == {"summary", "description", "runbook_url"}, name
        assert rule.annotations["runbook_url"] == f"docs/runbook.md#{name.lower()}"
        assert len(rule.annotations["summary"]) < 160
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
