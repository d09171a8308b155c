"""Each rule that docs/rules.md sets beside one of another tool fires by what it is meant for."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.load import check_files
from sidecar.parse.event import Event
from sidecar.rules.rule import Rule
from support.rules import HOUR, Bench

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
SECTION = PAGE.partition("## Coming from other tools\n")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| (.+?) \| `(\{.+\})` \|$", SECTION, re.MULTILINE)

Fields = dict[str, Any]
BAD, OK = {"status": "bad"}, {"status": "ok"}
# By row: minutes and fields of events, at which minute it fires, and whether only time does it.
FIRES: list[tuple[list[tuple[int, Fields]], int]] = [
    ([(5, BAD)], 5),
    ([(0, BAD), (30, OK), (59, BAD)], 59),
    ([(0, BAD), (30, OK)], 90),
    ([(0, {"plan": "a"}), (200, {"plan": "a"}), (300, {"plan": "b"})], 300),
    ([(7, {"error": "timeout"}), (90, {"error": "timeout"})], 7),
    ([(0, {"org_id": "a"}), (1, {"org_id": "b"}), (2, {"org_id": "a"}), (3, {"org_id": "c"})], 3),
    ([(0, OK), (1, BAD), (2, BAD)], 2),
    ([(0, BAD), (61, BAD), (62, BAD), (63, BAD), (64, BAD)], 64),
    ([(0, {"plan": "pro"}), (1, {"plan": "lost"})], 1),
    ([(0, {"amount": 6}), (1, {"amount": 9, "org_id": "b"}), (2, {"amount": 5})], 2),
    ([(0, {"amount": 8}), (1, {"amount": 9})], 1),
    ([(0, {"amount": 1}), (1, {"amount": 3}), (2, {"amount": 5})], 2),
    ([(0, OK), (10, OK), (20, OK), (1439, OK)], 1460),
    ([(0, OK), (10, OK)], 70),
    ([(0, {"error": "a timeout\nof b"}), (1, {"error": "no"}), (2, {"error": "timeout"})], 2),
    ([(0, {"amount": 1, "limit": 2}), (1, {"amount": 3, "limit": 2})], 1),
    ([(0, BAD), (1, BAD), (2, {"org_id": "b"}), (3, BAD)], 3),
    ([(0, {"id": 1, **BAD}), (1, {"id": 2, **BAD}), (5, {"id": 1, **OK})], 11),
    ([(0, {"id": 1})], 0),
    ([(0, {"amount": 6}), (9, {"amount": 7})], 10),
]


def of(tmp_path: Path, text: str) -> Rule:
    one = yaml.safe_load(text.replace("\\|", "|"))
    file = {
        "groups": [{"name": "g", "rules": [{"alert": "A", "labels": {"severity": "info"}, **one}]}]
    }
    path = tmp_path / "a.rules.yaml"
    path.write_text(yaml.safe_dump(file))
    checked = check_files([str(path)], [], [])
    assert [str(fault) for fault in checked.faults if fault.severity == "error"] == []
    (rule,) = checked.rules
    return rule


def test_there_are_twenty() -> None:
    assert len(ROWS) == len(FIRES) == 20


@pytest.mark.parametrize(
    ("text", "events", "fires"),
    [(text, *case) for (_, text), case in zip(ROWS, FIRES, strict=True)],
    ids=[name for name, _ in ROWS],
)
def test_it_fires_when_it_is_meant_to(
    tmp_path: Path, text: str, events: list[tuple[int, Fields]], fires: int
) -> None:
    bench = Bench(of(tmp_path, text), stale_after=24 * HOUR)
    for minute, fields in events:
        at = minute * 60.0
        bench.tick(at)
        bench.see(Event("p", "t", fields.get("status", "s"), at, {"org_id": "a", **fields}))
    bench.tick(max(fires, events[-1][0]) * 60.0)
    fired = [one.at / 60 for one in bench.all if one.kind == "fired"]
    assert fired == [fires]
