"""Instants out of what hosts write as a time."""

import datetime as dt
import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.parse.event import instant, leading_instant

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


@pytest.mark.parametrize(
    ("line", "fraction"),
    [
        ("2026-11-02 08:01:16 - INFO - hello", 0),
        ("2026-11-02T08:01:16.250Z hello", 0.25),
        ("2026-11-02 08:01:16,250 INFO hello", 0.25),
        ("[2026-11-02 10:01:16 +0200] hello", 0),
    ],
)
def test_the_stamp_a_line_begins_with_is_read(line: str, fraction: float) -> None:
    assert leading_instant(line) == SECOND + fraction


@pytest.mark.parametrize("line", ["hello 2026-11-02 08:01:16", "INFO: x", "", "2026-11-02 hello"])
def test_a_line_without_a_leading_stamp_has_none(line: str) -> None:
    assert leading_instant(line) is None
