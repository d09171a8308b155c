"""Slack's payload: sections, dividers and cuts."""

import pytest

from sidecar.receivers.slack.message import cut, payload


def kinds(body: str) -> list[str]:
    made = payload("title", "short", body, "footer", "#000000")
    return [block["type"] for block in made["attachments"][0]["blocks"]]


def test_three_dashes_alone_on_a_line_divide() -> None:
    assert kinds("one\n---\ntwo -- --- three") == ["section", "divider", "section", "context"]


def test_an_empty_body_still_makes_a_message() -> None:
    assert kinds("  \n") == ["section", "context"]


def test_a_long_part_is_continued_in_another_section_at_a_line_end() -> None:
    made = payload("t", "s", "line\n" * 1000, "f", "#000000")
    first = made["attachments"][0]["blocks"][0]["text"]["text"]
    assert len(first) <= 3000
    assert first.endswith("line")


def test_what_exceeds_the_whole_message_is_cut_and_says_so() -> None:
    made = payload("t", "s", "---\n".join("x" * 900 + "\n" for _ in range(60)), "f", "#000000")
    blocks = made["attachments"][0]["blocks"]
    assert "cut here" in blocks[-2]["text"]["text"]
    assert blocks[-1]["type"] == "context"


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
    header = payload("<" * 200, "s", "b", "f", "#000000")["blocks"][0]["text"]["text"]
    assert len(header) <= 150
    assert header.startswith("&lt;&lt;")
    assert header.endswith("&lt;…")
