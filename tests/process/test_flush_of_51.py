"""Fifty ends and one new critical alert in one flush, through the daemon to Slack and mail."""

import json
import re
from pathlib import Path

from support.daemon import running, until
from support.setup import append, configure, mail_to, record, slack_to, write_rule
from support.sinks import SlackSink, SmtpSink

# The interval is long enough for all 51 to be read before the group speaks again.
ROUTE = "group_by: [alertname], group_wait: 1s, group_interval: 4s, cooldown: 0s"
RESOLVE = """\
        resolve: {match: ['status="paid"']}
"""
ORGS = [f"org_{number:02}" for number in range(50)]


def named(text: str) -> set[str]:
    return set(re.findall(r"org_(?:new|\d+)", text))


def test_the_new_alert_is_told_and_no_end_is_lost(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    append(log, *(record("failed", org) for org in ORGS))
    write_rule(tmp_path, 1, more=RESOLVE)
    with SlackSink() as slack, SmtpSink() as mail:
        by_mail, server = mail_to(mail.port)
        config = configure(tmp_path, slack_to(slack.url), by_mail, route=ROUTE, more=server)
        with running(config) as daemon:
            slack.wait_for(1)
            append(log, *(record("paid", org) for org in ORGS), record("failed", "org_new"))
            posts = slack.wait_for(3, timeout=30)
            mails = mail.wait_for(3, timeout=30)
            until(lambda: daemon.samples()["sidecar_outbox_pending"] == 0, "all is sent")

    _, flush, rest = [post.json for post in posts]
    assert flush["blocks"][0]["text"]["text"] == (
        ":rotating_light: [FIRING:1] Failing org_new (critical)"
    )
    assert flush["attachments"][0]["color"] == "#c8102e"
    assert "1 firing, 50 resolved" in json.dumps(flush)
    assert named(json.dumps(flush)) == {"org_new", *ORGS} - {max(ORGS)}
    last = f"[RESOLVED:1, 1 still firing] Failing {max(ORGS)} (critical)"
    assert rest["blocks"][0]["text"]["text"] == f":rotating_light: {last}"

    assert [message.subject for message in mails[1:]] == [
        "[FIRING:1] Failing org_new (critical)",
        last,
    ]
    assert "and 1 more, told in the next message" in mails[1].text
    assert named(mails[1].text) == {"org_new", *ORGS} - {max(ORGS)}
    assert named(mails[2].text) == {max(ORGS)}
