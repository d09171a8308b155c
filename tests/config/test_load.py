"""What a right configuration becomes."""

from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.config.http import read_http
from sidecar.config.load import check_config, load_config
from sidecar.config.settings import Config
from sidecar.config.sources import Source
from sidecar.matchers import Matcher
from sidecar.measure.series import Metric, MetricType
from sidecar.notify.model import Rate, Receiver, Route
from sidecar.parse.event import LogFormat
from sidecar.parse.patterns import Pattern
from sidecar.receivers.email.config import EmailConfig, TlsConfig
from sidecar.receivers.slack.config import SlackConfig
from sidecar.redact import RedactPolicy
from sidecar.rules.condition import Instant
from sidecar.rules.grammar import parse_condition
from sidecar.rules.rule import Escalation, Rule
from sidecar.secret import Secret
from sidecar.syntax.faults import ConfigError
from support.config import ENVIRON, RULES, SECRET, load_pattern_files, load_rule_files, write_config


def loaded(folder: Path, **parts: str) -> Config:
    return load_config(write_config(folder, **parts), ENVIRON)


def receiver(folder: Path, text: str, globals_: str = "") -> Receiver:
    receivers = f"receivers:\n  - name: team\n{text}"
    return loaded(folder, receivers=receivers, globals_=globals_).receivers["team"]


def slack_of(receiver: Receiver) -> SlackConfig:
    config = receiver.configs["slack"][0]
    assert isinstance(config, SlackConfig)
    return config


def mail_of(receiver: Receiver) -> EmailConfig:
    config = receiver.configs["email"][0]
    assert isinstance(config, EmailConfig)
    return config


def faults(folder: Path, **parts: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, **parts)
    return [fault.message for fault in caught.value.faults]


# --- the sections


def test_what_is_not_written_has_its_default(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    assert config == Config(
        path=str(tmp_path / "sidecar.yaml"),
        sources=(Source(path=str(tmp_path / "app.log")),),
        patterns=(),
        rules=config.rules,
        metrics=(),
        templates=config.templates,
        state_path="/var/lib/sidecar/state.db",
        stale_after=3600.0,
        redact=RedactPolicy(),
        route=Route(id="{}", receiver="team"),
        receivers=config.receivers,
    )


def test_sources_are_read_with_paths_beside_the_file(tmp_path: Path) -> None:
    rest = """\
sources:
  - {path: logs/*.log, format: cri, start_at: beginning}
  - {path: /var/log/a.log, start_at: end}
  - {path: "-", format: docker, prefix: '[a-z]+ '}
"""
    assert loaded(tmp_path, rest=rest).sources == (
        Source(path=f"{tmp_path}/logs/*.log", format=LogFormat.CRI, from_beginning=True),
        Source(path="/var/log/a.log", from_beginning=False),
        Source(path="-", format=LogFormat.DOCKER, prefix="[a-z]+ "),
    )


def test_a_file_has_the_prefix_of_the_first_source_that_names_it(tmp_path: Path) -> None:
    rest = """\
sources:
  - {path: logs/*.log, prefix: a}
  - {path: logs/app.log, prefix: b}
  - {path: other.log}
"""
    config = loaded(tmp_path, rest=rest)
    named = ("logs/app.log", "logs/app.log.1.gz", "other.log", "elsewhere.log")
    assert [config.pinned(str(tmp_path / n)).get("prefix") for n in named] == ["a", "a", None, None]


def test_wildcards_in_the_name_of_our_own_directory_are_plain_text(tmp_path: Path) -> None:
    folder = tmp_path / "a[b]"
    folder.mkdir()
    config = loaded(folder)
    assert config.sources == (Source(path=f"{tmp_path}/a[[]b]/app.log"),)
    assert [rule.name for rule in config.rules] == ["PaymentFailing"]


def test_the_plain_settings_are_read(tmp_path: Path) -> None:
    rest = """\
state: {path: var/state.db}
http: {listen: "127.0.0.1:0"}
stale_after: 3650d
redact: {keys: [iban], patterns: ['DE\\d{20}'], max_length: 50}
"""
    config = loaded(tmp_path, rest=rest)
    assert config.state_path == f"{tmp_path}/var/state.db"
    assert config.http.listen == ("127.0.0.1", 0)
    assert config.stale_after == 3650 * 86400.0
    assert config.redact == RedactPolicy(keys=("iban",), patterns=(r"DE\d{20}",), max_length=50)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":9000", ("0.0.0.0", 9000)),  # noqa: S104 - what is asked for
        ("[::1]:9000", ("::1", 9000)),
        ("localhost:9000", ("localhost", 9000)),
    ],
)
def test_listen_addresses(tmp_path: Path, text: str, expected: tuple[str, int]) -> None:
    assert loaded(tmp_path, rest=f"http: {{listen: '{text}'}}").http.listen == expected


def test_variables_are_expanded_whatever_type_they_stand_for(tmp_path: Path) -> None:
    text = """\
    slack_configs:
      - channel: '#${NOT_SET:-team}'
        send_resolved: ${NOT_SET:-false}
        rate: {burst: '${BURST}'}
"""
    slack = slack_of(receiver(tmp_path, text, "global: {slack_app_token: '${TOKEN}'}"))
    assert slack.channel == "#team"
    assert slack.send_resolved is False
    assert slack.rate.burst == 7
    assert slack.app_token == Secret(f"xoxb-{SECRET}")


def test_variables_are_not_expanded_in_rule_files(tmp_path: Path) -> None:
    path = tmp_path / "b.rules.yaml"
    path.write_text(RULES + "        annotations: {summary: 'costs ${TOKEN} $$5'}\n")
    rules = load_rule_files([str(path)]).rules
    assert rules[0].annotations == {"summary": "costs ${TOKEN} $$5"}


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = Path(write_config(tmp_path))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_config(str(path), ENVIRON).route.receiver == "team"


def test_an_alias_stands_for_its_anchor(tmp_path: Path) -> None:
    receivers = """\
receivers:
  - {name: team, slack_configs: [{channel: '#team', rate: &slow {per_second: 0.5}}]}
"""
    rest = "x: *slow"
    assert faults(tmp_path, receivers=receivers, rest=rest) == ["unknown key `x`"]


def test_aliases_that_multiply_into_billions_are_refused(tmp_path: Path) -> None:
    levels = [f"  - &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    rest = "\n".join(["redact:", "  keys:", "  - &l0 [a]", *levels])
    assert faults(tmp_path, rest=rest) == ["aliases make more than 200,000 values"]


def test_nesting_that_would_break_the_yaml_library_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text("- " * 200_000)
    with pytest.raises(ConfigError, match="nested more than 40 levels deep"):
        load_config(str(path), ENVIRON)


def test_a_file_that_is_not_utf8_says_where(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"sources: []\n# Zo\xeb\n")
    with pytest.raises(ConfigError) as caught:
        load_config(str(path), ENVIRON)
    assert [(f.line, f.column, f.message) for f in caught.value.faults] == [(2, 5, "not UTF-8")]


def test_a_configuration_that_is_not_there_is_one_fault(tmp_path: Path) -> None:
    path = tmp_path / "nothing.yaml"
    with pytest.raises(ConfigError) as caught:
        load_config(str(path), ENVIRON)
    assert (
        str(caught.value) == f"{path}:1:1: error: {path} cannot be read: No such file or directory"
    )


def test_faults_of_every_file_come_at_once_and_sorted(tmp_path: Path) -> None:
    (tmp_path / "b.rules.yaml").write_text("groups: 5\n")
    (tmp_path / "c.patterns.yaml").write_text("patterns: 5\n")
    rest = "rule_files: [b.rules.yaml]\npattern_files: [c.patterns.yaml]\nstale_after: soon"
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, rest=rest)
    places = [(Path(fault.file).name, fault.line) for fault in caught.value.faults]
    assert places == [("b.rules.yaml", 1), ("c.patterns.yaml", 1), ("sidecar.yaml", 7)]


def test_warnings_do_not_keep_a_configuration_from_loading(tmp_path: Path) -> None:
    receivers = "receivers: [{name: team}, {name: nobody}]"
    result = check_config(write_config(tmp_path, receivers=receivers), ENVIRON)
    assert [fault.message for fault in result.faults] == ["no route leads to receiver `nobody`"]
    assert result.config is not None
    assert set(result.config.receivers) == {"team", "nobody"}


# --- files it names


def test_globs_are_sorted_and_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    for name in ("z", "b"):
        (tmp_path / f"{name}.rules.yaml").write_text(RULES.replace("PaymentFailing", name))
    config = loaded(tmp_path, rest="rule_files: [z.rules.yaml, '*.rules.yaml']")
    assert [rule.name for rule in config.rules] == ["z", "PaymentFailing", "b"]


def test_a_template_file_replaces_a_shipped_one_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "slack.text.j2").write_text("mine: {{ status }}")
    config = loaded(tmp_path, rest="template_files: [mine/*.j2]")
    assert config.templates["slack.text.j2"] == "mine: {{ status }}"


def test_a_secret_file_loses_one_newline_and_can_be_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("xoxb-old\n")
    slack = slack_of(
        receiver(tmp_path, "    slack_configs: [{channel: '#team', app_token_file: token}]\n")
    )
    assert slack.app_token == Secret("xoxb-old")
    file.write_text("xoxb-new\n")
    assert slack.app_token is not None
    assert slack.app_token.refresh() is True
    assert slack.app_token.reveal() == "xoxb-new"


# --- receivers


def test_slack_takes_what_it_does_not_say_from_global(tmp_path: Path) -> None:
    text = "    slack_configs: [{channel: '#a'}, {channel: '#b', app_token: xoxb-own}]\n"
    globals_ = "global: {slack_app_token: xoxb-all, slack_app_url: 'http://127.0.0.1:1/api'}"
    common = SlackConfig(
        channel="#a", app_token=Secret("xoxb-all"), app_url="http://127.0.0.1:1/api"
    )
    assert receiver(tmp_path, text, globals_).configs["slack"] == (
        common,
        replace(common, channel="#b", app_token=Secret("xoxb-own")),
    )


def test_an_own_webhook_wins_over_the_token_of_global(tmp_path: Path) -> None:
    text = "    slack_configs: [{channel: '#a', api_url: 'http://127.0.0.1:1/hook'}]\n"
    slack = slack_of(receiver(tmp_path, text, "global: {slack_app_token: xoxb-all}"))
    assert (slack.api_url, slack.app_token) == (Secret("http://127.0.0.1:1/hook"), None)


def test_everything_slack_can_say(tmp_path: Path) -> None:
    text = """\
    slack_configs:
      - channel: C0123456
        app_token: xoxb-own
        send_resolved: false
        title: '{{ status }}'
        text: plain
        rate: {per_second: 0.5, burst: 2}
    max_age: 12h
    quick_retries: 3
"""
    assert receiver(tmp_path, text) == Receiver(
        name="team",
        configs={
            "slack": (
                SlackConfig(
                    channel="C0123456",
                    app_token=Secret("xoxb-own"),
                    send_resolved=False,
                    title="{{ status }}",
                    text="plain",
                    rate=Rate(per_second=0.5, burst=2),
                ),
            )
        },
        max_age=12 * 3600.0,
        quick_retries=3,
    )


def test_mail_takes_what_it_does_not_say_from_global(tmp_path: Path) -> None:
    globals_ = """\
global:
  smtp_smarthost: mail.example.com:587
  smtp_from: Alerts <alerts@example.com>
  smtp_hello: sidecar.example.com
  smtp_auth_username: bot
  smtp_auth_password: hunter2
  smtp_require_tls: false
"""
    mail = receiver(tmp_path, "    email_configs: [{to: a@example.com}]\n", globals_)
    assert mail.configs["email"] == (
        EmailConfig(
            to=("a@example.com",),
            from_="Alerts <alerts@example.com>",
            smarthost=(("mail.example.com", 587),),
            hello="sidecar.example.com",
            auth_username="bot",
            auth_password=Secret(SECRET),
            require_tls=False,
        ),
    )


def test_everything_mail_can_say(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("certificate")
    text = """\
    email_configs:
      - to: ['"Doe, Jane" <jane@example.com>', ops@example.com]
        from: alerts@example.com
        smarthost: '[::1]:25'
        hello: me
        auth_username: bot
        auth_password: hunter2
        require_tls: false
        tls_config: {insecure_skip_verify: true, ca_file: ca.pem}
        send_resolved: false
        text: '{{ status }}'
        html: <p>{{ status }}</p>
        headers: {Subject: '{{ status }}!', X-Team: billing}
        rate: {per_second: 1}
"""
    assert receiver(tmp_path, text).configs["email"] == (
        EmailConfig(
            to=('"Doe, Jane" <jane@example.com>', "ops@example.com"),
            from_="alerts@example.com",
            smarthost=(("::1", 25),),
            hello="me",
            auth_username="bot",
            auth_password=Secret(SECRET),
            require_tls=False,
            tls_config=TlsConfig(insecure_skip_verify=True, ca_file=f"{tmp_path}/ca.pem"),
            send_resolved=False,
            subject="{{ status }}!",
            text="{{ status }}",
            html="<p>{{ status }}</p>",
            headers={"X-Team": "billing"},
            rate=Rate(per_second=1.0, burst=20),
        ),
    )


def test_mail_recipients_may_stand_in_one_text_as_in_alertmanager(tmp_path: Path) -> None:
    globals_ = "global: {smtp_smarthost: 'mail:25', smtp_from: a@example.com}"
    text = "    email_configs: [{to: 'a@example.com, B <b@example.com>, a@example.com'}]\n"
    mail = mail_of(receiver(tmp_path, text, globals_))
    assert mail.to == ("a@example.com", "B <b@example.com>")


@pytest.mark.parametrize("written", ["'a:25, [::1]:587'", "[a:25, '[::1]:587', a:25]"])
def test_mail_servers_may_stand_in_one_text_or_in_a_list(tmp_path: Path, written: str) -> None:
    globals_ = f"global: {{smtp_smarthost: {written}, smtp_from: a@example.com}}"
    mail = mail_of(receiver(tmp_path, "    email_configs: [{to: a@example.com}]\n", globals_))
    assert mail.smarthost == (("a", 25), ("::1", 587))


def test_a_login_that_expands_to_nothing_is_no_login(tmp_path: Path) -> None:
    globals_ = """\
global:
  smtp_smarthost: mail:25
  smtp_from: a@example.com
  smtp_auth_username: ${NOT_SET:-}
  smtp_auth_password: ${NOT_SET:-}
"""
    mail = receiver(tmp_path, "    email_configs: [{to: a@example.com}]\n", globals_)
    config = mail_of(mail)
    assert (config.auth_username, config.auth_password) == ("", None)


@pytest.mark.parametrize(
    "address",
    [
        "a@",
        "@b.c",
        "a b@c.d",
        "a@b..c",
        "a@-b.c",
        "<a@b.c",
        "a@b.c>",
        "a@b.c\\r\\nBcc: x@y.z",
        "A <a@b.c> B",
    ],
)
def test_what_is_no_mail_address(tmp_path: Path, address: str) -> None:
    globals_ = f'global: {{slack_app_token: xoxb, smtp_from: "{address}"}}'
    assert len(faults(tmp_path, globals_=globals_)) == 1


# --- routes


def test_routes_inherit_what_they_do_not_say(tmp_path: Path) -> None:
    route = """\
route:
  receiver: team
  group_by: [alertname]
  group_wait: 10s
  repeat_interval: 24h
  routes:
    - matchers: ['severity="critical"', 'org_id!~"test.*"']
      group_wait: 0s
      cooldown: 0
      group_limit: 5
      continue: true
      routes:
        - matchers: [alertname=NoWebhooks]
          group_by: ['...']
"""
    inner = Matcher("alertname", "=", "NoWebhooks")
    outer = (Matcher("severity", "=", "critical"), Matcher("org_id", "!~", "test.*"))
    outer_id = '{}/{org_id!~"test.*",severity="critical"}/0'
    common = Route(
        id="{}",
        receiver="team",
        group_by=("alertname",),
        group_wait=10.0,
        repeat_interval=86400.0,
    )
    child = replace(
        common, id=outer_id, matchers=outer, group_wait=0.0, cooldown=0.0, group_limit=5
    )
    grandchild = replace(
        child, id=outer_id + '/{alertname="NoWebhooks"}/0', matchers=(inner,), group_by=("...",)
    )
    child = replace(child, continue_=True, routes=(grandchild,))
    assert loaded(tmp_path, route=route).route == replace(common, routes=(child,))


def test_two_routes_with_the_same_matchers_have_two_ids(tmp_path: Path) -> None:
    route = (
        "route: {receiver: team, routes: [{matchers: [a=b], continue: true}, {matchers: [a=b]}]}"
    )
    assert [child.id for child in loaded(tmp_path, route=route).route.routes] == [
        '{}/{a="b"}/0',
        '{}/{a="b"}/1',
    ]


# --- rule and pattern files


def test_a_rule_becomes_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "b.rules.yaml"
    path.write_text("""\
groups:
  - name: billing
    labels: {team: billing, severity: info}
    rules:
      - alert: Delinquent
        match: ['event_type="a"', 'status=~"x|y"']
        by: [org_id]
        condition: last(status) in [x]
        hold: 45d
        for: 1m
        keep_firing_for: 2m
        dedup_by: event.id
        resolve: {match: [status=y]}
        labels: {severity: warning}
        annotations: {summary: 'is {{ value }} for {{ labels.org_id }}, {{ labels.page }}'}
        escalate:
          - {at: period_end + 3d, after: 3d, labels: {severity: critical, page: 'now'}}
          - {at: ended_at, annotations: {summary: over}}
""")
    assert load_rule_files([str(path)]).rules == (
        Rule(
            name="Delinquent",
            group="billing",
            match=(Matcher("event_type", "=", "a"), Matcher("status", "=~", "x|y")),
            by=("org_id",),
            condition=parse_condition("last(status) in [x]"),
            hold=45 * 86400.0,
            for_=60.0,
            keep_firing_for=120.0,
            resolve=(Matcher("status", "=", "y"),),
            dedup_by="event.id",
            labels={"team": "billing", "severity": "warning"},
            annotations={"summary": "is {{ value }} for {{ labels.org_id }}, {{ labels.page }}"},
            escalate=(
                Escalation(
                    at=Instant("period_end", 3 * 86400.0),
                    after=3 * 86400.0,
                    labels={"severity": "critical", "page": "now"},
                ),
                Escalation(at=Instant("ended_at"), annotations={"summary": "over"}),
            ),
            place=f"{path}:5",
        ),
    )


def test_a_metric_becomes_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "b.rules.yaml"
    path.write_text("""\
metrics:
  - {name: a_total, help: A., match: [status=x], labels: {provider: webhook_provider}, limit: 5}
  - {name: b, help: B., type: histogram, value: usage.tokens, buckets: [0.5, 10]}
""")
    assert load_rule_files([str(path)]).metrics == (
        Metric(
            name="a_total",
            help="A.",
            match=(Matcher("status", "=", "x"),),
            labels={"provider": "webhook_provider"},
            limit=5,
        ),
        Metric(
            name="b",
            help="B.",
            type=MetricType.HISTOGRAM,
            value="usage.tokens",
            buckets=(0.5, 10.0),
        ),
    )


def test_a_pattern_becomes_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "b.patterns.yaml"
    path.write_text(r"""
patterns:
  - name: gone
    regex: 'org (?P<org_id>\w+) is (?P<status>\w+)'
    fields: {event_type: org.gone}
""")
    assert load_pattern_files([str(path)]) == (
        Pattern(
            name="gone",
            regex=r"org (?P<org_id>\w+) is (?P<status>\w+)",
            fields={"event_type": "org.gone"},
        ),
    )


def test_the_column_of_a_faulty_condition_is_that_of_the_very_character(tmp_path: Path) -> None:
    path = tmp_path / "b.rules.yaml"
    path.write_text(RULES.replace("count() >= 1", "'count() >= 1 xor count() < 2'"))
    with pytest.raises(ConfigError) as caught:
        load_rule_files([str(path)])
    fault = caught.value.faults[0]
    line = path.read_text().splitlines()[fault.line - 1]
    assert line[fault.column - 1 :].startswith("xor count()")


def test_a_label_for_which_a_default_stands_in_may_be_unknown(tmp_path: Path) -> None:
    path = tmp_path / "b.rules.yaml"
    named = '{{ labels.a | d("") }}{{ labels.x | default }}{{ 1 if labels.y is defined }}'
    path.write_text(RULES + f"        annotations: {{summary: '{named}'}}\n")
    assert load_rule_files([str(path)]).rules[0].annotations["summary"] == named
    path.write_text(RULES + f"        annotations: {{summary: '{named}{{{{ labels.x }}}}'}}\n")
    with pytest.raises(ConfigError, match="have no label `x`"):
        load_rule_files([str(path)])


def test_a_method_of_the_labels_is_no_unknown_label(tmp_path: Path) -> None:
    path = tmp_path / "b.rules.yaml"
    path.write_text(RULES + "        annotations: {summary: '{{ labels.get(\"x\") }}'}\n")
    assert load_rule_files([str(path)]).rules[0].annotations["summary"].startswith("{{")


@pytest.mark.parametrize(
    ("value", "file", "secret"),
    [("xoxb-1", "", "xoxb-1"), ("", "token", "xoxb-2"), ("", "", None)],
    ids=["the value", "the file", "neither"],
)
def test_of_a_secret_and_its_file_one_may_be_a_variable_that_is_empty(
    tmp_path: Path, value: str, file: str, secret: str | None
) -> None:
    (tmp_path / "token").write_text("xoxb-2\n")
    path = tmp_path / "sidecar.yaml"
    path.write_text("http: {token: '${VALUE:-}', token_file: '${FILE:-}'}\n")
    token = read_http(str(path), {"VALUE": value, "FILE": file}, "token").token
    assert (token and token.reveal()) == secret


def test_two_keys_are_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/a.rules.yaml").write_text(RULES)
    path = tmp_path / "sidecar.yaml"
    path.write_text("sources: [{path: app.log}]\nreceivers: [{name: team}, {name: others}]\n")
    config = load_config(str(path), {})
    assert config.route.receiver == "team"
    assert [rule.name for rule in config.rules] == ["PaymentFailing"]


def test_rules_that_are_named_nowhere_and_not_there_are_missed(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text("sources: [{path: app.log}]\nreceivers: [{name: team}]\n")
    (fault,) = check_config(str(path), {}).errors
    assert fault.message == "without `rule_files`, rules/*.rules.yaml matches no file"
