"""Every common stamp is the same instant in the event's field, in front of it and around it."""

import json
from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from sidecar.parse.event import Event, Parsed
from sidecar.parse.instants import instant
from sidecar.parse.parser import Parser
from support.parse import chunk_of

AT = 1_793_606_476.0  # 2026-11-02T08:01:16Z, a Monday
NOW = AT + 60.0
FIELDS = {"metric_type": "WEBHOOK_METRIC", "event_type": "e", "status": "s"}
STAMPS = {
    "RFC 3339": "2026-11-02T08:01:16Z",
    "RFC 3339, ahead": "2026-11-02T10:01:16.000+02:00",
    "Python's logging": "2026-11-02 08:01:16,000",
    "ISO with a blank and an offset": "2026-11-02 10:01:16 +0200",
    "ISO with an offset of hours": "2026-11-02 05:01:16-03",
    "compact ISO": "20261102T080116Z",
    "compact ISO with a fraction": "20261102T090116.000+0100",
    "Go's log": "2026/11/02 08:01:16",
    "Go's log with microseconds": "2026/11/02 08:01:16.000000",
    "Go's times": "2026-11-02 09:01:16.000000000 +0100 CET",
    "Go's UnixDate": "Mon Nov  2 03:01:16 EST 2026",
    "Go's RubyDate": "Mon Nov 02 03:01:16 -0500 2026",
    "common log format": "02/Nov/2026:09:01:16 +0100",
    "Python's web servers": "02/Nov/2026 08:01:16",
    "ctime": "Mon Nov  2 08:01:16 2026",
    "Apache's error log": "Mon Nov 02 08:01:16.000000 2026",
    "Java's Date": "Mon Nov 02 09:01:16 CET 2026",
    "RFC 3164": "Nov  2 08:01:16",
    "RFC 3164 with a fraction": "Nov  2 08:01:16.000",
    "RFC 5322": "Mon, 02 Nov 2026 09:01:16 +0100",
    "RFC 5322, one digit": "Mon, 2 Nov 2026 08:01:16 GMT",
    "RFC 5322 without a weekday": "02 Nov 2026 03:01:16 EST",
    "log4j's, and Redis'": "02 Nov 2026 08:01:16,000",
    "PHP's": "02-Nov-2026 08:01:16 UTC",
    "Tomcat's": "02-Nov-2026 08:01:16.000",
    "klog": "I1102 08:01:16.000000",
    "glog with a year": "W20261102 08:01:16.000000",
    "CET": "2026-11-02 09:01:16 CET",
    "CEST": "2026-11-02 10:01:16 CEST",
    "EST": "2026-11-02 03:01:16.000 EST",
    "EDT": "2026-11-02T04:01:16 EDT",
    "PST": "2026-11-02 00:01:16 PST",
    "UTC": "2026-11-02 08:01:16 UTC",
    "GMT": "2026-11-02 08:01:16 GMT",
    "JST": "2026-11-02 17:01:16 JST",
    "ACDT": "2026-11-02 18:31:16 ACDT",
    "seconds": "1793606476",
    "milliseconds": "1793606476000",
}
LOOSE = f"WEBHOOK_METRIC: {json.dumps(FIELDS)}"
PLACES: dict[str, Callable[[str], str]] = {
    "its field": lambda stamp: json.dumps({**FIELDS, "timestamp": stamp}),
    "@timestamp": lambda stamp: json.dumps({**FIELDS, "@timestamp": stamp}),
    "the record's time": lambda stamp: json.dumps({"time": stamp, "msg": LOOSE}),
    "in front": lambda stamp: f"{stamp} {LOOSE}",
    "in front, with level and name": lambda stamp: f"{stamp} INFO app.web {LOOSE}",
    "in brackets": lambda stamp: f"[{stamp}] [INFO] {LOOSE}",
}


def read(line: str, times: int = 1, zone: str = "") -> Parsed:
    chunk = replace(chunk_of(f"{line}\n" * times), zone=zone)
    return Parser().parse(chunk, now=NOW, wanted=lambda _: True)


def events(line: str, times: int = 1, zone: str = "") -> list[Event]:
    return read(line, times, zone).events


def misread(stamp: str, at: float) -> list[tuple[str, int]]:
    """Return in which places, in one line or in many alike, a stamp is not read as `at`."""
    tried = [(place, times) for place in PLACES for times in (1, 20)]
    found = {(place, times): read(PLACES[place](stamp), times) for place, times in tried}
    return [
        (place, times)
        for (place, times), parsed in found.items()
        if ([event.at for event in parsed.events], parsed.bad_times) != ([at] * times, 0)
    ]


@pytest.mark.parametrize("stamp", STAMPS.values(), ids=STAMPS)
def test_a_stamp_is_read_wherever_it_stands(stamp: str) -> None:
    assert misread(stamp, AT) == []


LEAP = {
    "RFC 3339": "2026-11-02T08:00:60Z",
    "RFC 3339 with a fraction": "2026-11-02T08:00:60.000000Z",
    "compact": "20261102T080060Z",
    "klog": "I1102 08:00:60.000000",
    "syslog": "Nov  2 08:00:60",
    "common log format": "02/Nov/2026:08:00:60 +0000",
}


@pytest.mark.parametrize("stamp", LEAP.values(), ids=LEAP)
def test_a_leap_second_is_the_one_behind_the_last(stamp: str) -> None:
    assert misread(stamp, AT - 16) == []


WRAPPED = {
    "klog": "I1102 08:01:16.000000   12345 hooks.go:12] " + LOOSE,
    "RFC 3164": f"<14>Nov  2 08:01:16 web-1 app[77]: {LOOSE}",
    "RFC 5424": f"<14>1 2026-11-02T08:01:16.000Z web-1 app 77 - - {LOOSE}",
    "date's": f"Mon Nov  2 09:01:16 CET 2026 {LOOSE}",
    "Redis'": f"1:M 02 Nov 2026 08:01:16.000 * {LOOSE}",
    "Docker's": json.dumps(
        {"log": LOOSE + "\n", "stream": "stdout", "time": "2026-11-02T08:01:16Z"}
    ),
    "CRI's": f"2026-11-02T08:01:16.000000000Z stdout F {LOOSE}",
}


@pytest.mark.parametrize("line", WRAPPED.values(), ids=WRAPPED)
def test_a_stamp_is_read_where_its_logger_puts_it(line: str) -> None:
    assert [event.at for event in events(line)] == [AT]


@pytest.mark.parametrize("name", ["IST", "CST", "BST", "AST", "SST", "GST"])
def test_a_name_of_several_zones_is_counted_and_makes_no_time(name: str) -> None:
    found = {place: read(line(f"2026-11-02 03:01:16 {name}")) for place, line in PLACES.items()}
    outcomes = {
        place: ([event.at for event in parsed.events], parsed.bad_times)
        for place, parsed in found.items()
    }
    assert outcomes == dict.fromkeys(PLACES, ([NOW], 1))


@pytest.mark.parametrize(
    ("stamp", "zone"),
    [
        ("2026-11-02 13:31:16 IST", "Asia/Kolkata"),
        ("2026-11-02 10:01:16 IST", "Asia/Jerusalem"),
        ("2026-11-02 02:01:16 CST", "America/Chicago"),
        ("2026-11-02 16:01:16 CST", "Asia/Shanghai"),
        ("2026-11-02 16:01:16 PST", "Asia/Manila"),
        ("2026-11-02 09:01:16 CET", "Asia/Shanghai"),
    ],
)
def test_the_zone_of_a_source_says_which_one_is_meant(stamp: str, zone: str) -> None:
    found = {name: events(line(stamp), zone=zone) for name, line in PLACES.items()}
    times = {name: [event.at for event in some] for name, some in found.items()}
    assert times == {name: [AT] for name in PLACES}


def test_names_tell_apart_the_hour_that_comes_twice() -> None:
    new_york = ZoneInfo("America/New_York")
    first, second = (
        instant(f"2026-11-01 01:30:00 {name}", zone=new_york) for name in ("EDT", "EST")
    )
    assert first is not None
    assert second == first + 3600
    assert instant("2026-07-02 09:01:16 BST", zone=ZoneInfo("Europe/London")) == 1_782_979_276.0


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-02 08:01:16 XYZ",
        "2026-11-02 08:01:16 INFO",
        "2026-11-02 08:01:61",
        "2026-11-02T0860",
        "Mon Nov  2 08:01:16 IST 2026",
        "X1102 08:01:16.000000",
    ],
)
def test_what_merely_looks_like_one_is_none(text: str) -> None:
    assert instant(text, NOW) is None
