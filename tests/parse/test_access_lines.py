"""Access lines, as the shipped patterns read them: what a call was, never what a caller says."""

from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.parse.event import Event, Parsed
from sidecar.parse.parser import Parser
from support.parse import NOW, SAMPLES, chunk_of, everything, patterns_of

PARSER = Parser(patterns_of("access-log.patterns.yaml"))
AT = 1_795_572_069.0  # 2026-11-25T02:01:09Z
PATH = "/v4/stripe-webhook"
CALL = f'"POST {PATH} HTTP/1.1"'
CLF = f"10.0.0.7 - - [25/Nov/2026:02:01:09 +0000] {CALL}"


def read(text: str) -> Parsed:
    return PARSER.parse(chunk_of(text), now=NOW, wanted=everything)


def call_in(line: str) -> Event:
    (event,) = read(line + "\n").events
    return event


LINES: list[Any] = [
    pytest.param(f"INFO:     127.0.0.1:39868 - {CALL} 400 Bad Request", "4xx", NOW, id="uvicorn"),
    pytest.param(f"INFO:     ::1:39868 - {CALL} 200 OK", "2xx", NOW, id="IPv6"),
    pytest.param(f"INFO:      - {CALL} 200 OK", "2xx", NOW, id="a Unix socket"),
    pytest.param(f"127.0.0.1:1 - {CALL} 418 I'm a Teapot", "4xx", NOW, id="no level"),
    pytest.param(f"2026-11-25 02:01:09 - INFO - 10.0.0.7:1 - {CALL} 502", "5xx", AT, id="a stamp"),
    pytest.param(
        f'INFO:     1.2.3.4:1 - "\x1b[1m{CALL[1:-1]}\x1b[0m" \x1b[32m200 OK\x1b[0m', "2xx", NOW,
        id="colours",
    ),
    pytest.param(f'{CLF} 200 2 "-" "Stripe/1.0 (+https://stripe.com)"', "2xx", AT, id="gunicorn"),
    pytest.param(f"{CLF} 499 0", "4xx", AT, id="the common format alone"),
    pytest.param(f'203.0.113.7, {CLF} 301 2 "-" "x"', "3xx", AT, id="proxies in front"),
    pytest.param(f'{CLF} 200 2 "-" "x" "203.0.113.7, 10.0.0.1"', "2xx", AT, id="proxies behind"),
    pytest.param(f'www.example.com {CLF} 200 2 "-" "x"', "2xx", AT, id="the host's name in front"),
    pytest.param(CLF.replace("- - ", "- bob ") + ' 500 2 "-" "x"', "5xx", AT, id="a user"),
    pytest.param(
        f"127.0.0.1 - - [25/Nov/2026 02:01:09] {CALL} 200 -", "2xx", AT, id="Python's own server"
    ),
    pytest.param(
        f'Nov 25 03:01:09 web-1 gunicorn[7]: {CLF} 200 2 "-" "x"', "2xx", AT, id="syslog"
    ),
    pytest.param(f'2026-11-25T02:01:10Z stdout F {CLF} 200 2 "-" "x"', "2xx", AT, id="CRI"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "status", "at"), LINES)
def test_an_access_line_is_an_event(line: str, status: str, at: float) -> None:
    call = call_in(line)
    assert (call.event_type, call.status, call.at) == ("http.request", status, at)
    assert call.text("path") == PATH


def test_an_access_line_in_a_record_has_the_records_time() -> None:
    quoted = CALL.replace('"', r"\"")
    call = call_in(
        f'{{"@timestamp": "2026-11-25T02:01:09Z", "message": "1.2.3.4:5 - {quoted} 200"}}'
    )
    assert (call.status, call.at) == ("2xx", AT)


@pytest.mark.parametrize(
    ("behind", "milliseconds"),
    [
        ('200 2 "-" "x" 0.012', 12),
        ('200 2 "-" "x" 1.234 0.011 .', 1234),
        ('200 2 "-" "x" 12.500001', 12_500),
        ('200 2 0.005 "-" "x"', 5),
        ('200 2 "-" "x" "1.2.3.4" urt="0.010" rt=0.011', 11),
        ('200 2 "-" "x" upstream=10.0.0.1:80 request_time="0.100"', 100),
        ('200 2 "-" "0.012"', None),
        ('200 2 "-" "x" 12', None),  # seconds, milliseconds or microseconds
        ("200 OK", None),
        (r'200 2 "-" "a\x22b\\c" 0.012', 12),  # nginx escapes both marks
        (r'200 2 "-" "\" " 9.999" 0.012', None),  # gunicorn: is the name of the browser `\`?
        (r'200 2 "-" "\\" " 9.999" 0.012', None),
        (r'200 2 "-" "\" 9.999 \"" 0.012', None),
        (r'200 2 "-" "x" rt=0.012 "\"" 9.999', None),
    ],
)
def test_the_duration_is_read_where_it_is_logged(behind: str, milliseconds: int | None) -> None:
    assert call_in(f"{CLF} {behind}").number("duration_ms") == milliseconds


@pytest.mark.parametrize(
    "line",
    [
        f'{CLF.replace("POST", "GET")} 200 2 "-" "x"',
        f'{CLF.replace(PATH, PATH + "s")} 200 2 "-" "x"',
        f'{CLF.replace(PATH, "/x" + PATH)} 200 2 "-" "x"',
        f'{CLF} 200 2 "-" "x',  # cut off
        f"INFO - somebody said {CALL} 200 OK",
        f"INFO - the request was: {CALL} 200 OK",
    ],
)
def test_another_line_is_none(line: str) -> None:
    assert read(line + "\n").events == []


def test_the_real_hosts_calls_are_all_read() -> None:
    events = read((SAMPLES / "real-host" / "stock.log").read_text()).events
    assert [event.status for event in events] == ["4xx"] * 6 + ["2xx"] * 33


PARTS = [
    '"', "\\", " ", "\n", "- ", CALL, CLF, " 200 OK", ' 200 2 "-" "-"',
    "[25/Nov/2020:02:01:09 +0000] ",
    "9.999", " 9.999", " rt=9.999", "INFO:     1.2.3.4:5 - ", PATH, "x",
]  # fmt: skip
STRANGE = st.lists(st.sampled_from(PARTS), max_size=8).map("".join)
UNBROKEN = STRANGE.map(lambda text: text.replace("\n", ""))  # no header has a line break


def gunicorn(path: str, user: str, agent: str, referer: str, extra: str) -> str:
    """Return what gunicorn 27 writes, which escapes quotation marks and nothing else."""
    said = [
        text.replace('"', r"\"") for text in (user, f"POST {path} HTTP/1.1", referer, agent, extra)
    ]
    line = '10.0.0.7 - {} [25/Nov/2026:02:01:09 +0000] "{}" 404 2 "{}" "{}" "{}" 0.012\n'
    return line.format(*said)


@given(STRANGE, UNBROKEN, UNBROKEN, UNBROKEN)
def test_no_stranger_passes_for_a_call_of_the_webhook(
    user: str, agent: str, referer: str, extra: str
) -> None:
    path = "/other?" + agent.replace(" ", "%20")
    assert read(gunicorn(path, user, agent, referer, extra)).events == []


@given(STRANGE, UNBROKEN, UNBROKEN, UNBROKEN)
def test_a_stranger_who_calls_the_webhook_says_nothing_but_that(
    user: str, agent: str, referer: str, extra: str
) -> None:
    for call in read(gunicorn(PATH, user, agent, referer, extra)).events:
        assert (call.status, call.text("http_status"), call.text("path")) == ("4xx", "404", PATH)
        assert call.at == AT
        unclear = any('"' in text or text.endswith("\\") for text in (referer, agent, extra))
        assert call.number("duration_ms") == (None if unclear else 12)


@given(UNBROKEN, UNBROKEN, UNBROKEN)
def test_each_call_of_the_webhook_counts_whatever_its_caller_says(
    agent: str, referer: str, extra: str
) -> None:
    (call,) = read(gunicorn(PATH, "bob", agent, referer, extra)).events
    assert call.status == "4xx"


def test_an_ordinary_caller_is_read() -> None:
    assert len(read(gunicorn(PATH, "bob", "curl/8.1", "-", "-")).events) == 1
