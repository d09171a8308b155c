"""Instants out of what hosts write as a time."""

import datetime as dt
import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.parse.instants import instant, stamp_in

SECOND = 1_793_606_476.0  # 2026-11-02T08:01:16Z

SAME_SECOND: dict[str, Any] = {
    "naive is UTC": "2026-11-02T08:01:16",
    "space": "2026-11-02 08:01:16",
    "zulu": "2026-11-02T08:01:16Z",
    "small zulu": "2026-11-02t08:01:16z",
    "ahead": "2026-11-02T10:01:16+02:00",
    "behind": "2026-11-02T02:31:16-05:30",
    "basic offset": "2026-11-02T10:01:16+0200",
    "hour offset": "2026-11-02T10:01:16+02",
    "space before the offset": "2026-11-02 10:01:16 +0200",
    "named UTC": "2026-11-02 08:01:16 UTC",
    "basic": "20261102T080116Z",
    "basic with a fraction": "20261102T080116.000+0000",
    "basic time alone": "2026-11-02T080116",
    "blanks around": " 2026-11-02 08:01:16 ",
    "slashes, as Go and nginx": "2026/11/02 08:01:16",
    "slashes with a fraction": "2026/11/02 08:01:16.000000",
    "common log format": "02/Nov/2026:08:01:16 +0000",
    "common log format ahead": "02/Nov/2026:10:01:16 +0200",
    "Python's web servers": "02/Nov/2026 08:01:16",
    "asctime": "Mon Nov  2 08:01:16 2026",
    "RFC 5322": "Mon, 02 Nov 2026 10:01:16 +0200",
    "RFC 5322 without a weekday": "2 Nov 2026 08:01:16 +0000",
    "HTTP": "Mon, 02 Nov 2026 08:01:16 GMT",
    "asctime with a fraction": "Mon Nov 02 08:01:16.000000 2026",
    "syslog with a year": "Nov  2 08:01:16 2026",
    "epoch": 1_793_606_476,
    "epoch as float": 1_793_606_476.0,
    "epoch as text": "1793606476",
    "milliseconds": 1_793_606_476_000,
    "microseconds": 1_793_606_476_000_000,
    "nanoseconds": 1_793_606_476_000_000_000,
    "milliseconds as text": "1793606476000",
}


@pytest.mark.parametrize("value", SAME_SECOND.values(), ids=SAME_SECOND)
def test_all_spellings_of_an_instant_agree(value: Any) -> None:
    assert instant(value) == SECOND


FRACTIONS = [".5", ",5", ".500", ".500000", ".500000000", ".5Z", ".500000Z", ".500000+00:00"]


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_fractions_of_any_length_count(fraction: str) -> None:
    assert instant("2026-11-02T08:01:16" + fraction) == SECOND + 0.5


@pytest.mark.parametrize(
    ("fraction", "microseconds"),
    [(".1234564999", 123_456), (".1234565", 123_457), (".9999995", 1_000_000), (".0000004", 0)],
)
def test_a_fraction_is_rounded_to_microseconds(fraction: str, microseconds: int) -> None:
    assert instant("2026-11-02T08:01:16" + fraction) == SECOND + microseconds / 1_000_000


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "yesterday",
        "NaN",
        math.nan,
        math.inf,
        0,
        -5,
        42,
        1e25,
        [],
        {},
        "2026-13-02T08:01:16",
        "2026-02-30T08:01:16.000000",
        "2026-11-02T25:01:16",
        "1969-12-31T23:59:59",
        "0000-01-01T00:00:00",
        "2026-11-02T08:01:16.91x048",
        "2026-11-02T08:01:16.1_0000",
        "9" * 5000,
        "2026/11-02 08:01:16",
        "31/Nov/2026:08:01:16 +0000",
        "02/Nuv/2026:08:01:16 +0000",
        "Nov  2 08:01:16",
        "Nov 31 08:01:16 2026",
    ],
    ids=repr,
)
def test_what_states_no_instant_is_none(value: Any) -> None:
    assert instant(value) is None


def test_a_date_is_its_midnight() -> None:
    assert instant("2026-11-02") == SECOND - (8 * 3600 + 76)


@given(
    st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(9999, 12, 30)),  # noqa: DTZ001 - naive on purpose
    st.sampled_from(["T", " "]),
)
def test_any_isoformat_is_read_to_the_microsecond(moment: dt.datetime, sep: str) -> None:
    at = instant(moment.isoformat(sep))
    assert at == pytest.approx(moment.replace(tzinfo=dt.UTC).timestamp(), abs=1e-4)


@given(st.text() | st.text(alphabet="0123456789-:.TZ +,"))
def test_no_text_raises(text: str) -> None:
    assert instant(text) is None or math.isfinite(instant(text) or 0.0)


def at(year: int, month: int, day: int) -> float:
    return dt.datetime(year, month, day, 8, 1, 16, tzinfo=dt.UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "near", "year"),
    [
        ("Nov  2 08:01:16", SECOND, 2026),
        ("Nov  2 08:01:16", SECOND + 200 * 86400, 2026),
        ("Nov  2 08:01:16", SECOND + 363 * 86400, 2026),
        ("Nov  2 08:01:16", SECOND - 14 * 3600, 2026),  # its clock is a time zone ahead
        ("Nov  2 08:01:16", SECOND - 2 * 86400, 2025),  # nobody logs the day after tomorrow
        ("Nov 22 08:01:16", at(2027, 1, 1), 2026),
        ("Jan  1 08:01:16", at(2026, 12, 31), 2027),
        ("Feb 29 08:01:16", SECOND, 2024),
        ("Feb 29 08:01:16", at(2104, 1, 1), 2096),
    ],
)
def test_a_stamp_without_year_lies_in_the_latest_that_is_past(
    text: str, near: float, year: int
) -> None:
    found = instant(text, near)
    assert found is not None
    assert (
        dt.datetime.fromtimestamp(found, dt.UTC).strftime("%Y %b %e %H:%M:%S") == f"{year} {text}"
    )


@given(st.integers(0, 3 * 365 * 86400), st.floats(-86400, 363 * 86400))
def test_syslog_read_within_a_year_is_dated_right(seconds: int, later: float) -> None:
    written = at(2025, 1, 1) + seconds
    text = dt.datetime.fromtimestamp(written, dt.UTC).strftime("%b %e %H:%M:%S")
    assert instant(text, written + later) == written


@pytest.mark.parametrize(
    ("text", "fraction"),
    [
        ("2026-11-02 08:01:16 - INFO - ", 0),
        ("2026-11-02T08:01:16.250Z ", 0.25),
        ("2026-11-02 08:01:16,250 INFO ", 0.25),
        ("[2026-11-02 10:01:16 +0200] ", 0),
        ("INFO 2026-11-02 08:01:16 app: ", 0),
        ("time=2026-11-02T08:01:16Z level=info ", 0),
        ("20261102T080116Z INFO ", 0),
        ("1793606476.250 ", 0.25),
        ("[1793606476] INFO ", 0),
        ("1793606476250 ", 0.25),
        ("2026-11-02T08:01Z ", -16),
        ("<14>Nov  2 08:01:16 web-1 app[77]: ", 0),
        ("<14>1 2026-11-02T08:01:16.25Z web-1 app 77 - - ", 0.25),
        ("2026/11/02 08:01:16.250000 main.go:12: ", 0.25),
        ("[Mon Nov 02 08:01:16.25 2026] [info] ", 0.25),
        ("10.0.0.1 - - [02/Nov/2026:08:01:16 +0000] ", 0),
        ("2026-11-02 08:01:16 2026-02-30 08:01:16 ", 0),
        ("Nov  2 09:01:16 web-1 app[77]: 2026-11-02 08:01:16 ", 0),
        ("10.0.0.1 - x [22/Nov/2020:02:02:16 +0000] [02/Nov/2026:08:01:16 +0000] ", 0),
    ],
)
def test_the_stamp_a_logger_writes_is_read_wherever_it_stands(text: str, fraction: float) -> None:
    assert stamp_in(text, SECOND) == (SECOND + fraction, False)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30 08:01:16 ",
        "08:01:16 INFO ",
        "02.11.2026 08:01:16 ",
        "2026-11-02 ",
        "[02.11.2026] ",
    ],
)
def test_what_looks_like_a_stamp_and_is_none_is_told(text: str) -> None:
    assert stamp_in(text, SECOND) == (None, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "INFO: ",
        "app.py:12: ",
        "[aa:11:22:33:44:55] ",
        "fe80::1 ",
        "INFO 1793606476 ",
        "1.2.3.4 ",
    ],
)
def test_what_has_no_stamp_has_none(text: str) -> None:
    assert stamp_in(text, SECOND) == (None, False)
