"""What a mailbox looks like."""

import pytest

from sidecar.syntax.values import mailbox_parts


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ops@example.com", "ops@example.com"),
        (" Ops Team <ops@example.com> ", "ops@example.com"),
        ("a" * 242 + "@example.com", "a" * 242 + "@example.com"),
        ('"Ops, Team" <ops+x@sub.example.com>', "ops+x@sub.example.com"),
    ],
)
def test_one_mailbox_is_understood(text: str, address: str) -> None:
    assert mailbox_parts(text)[1] == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ops",
        "@example.com",
        "ops@",
        "a@b.c, d@e.f",
        "a@b@c",
        "a b@c.d e",
        "a@b.c\r\nDATA",
        "a@b.c> DATA",
        "Team <a@b.c>\r\nX: <a@b.c>",
        "<a@b.c",
        "müller@example.com",
        "a" * 243 + "@example.com",
    ],
)
def test_anything_but_one_mailbox_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"mail address|mailboxes"):
        mailbox_parts(text)
