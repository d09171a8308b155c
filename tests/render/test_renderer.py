"""Rendering: what people read, and that no template can cost an alert."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from sidecar.notify.model import Notice, NoticeStatus, Notification, Reason, ReceiverConfig
from sidecar.receivers import shipped_templates
from sidecar.receivers.base import AnyKind
from sidecar.receivers.email import EMAIL
from sidecar.receivers.email.message import MailText
from sidecar.receivers.slack import SLACK
from sidecar.receivers.slack.config import SlackConfig
from sidecar.redact import Redactor, RedactPolicy
from sidecar.render.renderer import Renderer
from support.notify import HOUR, MINUTE, T0, mail_config, notice, notification

RENDERER = Renderer(shipped_templates(), Redactor(RedactPolicy()))
CHANNEL = SlackConfig(channel="#critical-alerts")
MAIL = mail_config("oncall@example.com")
RESOLVED = notice(NoticeStatus.RESOLVED, ended_at=T0 + HOUR)


def texts(payload: Any) -> list[str]:
    """Return every text in a Slack payload, outermost first."""
    if isinstance(payload, str):
        return []
    inner = payload.values() if isinstance(payload, dict) else payload
    found = (
        [v for k, v in payload.items() if k == "text" and isinstance(v, str)]
        if (isinstance(payload, dict))
        else []
    )
    return found + [t for value in inner if isinstance(value, dict | list) for t in texts(value)]


@dataclass(frozen=True)
class Made:
    payload: Any
    fault: str | None


def made_of(
    kind: AnyKind,
    told: Notification,
    config: ReceiverConfig,
    *,
    renderer: Renderer = RENDERER,
    plain: bool = False,
) -> Made:
    rendering = renderer.rendering(told)
    return Made(kind.render(config, rendering, plain=plain).payload, rendering.fault)


def slack_text(*notices: Notice, config: SlackConfig = CHANNEL, **more: Any) -> str:
    return "\n".join(texts(made_of(SLACK, notification(*notices, **more), config).payload))


def mail(*notices: Notice, **more: Any) -> MailText:
    payload = made_of(EMAIL, notification(*notices, **more), MAIL).payload
    assert isinstance(payload, MailText)
    return payload


def html(*notices: Notice, **more: Any) -> str:
    return mail(*notices, **more).html or ""


def test_slack_is_told_who_speaks_only_where_that_is_asked_for() -> None:
    assert (
        made_of(SLACK, notification(), CHANNEL)
        .payload.keys()
        .isdisjoint({"username", "icon_emoji"})
    )
    emoji = '{{ {"critical": ":rotating_light:", "resolved": ":ok:"}.get(colour, ":warning:") }}'
    config = replace(CHANNEL, username="Billing\n({{ severity }})", icon_emoji=emoji)
    made = made_of(SLACK, notification(), config)
    assert made.fault is None
    assert made.payload["username"] == "Billing (critical)"
    assert made.payload["icon_emoji"] == ":rotating_light:"
    ended = made_of(SLACK, notification(RESOLVED), config).payload
    assert ended["icon_emoji"] == ":ok:"
    assert "username" not in made_of(SLACK, notification(), config, plain=True).payload


def test_a_firing_slack_message_says_all_one_needs() -> None:
    payload = made_of(SLACK, notification(), CHANNEL).payload
    title = ":rotating_light: [FIRING:1] PaymentFailing org_7f3a (critical)"
    assert payload["blocks"][0]["text"]["text"] == title
    assert payload["text"] == f"{title}: Payment failed 3 times for org_7f3a"
    assert payload["attachments"][0]["color"] == "#c8102e"
    assert payload["attachments"][0]["blocks"][0]["text"]["text"] == (
        "*Payment failed 3 times for org_7f3a*\n"
        f"*critical*, firing for 1h 5m; since {date(T0)}|2026-11-02 08:00:00 UTC>\n"
        "> Declined: card_declined. Call the customer.\n"
        "`org_id` org_7f3a   `value` 3"
    )
    (button,) = payload["attachments"][0]["blocks"][1]["elements"]
    assert (button["text"]["text"], button["url"]) == (
        "Runbook", "https://runbooks.example.com/payment",
    )  # fmt: skip
    footer = payload["attachments"][0]["blocks"][-1]["elements"][0]["text"]
    at = f"{date(T0 + 65 * MINUTE)}|2026-11-02 09:05:00 UTC>"
    assert footer == f"first notification · critical · {at}"


def date(at: float) -> str:
    return f"<!date^{int(at)}^{{date_num}} {{time_secs}}"


def test_a_resolved_message_is_green_and_asks_for_nothing() -> None:
    payload = made_of(SLACK, notification(RESOLVED, reason=Reason.ALL_RESOLVED), CHANNEL).payload
    body = "\n".join(texts(payload))
    assert "[RESOLVED:1]" in body
    assert "*critical*, resolved after 1h; since" in body
    assert "Call the customer" not in body
    assert payload["attachments"][0]["color"] == "#2e9e5b"


DRAWN = "org\n---\n:white_check_mark: *resolved*\r---\r\n\x85\u2028---\n"


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("kind", "config"), [(SLACK, CHANNEL), (EMAIL, MAIL)])
def test_line_breaks_of_a_log_draw_no_section_into_a_message(
    kind: AnyKind,
    config: ReceiverConfig,
    *,
    plain: bool,
) -> None:
    def shape(said: str) -> list[tuple[str, ...]]:
        """Return how each line of the text begins, but for what the log said."""
        told = notice(
            labels={"alertname": "A", "org_id": said, "severity": "critical"},
            value=said,
            event={"error": said},
            annotations={
                "summary": "Of {{ labels.org_id }}: {{ event.error }}",
                "description": "It failed.\n{{ event.error }}",
            },
        )
        made = kind.render(config, RENDERER.rendering(notification(told)), plain=plain)
        whole = made.payload if isinstance(made.payload, dict) else {"text": made.payload.text}
        lines = [line for text in texts(whole) for line in text.splitlines()]
        return [tuple(line[:2]) for line in lines if not line.startswith((">", "&gt;", "  "))]

    assert shape(DRAWN) == shape("org")


def test_the_text_of_a_mail_breaks_no_url() -> None:
    url = "https://dashboard.example.com/" + "customers-and-subscriptions/" * 6
    told = notice(annotations={"description": f"The customer can be found at {url} and there."})
    assert f"\n  {url}\n" in mail(told).text


def test_what_is_no_longer_seen_is_neither_green_nor_called_resolved() -> None:
    unseen = notice(NoticeStatus.UNSEEN, ended_at=T0 + HOUR)
    told = notification(unseen, reason=Reason.UNSEEN)
    payload = made_of(SLACK, told, CHANNEL).payload
    made = made_of(EMAIL, told, MAIL).payload
    shown = ["\n".join(texts(payload)), made.subject, made.text]
    shown.append((made.html or "").partition("</head>")[2])
    assert [text for text in shown if "resolved" in text.lower()] == []
    assert "[UNSEEN:1]" in shown[0]
    assert "[UNSEEN:1]" in shown[1]
    assert payload["attachments"][0]["color"] == "#8a94a3"


# Jinja2 takes loops in any depth; Python refuses what it makes of more than twenty.
TOO_DEEP = "{% for n in notices %}" * 30 + "x" + "{% endfor %}" * 30


@pytest.mark.parametrize("source", ["{% if", TOO_DEEP], ids=["no template", "too deep"])
def test_a_template_that_cannot_be_used_is_told_of_when_it_is_needed(source: str) -> None:
    renderer = Renderer({"slack.title.j2": source}, Redactor(RedactPolicy()))
    assert "slack.title.j2" in (
        made_of(SLACK, notification(), CHANNEL, renderer=renderer).fault or ""
    )


VARIANTS = [
    pytest.param({"held": 2}, {}, "It fired 2 more times", id="held"),
    pytest.param({"late_by": 7300.0}, {}, "due 2h 1m earlier", id="an overdue escalation"),
    pytest.param({}, {"late": True}, "Told late", id="late digest"),
    pytest.param({}, {"late": True}, "LATE FIRING:1", id="late in the title"),
    pytest.param(
        {},
        {"more": 7, "counts": {NoticeStatus.FIRING: 8}},
        "told in the next message",
        id="more than there is room for",
    ),
    pytest.param({}, {"more": 7}, "not listed here", id="more, by the version before"),
    pytest.param(
        {},
        {"counts": {NoticeStatus.RESOLVED: 50, NoticeStatus.FIRING: 1}},
        "1 firing, 50 resolved",
        id="of several kinds",
    ),
    pytest.param({}, {"still_firing": 3}, "3 more of this group were told before", id="still"),
    pytest.param(
        {"status": NoticeStatus.CLOSED, "ended_at": T0 + HOUR},
        {"reason": Reason.RULE_CHANGED},
        "closed after 1h: its rule was changed or removed",
        id="rule changed",
    ),
    pytest.param(
        {"status": NoticeStatus.ESCALATED, "escalated_to": "critical"},
        {},
        "escalated from critical to critical",
        id="escalated",
    ),
    pytest.param(
        {"status": NoticeStatus.FIRED_AND_RESOLVED, "ended_at": T0 + 5 * MINUTE},
        {},
        "within 5m",
        id="fired and resolved",
    ),
    pytest.param(
        {"status": NoticeStatus.UNSEEN, "ended_at": T0 + 5 * MINUTE},
        {"reason": Reason.UNSEEN},
        "nothing says that it is over",
        id="no longer seen",
    ),
    pytest.param(
        {"status": NoticeStatus.FIRED_AND_UNSEEN, "ended_at": T0 + 5 * MINUTE},
        {"reason": Reason.UNSEEN},
        "fired, and no longer seen",
        id="fired and no longer seen",
    ),
]


@pytest.mark.parametrize(("of_notice", "of_message", "expected"), VARIANTS)
def test_every_medium_says_what_is_special(
    of_notice: dict[str, Any], of_message: dict[str, Any], expected: str
) -> None:
    told = notice(**of_notice)
    assert expected in slack_text(told, **of_message)
    made = mail(told, **of_message)
    assert expected in " ".join(made.text.split())
    plain_html = (made.html or "").replace("<b>", "").replace("</b>", "")
    assert expected in plain_html


@pytest.mark.parametrize(
    ("notices", "subject"),
    [
        ([notice()], "[FIRING:1] PaymentFailing org_7f3a (critical)"),
        (
            [notice(org="a"), notice(org="b"), notice(org="c")],
            "[FIRING:3] PaymentFailing a, b and 1 more (critical)",
        ),
        ([notice(), RESOLVED], "[FIRING:1] PaymentFailing org_7f3a (critical)"),
        ([RESOLVED], "[RESOLVED:1] PaymentFailing org_7f3a (critical)"),
        (
            [notice(labels={"alertname": "ConfigError", "severity": "page"})],
            "[FIRING:1] ConfigError (warning)",
        ),
        (
            [notice(NoticeStatus.ESCALATED, labels={"alertname": "Late", "severity": "warning"},
                    escalated_to="critical")],
            "[ESCALATED:1] Late (critical)",
        ),
    ],
)  # fmt: skip
def test_mail_subjects(notices: list[Notice], subject: str) -> None:
    assert mail(*notices).subject == subject


def test_one_new_critical_alert_among_fifty_that_ended_is_told_as_that() -> None:
    ended = [
        notice(
            NoticeStatus.RESOLVED,
            labels={"alertname": "ConfigError", "org_id": f"org_{n}", "severity": "error"},
            ended_at=T0 + HOUR,
        )
        for n in range(49)
    ]
    counts = {NoticeStatus.FIRING: 1, NoticeStatus.RESOLVED: 50}
    told = notification(notice(org="org_new"), *ended, counts=counts, more=1)
    slack = made_of(SLACK, told, CHANNEL).payload
    subject = "[FIRING:1] PaymentFailing org_new (critical)"
    assert slack["blocks"][0]["text"]["text"] == f":rotating_light: {subject}"
    assert slack["attachments"][0]["color"] == "#c8102e"
    assert "1 firing, 50 resolved" in "\n".join(texts(slack))
    made = made_of(EMAIL, told, MAIL).payload
    assert made.subject == subject
    assert "1 firing, 50 resolved" in made.text
    assert "#c8102e" in (made.html or "")
    assert "and 1 more, told in the next message" in made.text
    plain = made_of(SLACK, told, CHANNEL, plain=True).payload["text"]
    assert plain.startswith(f"{subject}\n1 firing, 50 resolved\n")


def test_the_colour_is_of_what_fires_and_not_of_what_ended() -> None:
    firing = notice(labels={"alertname": "A", "severity": "info"})
    payload = made_of(SLACK, notification(firing, RESOLVED), CHANNEL).payload
    assert payload["blocks"][0]["text"]["text"] == ":information_source: [FIRING:1] A (info)"
    assert payload["attachments"][0]["color"] == "#2e77d0"


def test_a_title_speaks_of_all_alerts_also_of_those_that_found_no_room() -> None:
    listed = [notice(org=f"org_{n}") for n in range(50)]
    counts = {NoticeStatus.FIRING: 60}
    told = notification(*listed, counts=counts, names=["PaymentFailing", "ConfigError"], more=10)
    subject = "[FIRING:60] PaymentFailing, ConfigError org_0, org_1 and 58 more (critical)"
    assert made_of(EMAIL, told, MAIL).payload.subject == subject


def test_ends_are_not_green_while_others_of_the_group_still_fire() -> None:
    ended = [msgspec.structs.replace(RESOLVED, labels={**RESOLVED.labels, "org_id": f"org_{n}"})
             for n in range(50)]  # fmt: skip
    told = notification(
        *ended, counts={NoticeStatus.RESOLVED: 100}, more=50, still_firing=20,
        still_severity="critical",
    )  # fmt: skip
    payload = made_of(SLACK, told, CHANNEL).payload
    assert payload["blocks"][0]["text"]["text"] == (
        ":rotating_light: [RESOLVED:100, 20 still firing] "
        "PaymentFailing org_0, org_1 and 98 more (critical)"
    )
    assert payload["attachments"][0]["color"] == "#c8102e"
    assert payload["attachments"][0]["blocks"][-2]["text"]["text"] == (
        "and 50 more, told in the next message\n"
        "20 more of this group were told before and are still firing: see sidecar alerts"
    )
    page = html(*ended, still_firing=20, still_severity="critical")
    assert "border-top:5px solid #c8102e" in page


@pytest.mark.parametrize(
    ("untold", "words"),
    [
        (1, "and 1 alert that ended while nothing could be delivered was not told"),
        (2, "and 2 alerts that ended while nothing could be delivered were not told"),
    ],
)
def test_what_was_never_told_is_counted(untold: int, words: str) -> None:
    told = notification(RESOLVED, untold=untold)
    blocks = made_of(SLACK, told, CHANNEL).payload["attachments"][0]["blocks"]
    assert words in [block.get("text", {}).get("text") for block in blocks if "text" in block]
    assert words in made_of(EMAIL, told, MAIL).payload.text


def test_what_a_phone_shows_does_not_mix_the_words_of_two_alerts() -> None:
    firing = notice(labels={"alertname": "B", "org_id": "org_b", "severity": "critical"})
    alone = made_of(SLACK, notification(firing), CHANNEL).payload["text"]
    assert alone.endswith("B org_b (critical): Payment failed 3 times for org_b")
    both = made_of(SLACK, notification(firing, RESOLVED), CHANNEL).payload["text"]
    assert both == ":rotating_light: [FIRING:1] B org_b (critical)"


def test_a_row_of_the_version_before_renders_as_it_would_have_there() -> None:
    told = notification(*[notice(org=f"org_{n}") for n in range(50)])
    stored = msgspec.json.decode(msgspec.json.encode(told))
    del stored["counts"], stored["names"]
    old = msgspec.convert({**stored, "more": 10}, Notification)
    made = made_of(EMAIL, old, MAIL).payload
    assert made.subject == "[FIRING:60] PaymentFailing org_0, org_1 and 48 more (critical)"
    assert "and 10 more not listed here" in made.text


def test_a_header_cannot_be_smuggled_into_a_subject() -> None:
    evil = notice(labels={"alertname": "A\r\nBcc: eve@example.com", "severity": "info"})
    assert "\n" not in mail(evil).subject
    assert "\r" not in mail(evil).subject


def test_mail_text_is_complete_without_its_html() -> None:
    assert mail().text == (
        "[FIRING:1] PaymentFailing org_7f3a (critical)\n"
        "\n"
        "Payment failed 3 times for org_7f3a\n"
        "  critical, firing for 1h 5m\n"
        "\n"
        "  Declined: card_declined. Call the customer.\n"
        "\n"
        "  alert:    PaymentFailing\n"
        "  org_id:   org_7f3a\n"
        "  value:    3\n"
        "  since:    2026-11-02 08:00:00 UTC\n"
        "  runbook:  https://runbooks.example.com/payment\n"
        "\n"
        "-- \n"
        "first notification; receiver critical; 2026-11-02 09:05:00 UTC\n"
    )


class TestEscaping:
    EVIL = "<!channel> & <script>alert('1')</script>"

    def test_slack_sees_no_markup_from_a_value(self) -> None:
        body = slack_text(notice(event={"code": self.EVIL}))
        assert "&lt;!channel&gt; &amp; &lt;script&gt;alert('1')&lt;/script&gt;" in body
        assert "<!channel>" not in body

    def test_html_sees_no_markup_from_a_value(self) -> None:
        assert "<script>" not in html(notice(event={"code": self.EVIL}))

    def test_a_value_is_never_a_template(self) -> None:
        body = slack_text(notice(event={"code": "{{ 7 + 7 }}{% raw %}"}))
        assert "{{ 7 + 7 }}{% raw %}" in body

    def test_a_runbook_that_is_no_web_address_is_not_a_link(self) -> None:
        told = notice(annotations={"summary": "s", "runbook_url": "javascript:alert(1)"})
        assert "href" not in html(told)
        assert "<javascript" not in slack_text(told)


class TestRedaction:
    def test_no_secret_of_event_or_labels_reaches_a_message(self) -> None:
        secret = "sk_live_NotARealKey0123456789"
        told = notice(
            labels={"alertname": "A", "org_id": secret, "severity": "info"},
            event={"code": f"api_key={secret} refused", "password": "hunter2"},
            annotations={"summary": "{{ event.code }} {{ event.password }} {{ labels.org_id }}"},
            value=secret,
        )
        assert secret not in slack_text(told)
        assert secret not in str(mail(told))
        assert "hunter2" not in slack_text(told)

    def test_a_secret_put_together_by_an_annotation_is_hidden(self) -> None:
        told = notice(annotations={"summary": "sk_{{ 'live' }}_{{ event.code }}"})
        assert "card_declined" not in slack_text(told).replace("Declined", "")


class TestFaults:
    def test_an_annotation_that_fails_shows_its_fault_in_its_place(self) -> None:
        told = notice(annotations={"summary": "{{ nope }}", "description": "Still here."})
        made = made_of(SLACK, notification(told), CHANNEL)
        assert made.fault == "annotation summary: 'nope' is undefined"
        body = "\n".join(texts(made.payload))
        assert "annotation summary: 'nope' is undefined" in body
        assert "Still here." in body

    @pytest.mark.parametrize("source", ["{{ nope }}", "{% if %}", "{{ 1 / 0 }}",
                                        "{% for a in range(90000) %}x{% endfor %}",
                                        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
                                        "{{ 'x' * 900000000 }}", "{% include 'no' %}",
                                        "{{ ''.__class__.__mro__ }}"])  # fmt: skip
    def test_a_slack_template_that_fails_gives_way_to_plain_text(self, source: str) -> None:
        made = made_of(SLACK, notification(), SlackConfig(channel="#x", text=source))
        assert made.fault is not None
        assert made.fault.startswith("slack.text.j2: ")
        assert set(made.payload) == {"text"}
        assert "Payment failed 3 times for org_7f3a" in made.payload["text"]
        assert "Template fault: slack.text.j2: " in made.payload["text"]

    @pytest.mark.parametrize("part", ["subject", "text", "html"])
    def test_a_mail_template_that_fails_gives_way_to_plain_text(self, part: str) -> None:
        values: dict[str, Any] = {part: "{{ nope }}"}
        made = made_of(EMAIL, notification(), replace(MAIL, **values))
        assert made.fault == f"mail.{part}.j2: 'nope' is undefined"
        assert made.payload.html is None
        assert made.payload.subject == "[FIRING:1] PaymentFailing org_7f3a (critical)"
        assert "Template fault" in made.payload.text
        assert "Payment failed 3 times" in made.payload.text

    def test_without_any_template_the_alert_still_goes_out(self) -> None:
        bare = Renderer({}, Redactor(RedactPolicy()))
        assert (
            "PaymentFailing"
            in made_of(SLACK, notification(), CHANNEL, renderer=bare).payload["text"]
        )
        assert "PaymentFailing" in made_of(EMAIL, notification(), MAIL, renderer=bare).payload.text

    def test_a_fault_does_not_give_a_secret_away(self) -> None:
        source = "{{ {}['sk_live_NotARealKey0123456789'] }}"
        made = made_of(SLACK, notification(), SlackConfig(channel="#x", text=source))
        assert "sk_live" not in json.dumps(made.payload) + str(made.fault)


class TestOwnTemplates:
    def test_inline_templates_take_the_place_of_the_shipped_ones(self) -> None:
        config = SlackConfig(channel="#x", title="{{ name }}!", text="{{ notices[0].value }} times")
        made = made_of(SLACK, notification(), config).payload
        assert made["blocks"][0]["text"]["text"] == "PaymentFailing!"
        assert made["attachments"][0]["blocks"][0]["text"]["text"] == "3 times"

    def test_they_may_include_and_import_loaded_ones(self) -> None:
        mine = {**shipped_templates(), "m.j2": "{% macro hi(x) %}hi {{ x }}{% endmacro %}"}
        config = SlackConfig(
            channel="#x",
            text="{% import 'm.j2' as m %}{{ m.hi('<b>') }} {% include 'mail.subject.j2' %}",
        )
        made = made_of(SLACK, notification(), config, renderer=Renderer(mine, Redactor()))
        assert made.fault is None
        assert "hi &lt;b&gt; [FIRING:1]" in "\n".join(texts(made.payload))

    def test_the_example_in_rules_templates_works(self) -> None:
        path = Path(__file__).parents[2] / "rules" / "templates" / "slack.compact.j2"
        mine = {**shipped_templates(), path.name: path.read_text(encoding="utf-8")}
        config = SlackConfig(channel="#x", text='{% include "slack.compact.j2" %}')
        made = made_of(SLACK, notification(), config, renderer=Renderer(mine, Redactor()))
        assert made.fault is None
        assert made.payload["attachments"][0]["blocks"][0]["text"]["text"] == (
            "• *Payment failed 3 times for org_7f3a* (firing, critical)"
        )

    def test_quotes_reach_slack_as_quotes(self) -> None:
        config = SlackConfig(channel="#x", text="""{{ "a'b\\"c<" | e }}""")
        assert "a'b\"c&lt;" in slack_text(config=config)


def test_plain_slack_is_text_alone() -> None:
    made = made_of(SLACK, notification(), CHANNEL, plain=True)
    assert made.fault is None
    assert list(made.payload) == ["text"]
    assert made.payload["text"].startswith("[FIRING:1] PaymentFailing org_7f3a (critical)\n")


LONG = st.text(alphabet=st.sampled_from("ab<>&\n `*_|-x"), max_size=6000)


@given(st.lists(st.tuples(LONG, LONG, LONG), min_size=1, max_size=50))
def test_a_slack_message_is_inside_every_limit(parts: list[tuple[str, str, str]]) -> None:
    """Limits: docs.slack.dev, blocks and chat.postMessage; 13,200 in all: bolt-js#2509."""
    notices = [
        notice(
            labels={"alertname": name, "org_id": org, "severity": "critical"},
            annotations={"summary": "{{ event.text }}", "description": "{{ event.text }} " * 5},
            event={"text": text},
        )
        for name, org, text in parts
    ]
    made = made_of(SLACK, notification(*notices), CHANNEL)
    assert made.fault is None
    check_limits(made.payload)
    plain = made_of(SLACK, notification(*notices), CHANNEL, plain=True).payload
    assert len(plain["text"]) <= 4000


@pytest.mark.parametrize("count", range(20, 51))
def test_any_number_of_alerts_stays_within_fifty_blocks(count: int) -> None:
    made = made_of(SLACK, notification(*[notice()] * count), CHANNEL)
    check_limits(made.payload)


def check_limits(payload: dict[str, Any]) -> None:
    blocks = payload["blocks"] + payload["attachments"][0]["blocks"]
    assert len(blocks) <= 50
    assert 0 < len(payload["text"]) <= 4000
    sizes = {"header": 150, "section": 3000}
    for block in blocks:
        if block["type"] in sizes:
            assert 0 < len(block["text"]["text"]) <= sizes[block["type"]]
    assert sum(len(text) for text in texts(blocks)) <= 13_000
    for text in texts(blocks):
        assert re.sub(r"<[^<>\n]+>", "", text).count("<") == 0, "a link is cut in two"
