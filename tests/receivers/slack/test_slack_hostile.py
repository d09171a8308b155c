"""Whatever a log says: Slack's own models take the payload, and nothing of it is markup."""

import re
from typing import Any

from hypothesis import given, strategies as st
from slack_sdk.models.blocks import Block

from sidecar.notify.model import Notice, NoticeStatus
from sidecar.receivers import shipped_templates
from sidecar.receivers.slack import SLACK
from sidecar.receivers.slack.config import SlackConfig
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.render.view import Origin
from sidecar.rules.alert import Evidence
from sidecar.rules.rule import Facts
from support.notify import T0, notice, notification

RENDERER = Renderer(shipped_templates(), Redactor(), Origin("https://o.example", {"env": "e"}))
CHANNEL = SlackConfig(channel="#c")
SIGNS = st.sampled_from("*_~`<>|&@#!:-\n\r\x1e\x00\u2028ab1 ")
PIECES = st.sampled_from([
    "<!channel>", "<@U1>", "<https://a.example|b>", ":fire:", "@here", "```", "\n---\n",
    "*[RESOLVED:1]*",
    "&amp;", '\x1e[["x","https://evil.example"]]', "https://evil.example/a_b", "<!date^1^{date}|x>",
])  # fmt: skip
HOSTILE = st.lists(st.one_of(PIECES, st.text(SIGNS, max_size=400), st.text(max_size=80))).map(
    "".join
)
FACTS = Facts("count() > 3", 'an event with a="b"', links=(("Its page", "/{{ event.text }}"),))
# What the shipped template and the message write themselves.
OURS = re.compile(r"<!date\^\d+\^\{date_num\} \{time_secs\}\|[^<>]*>")


def told(text: str, number: int) -> list[Notice]:
    return [
        notice(
            NoticeStatus.FIRING if index % 3 else NoticeStatus.RESOLVED,
            labels={"alertname": text or "A", "org_id": f"{text}{index}", "severity": "critical"},
            annotations={"summary": "{{ event.text }}", "description": "{{ event.text }}\n" * 3,
                         "runbook_url": "https://r.example/{{ event.text }}"},
            event={"text": text, "error": text, "org_name": text},
            value=text,
            ended_at=None if index % 3 else T0,
            evidence=Evidence(text, 1, text[:1000]),
            rule=FACTS,
            times=index,
            seen_at=T0,
        )
        for index in range(number)
    ]  # fmt: skip


def texts_of(block: dict[str, Any]) -> list[dict[str, Any]]:
    found = [block["text"]] if "text" in block else []
    return found + [one.get("text") if one["type"] == "button" else one
                    for one in block.get("elements", ())]  # fmt: skip


@given(HOSTILE, st.integers(1, 50), st.integers(0, 9))
def test_slacks_own_models_take_whatever_a_log_says(text: str, number: int, still: int) -> None:
    message = notification(
        *told(text, number), still_firing=still, still_severity="error", route=f'a="{text}"',
        counts={NoticeStatus.FIRING: number + 7, NoticeStatus.RESOLVED: 3}, more=7,
    )  # fmt: skip
    rendering = RENDERER.rendering(message)
    payload = SLACK.render(CHANNEL, rendering, plain=False).payload
    assert rendering.faults == []
    inner = payload["attachments"][0]["blocks"]
    blocks = [*payload["blocks"], *inner]
    assert len(blocks) <= 50
    for block in blocks:
        model: Any = Block.parse(block)
        model.to_dict()  # raises where a limit of Slack's is broken
    shown = [one for block in blocks for one in texts_of(block)]
    sizes = (len(one["text"]) for one in shown)
    urls = (
        len(one["url"]) for block in blocks for one in block.get("elements", ()) if "url" in one
    )
    assert sum(sizes) + sum(urls) <= 13_000
    assert len(payload["text"]) <= 4000
    assert inner[-1]["type"] == "context"
    assert inner[-2]["text"]["text"].startswith("and 7 more, told in the next message")
    for one in shown:
        bare = OURS.sub("", one["text"])
        assert "<" not in bare
        assert ">" not in bare.replace("\n>", "\n").removeprefix(">")
        assert not re.search(r":fire:", bare)
        assert one["type"] == "plain_text" or one["verbatim"]


@given(HOSTILE)
def test_no_value_makes_a_block_or_a_button(text: str) -> None:
    def shape(said: str) -> list[tuple[str, int]]:
        event = {"text": said, "more": "m"}
        one = notice(event=event, annotations={"summary": "s {{ event.text }}",
                                               "description": "d {{ event.text }}"})  # fmt: skip
        payload = SLACK.render(CHANNEL, RENDERER.rendering(notification(one)), plain=False).payload
        blocks = payload["attachments"][0]["blocks"]
        return [(block["type"], len(block.get("elements", ()))) for block in blocks]

    assert shape(text[:800]) == shape("x")
