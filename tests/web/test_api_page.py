"""The status page as text: what strangers write stays text, and a search shows what it asks for."""

import re
from html.parser import HTMLParser

import pytest

from sidecar.web.api import ALERTS_AT_MOST, _headers, render
from support.web import NOW, alert, known, silence

HOSTILE = "</td></pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{ 7 * 7 }}&amp;"


class Tags(HTMLParser):
    """Collects the tags of a page, each with the names of its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


def test_what_strangers_write_stays_text() -> None:
    plain, hostile = render(known(), ""), render(known(HOSTILE), "")
    assert Tags(hostile).found == Tags(plain).found
    assert "{{ 7 * 7 }}" in hostile
    assert hostile.count("<script>") == plain.count("<script>") == 1


def test_a_search_is_text_as_well() -> None:
    page = render(known(), HOSTILE)
    assert ("img", ("src", "onerror")) not in Tags(page).found
    assert "<script>alert" not in page


@pytest.mark.parametrize(
    ("asked", "orgs"),
    [
        ("", {"org_1", "org_2"}),
        ("org_2", {"org_2"}),
        ("org_id=org_2", {"org_2"}),
        ("ORG_2 paymentfailing", {"org_2"}),
        ("org_1 org_2", set()),
        ("nobody", set()),
    ],
)
def test_a_search_shows_the_alerts_that_have_all_its_words(asked: str, orgs: set[str]) -> None:
    page = render(known(alerts=[alert("org_1"), alert("org_2")]), asked)
    assert {org for org in ("org_1", "org_2") if f"Payment failed for {org}" in page} == orgs
    assert (f"No alerts with “{asked}”" in page) == (not orgs)


def test_an_alert_says_what_silences_it_or_for_what_its_message_waits() -> None:
    wait = {"why": "group_wait", "until": NOW + 20, "to": "team #team"}
    words = "Not told yet to team #team: group_wait, until 2026-11-06 08:00:20 UTC"
    assert words in render(known(alerts=[alert(waits=[wait])]), "")
    by = {**silence("org_id=org_1"), "id": "c0ffee", "created_by": "ann", "comment": "known"}
    page = render(known(alerts=[alert(waits=[wait], silenced=[by])]), "")
    assert "Silenced by <code>c0ffee</code> (org_id=org_1), ends <time" in page
    assert "in 1m</time>, by ann: known</p>" in page
    assert "Not told yet" not in page  # what is silenced is not told then, either


def test_a_storm_of_alerts_is_cut_and_counted() -> None:
    many = [alert(f"org_{n}") for n in range(ALERTS_AT_MOST + 3)]
    page = render(known(alerts=many), "")
    assert page.count("Payment failed for") == ALERTS_AT_MOST
    assert "and 3 more" in page


def test_a_quiet_sidecar_says_that_there_is_nothing() -> None:
    status = known()["status"]
    status |= {"problems": [], "logs": [], "outbox": {"pending": 0, "oldest": None}}
    status["config"]["last_reload"] = None
    nothing: dict[str, list[object]] = {name: [] for name in known() if name != "status"}
    page = render({"status": status, **nothing}, "")
    for what in ("alerts", "messages", "events", "rules"):
        assert f"No {what}." in page
    assert "Problems of the sidecar" not in page


def test_the_policy_allows_the_one_script_and_style_and_no_frame() -> None:
    policy = _headers()["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert len(re.findall(r"'sha256-[A-Za-z0-9+/]{43}='", policy)) == 2
