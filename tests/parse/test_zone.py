"""Stamps without a zone are in that of their source; those with one are where they say."""

import json

import pytest
from msgspec.structs import replace

from sidecar.parse.event import Parsed, Wanted
from sidecar.parse.parser import Parser
from support.parse import NOW, chunk_of

AT = 1_793_606_476.0  # 2026-11-02T08:01:16Z
LOCAL = "2026-11-02 03:01:16"  # in New York, which is five hours behind
FIELDS = {"metric_type": "WEBHOOK_METRIC", "event_type": "e", "status": "s"}
OBJECT = json.dumps(FIELDS)
NAIVE = {
    "the field": json.dumps({**FIELDS, "timestamp": LOCAL}),
    "the field, with T and a fraction": json.dumps(
        {**FIELDS, "timestamp": "2026-11-02T03:01:16.0"}
    ),
    "another field": json.dumps({**FIELDS, "asctime": LOCAL}),
    "in front": f"{LOCAL} - INFO - WEBHOOK_METRIC: {OBJECT}",
    "in front, with a comma": f"{LOCAL},000 INFO WEBHOOK_METRIC: {OBJECT}",
    "syslog's": f"Nov  2 03:01:16 host app[1]: WEBHOOK_METRIC: {OBJECT}",
    "the record's": json.dumps({"time": LOCAL, "msg": f"WEBHOOK_METRIC: {OBJECT}"}),
    "a pair": "time=2026-11-02T03:01:16 level=info msg=WEBHOOK_METRIC event_type=e status=s",
}
STATED = {
    "Z": json.dumps({**FIELDS, "timestamp": "2026-11-02T08:01:16Z"}),
    "an offset": json.dumps({**FIELDS, "timestamp": "2026-11-02T09:01:16+01:00"}),
    "an offset of an hour": json.dumps({**FIELDS, "timestamp": "2026-11-02T09:01:16+01"}),
    "a number": json.dumps({**FIELDS, "timestamp": AT}),
    "a number as a text": json.dumps({**FIELDS, "timestamp": str(AT)}),
    "a number in front": f"{AT:.0f} WEBHOOK_METRIC: {OBJECT}",
    "in front": f"2026-11-02 08:01:16+00:00 INFO WEBHOOK_METRIC: {OBJECT}",
    "a web server's": json.dumps({**FIELDS, "timestamp": "02/Nov/2026:09:01:16 +0100"}),
}


def read(text: str, *, whole: Wanted = True, zone: str = "America/New_York") -> Parsed:
    chunk = replace(chunk_of(text), zone=zone)
    return Parser().parse(chunk, now=NOW, wanted=lambda _: whole)


@pytest.mark.parametrize("line", NAIVE.values(), ids=NAIVE)
@pytest.mark.parametrize("times", [1, 20])
def test_a_time_without_a_zone_is_in_its_sources(line: str, times: int) -> None:
    assert {event.at for event in read(f"{line}\n" * times).events} == {AT}
    assert {event.at for event in read(f"{line}\n" * times, zone="").events} == {AT - 5 * 3600}


@pytest.mark.parametrize("line", STATED.values(), ids=STATED)
@pytest.mark.parametrize("times", [1, 20])
def test_a_time_with_a_zone_is_where_it_says(line: str, times: int) -> None:
    assert {event.at for event in read(f"{line}\n" * times).events} == {AT}


@pytest.mark.parametrize("times", [1, 20])
def test_tallies_keep_the_time_as_well(times: int) -> None:
    parsed = read(f"{NAIVE['the field']}\n" * times, whole=False)
    assert (parsed.last_at, sum(one.count for one in parsed.tallies.values())) == (AT, times)


def test_a_zone_keeps_its_summers() -> None:
    summer = json.dumps({**FIELDS, "timestamp": "2026-07-02T04:01:16"})
    assert [event.at for event in read(summer + "\n").events] == [1_782_979_276.0]
