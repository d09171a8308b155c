"""A drill: for which rules events can be made up, and what the messages say."""

from pathlib import Path

import pytest

from sidecar.config.load import load_config
from sidecar.config.settings import Config
from sidecar.notify.model import NoticeStatus
from sidecar.simulate.drill import SUMMARY, Drill, Undrillable
from support.config import ENVIRON, write_config

NOW = 1_793_606_400.0
SHIPPED = Path(__file__).parents[2] / "sidecar.yaml"
PEOPLE = {"SLACK_BOT_TOKEN": "xoxb-1", "SMTP_SMARTHOST": "m:25", "ONCALL_EMAIL": "a@example.com"}
RULE = (
    "groups: [{{name: g, rules: [{{alert: Drilled, labels: {{severity: critical}}, {rule}}}]}}]\n"
)


@pytest.fixture(scope="module")
def shipped() -> Config:
    return load_config(str(SHIPPED), PEOPLE)


def drilled(folder: Path, rule: str) -> Drill:
    path = write_config(folder)
    (folder / "a.rules.yaml").write_text(RULE.format(rule=rule))
    return Drill(load_config(path, ENVIRON), "Drilled", NOW)


def test_every_shipped_rule_can_be_drilled(shipped: Config) -> None:
    drills = {rule.name: Drill(shipped, rule.name, NOW) for rule in shipped.rules}
    told = {name: [one.destination for one in drill.fire()] for name, drill in drills.items()}
    assert [name for name, to in told.items() if not to] == []
    assert told["PaymentFailing"] == ["#critical-alerts", "a@example.com"]


def test_the_messages_say_that_it_is_a_drill_and_end_at_once(shipped: Config) -> None:
    drill = Drill(shipped, "NoWebhooks", NOW)  # whose alerts have no key to be told apart by
    (fired, *_), (ended, *_) = drill.fire(), drill.end()
    for message in (fired, ended):
        (notice,) = message.notices
        assert (notice.labels["alertname"], notice.labels["drill"]) == ("DRILL NoWebhooks", "true")
        assert notice.annotations["summary"] == SUMMARY
        assert [one.name for one in message.said] == ["DRILL NoWebhooks"]
        assert message.names == ["DRILL NoWebhooks"]
    assert (fired.notices[0].status, ended.notices[0].status) == (
        NoticeStatus.FIRING,
        NoticeStatus.RESOLVED,
    )
    assert fired.fingerprints() == ended.fingerprints()


@pytest.mark.parametrize(
    "rule",
    [
        "condition: 'count() >= 20', within: 1h",
        "condition: 'sum(amount) > 500', within: 1h, by: [org_id]",
        "condition: 'distinct(customer) == 3', within: 1h",
        "condition: 'last(state) in [down]', by: [host]",
        "condition: 'last(load) > 5', for: 2h",
        "condition: 'count() < 1', within: 6h",
        'condition: \'count(kind="a") / count() > 0.9 and count(kind="a") >= 5\', within: 1h',
        "match: ['amount > limit', 'event_type=~\"in.*\"'], condition: count() >= 1, within: 1h",
        "match: ['a=\"1\"', 'a!~\"2|3\"', 'b=\"\"'], condition: count() >= 1, within: 1h",
        "expect: {first: ['s=\"a\"'], then: ['s=\"b\"'], by: id, within: 5m, once_seen: true}",
    ],
)
def test_events_are_made_up_for_conditions_of_all_kinds(tmp_path: Path, rule: str) -> None:
    drill = drilled(tmp_path, rule)
    assert [one.destination for one in drill.fire()] == ["#team"]
    assert [stage.stage for stage in drill.stages] == ["event", "parse", "judge"]


def test_a_rule_for_which_no_events_are_known_says_so(tmp_path: Path) -> None:
    rule = "match: ['a=~\"x[0-9]{3}y\"'], condition: count() >= 1, within: 1h"
    with pytest.raises(Undrillable, match="a drill cannot make Drilled fire"):
        drilled(tmp_path, rule).fire()


def test_no_owner_of_an_organisation_is_told(tmp_path: Path) -> None:
    path = write_config(
        tmp_path,
        globals_="global: {smtp_smarthost: 'm:25', smtp_from: a@example.com, slack_app_token: x}",
        receivers="""\
receivers:
  - name: team
    slack_configs: [{channel: '#team'}]
    email_configs: [{to: '{{ owner_email }}'}]
    fallback: others
  - name: others
    slack_configs: [{channel: '#others'}]""",
        route="route: {receiver: team, group_by: [org_id]}",
        rest="directory: {file: owners.csv}",
    )
    (tmp_path / "owners.csv").write_text("org_id,email\ndrill,jane@example.com\n")
    (tmp_path / "a.rules.yaml").write_text(
        RULE.format(rule="condition: count() >= 1, within: 1h, by: [org_id]")
    )
    drill = Drill(load_config(path, ENVIRON), "Drilled", NOW)
    assert [one.destination for one in (*drill.fire(), *drill.end())] == ["#team", "#team"]


OWNERS = """\
receivers:
  - name: owners
    email_configs: [{to: '{{ owner_email }}'}]
    fallback: others
  - name: others
    slack_configs: [{channel: '#others'}]"""


def test_where_owners_alone_are_told_it_says_what_to_drill_instead(tmp_path: Path) -> None:
    path = write_config(
        tmp_path,
        globals_="global: {smtp_smarthost: 'm:25', smtp_from: a@example.com, slack_app_token: x}",
        receivers=OWNERS,
        route="route: {receiver: owners, group_by: [org_id]}",
        rest="directory: {file: owners.csv}",
    )
    (tmp_path / "owners.csv").write_text("org_id,email\ndrill,jane@example.com\n")
    (tmp_path / "a.rules.yaml").write_text(
        RULE.format(rule="condition: count() >= 1, within: 1h, by: [org_id]")
    )
    with pytest.raises(Undrillable, match="drill an alert of which your team is told as well"):
        Drill(load_config(path, ENVIRON), "Drilled", NOW).fire()


@pytest.mark.parametrize("until", ["08:10", "23:00"], ids=["soon over", "for hours"])
def test_what_a_time_interval_mutes_tells_nobody_and_says_why(tmp_path: Path, until: str) -> None:
    routes = "[{matchers: ['severity=\"critical\"'], mute_time_intervals: [night]}]"
    times = f"[{{times: [{{start_time: '07:00', end_time: '{until}'}}]}}]"
    path = write_config(
        tmp_path,
        route=f"route: {{receiver: team, group_by: [org_id], routes: {routes}}}",
        rest=f"time_intervals: [{{name: night, time_intervals: {times}}}]",
    )
    (tmp_path / "a.rules.yaml").write_text(RULE.format(rule="condition: count() >= 1, within: 1h"))
    drill = Drill(load_config(path, ENVIRON), "Drilled", NOW)
    assert drill.fire() == []
    assert drill.held_back == "muted at this time night, for team #team"
