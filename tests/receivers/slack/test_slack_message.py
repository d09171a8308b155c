"""Slack's payload: sections, dividers and cuts."""

import re
from typing import Any

import pytest

from sidecar.receivers.slack.message import cut, payload, plain_payload


def blocks_of(body: str, brief: str = "") -> list[dict[str, Any]]:
    made = payload("title", "short", body, "footer", colour="#000000", brief=brief)
    blocks: list[dict[str, Any]] = made["attachments"][0]["blocks"]
    return blocks


def kinds(body: str) -> list[str]:
    return [block["type"] for block in blocks_of(body)]


def test_three_dashes_alone_on_a_line_divide() -> None:
    assert kinds("one\n---\ntwo -- --- three") == ["section", "divider", "section", "context"]


def test_an_empty_body_still_makes_a_message() -> None:
    assert kinds("  \n") == ["section", "context"]


def test_a_long_part_is_continued_in_another_section_at_a_line_end() -> None:
    first = blocks_of("line\n" * 1000)[0]["text"]["text"]
    assert len(first) <= 3000
    assert first.endswith("line")


@pytest.mark.parametrize("size", [10, 900, 2999], ids=["many blocks", "much text", "few blocks"])
def test_where_there_is_no_room_for_all_each_alert_is_still_named(size: int) -> None:
    orgs = [f"org_{number}" for number in range(50)]
    parts = (f"{org} {'x' * size}\n" for org in orgs)
    brief = "\n".join(f"{org}: {'&' * 60}" for org in orgs)
    blocks = blocks_of("---\n".join(parts), f"{brief}\nand 7 more, told in the next message")
    texts = [block["text"]["text"] for block in blocks if "text" in block]
    start = next(n for n, text in enumerate(texts) if text.startswith("_No room for all of it."))
    assert texts[0].startswith("org_0 xxx")
    assert re.findall(r"^(org_\d+): &amp;", "\n".join(texts[start:]), re.MULTILINE) == orgs
    assert texts[-1].endswith("and 7 more, told in the next message")
    assert blocks[-1]["type"] == "context"
    assert len(blocks) + 1 <= 50
    assert sum(map(len, texts)) <= 11_000


def test_a_part_that_is_alone_too_long_is_cut_at_its_end() -> None:
    blocks = blocks_of("x" * 20_000, "org_1: A, firing")
    assert sum(len(block["text"]["text"]) for block in blocks if "text" in block) > 10_500
    assert blocks[-2]["text"]["text"] == "_No room for all of it. In short:_\norg_1: A, firing"


def test_a_plain_text_that_is_too_long_names_each_alert() -> None:
    brief = "\n".join(f"org_{number}: {'<' * 60}" for number in range(50))
    text = plain_payload("title" + "!" * 2000, "x" * 5000, brief)["text"]
    assert len(text) <= 4000
    assert re.findall(r"^org_\d+", text, re.MULTILINE) == [f"org_{n}" for n in range(50)]


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("abcdef", 3, "abc"),
        ("ab &amp; cd", 6, "ab "),
        ("see <https://x.io|X> now", 12, "see "),
        ("see <https://x.io|X> now", 21, "see <https://x.io|X> "),
        ("abc", 10, "abc"),
    ],
)
def test_a_cut_breaks_no_link_and_no_entity(text: str, size: int, expected: str) -> None:
    assert cut(text, size) == expected


def test_a_title_is_escaped_and_fits_after_that() -> None:
    header = payload("<" * 200, "s", "b", "f", colour="#000000", brief="")["blocks"][0]["text"][
        "text"
    ]
    assert len(header) <= 150
    assert header.startswith("&lt;&lt;")
    assert header.endswith("&lt;…")
