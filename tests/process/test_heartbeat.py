"""The heartbeat of a running daemon: pinged while all is well, and /fail where it is not."""

import json
import sqlite3
from pathlib import Path

import pytest

from sidecar.daemon.heartbeat import fail_url, trouble
from support.daemon import until
from support.live import CONFIG, FAILING, staged
from support.sinks import SlackSink


@pytest.mark.parametrize(
    ("ages", "problems", "said"),
    [
        ({"reading": 1.0, "delivery": 4.0}, ["rejects"], ""),
        ({"reading": 61.0, "delivery": 4.0}, [], "reading hangs"),
        ({"reading": None, "delivery": 99.0}, [], "reading hangs, delivery hangs"),
        ({"reading": 1.0}, ["lag", "outbox_stuck"], "lag, outbox_stuck"),
    ],
)
def test_what_is_no_longer_fresh(
    ages: dict[str, float | None], problems: list[str], said: str
) -> None:
    assert trouble(ages, problems) == said


def test_fail_stands_behind_the_path() -> None:
    assert fail_url("https://hc.example/ping/uuid?a=1") == "https://hc.example/ping/uuid/fail?a=1"


def test_it_is_pinged_while_all_is_well_and_told_where_it_is_not(tmp_path: Path) -> None:
    with SlackSink() as outside:
        beat = f'heartbeat: {{{{url: "{outside.url}", interval: 1s}}}}\n'
        with staged(tmp_path, config=CONFIG + beat, rules=FAILING) as stage:
            outside.wait_for(1)
            assert "heartbeat_failed" not in "".join(stage.daemon.log)
            assert all(not r.path.endswith("/fail") for r in outside.requests)
            state = tmp_path / "state.db"

            def failing() -> bool:
                found = [json.loads(r.body) for r in outside.requests if r.path.endswith("/fail")]
                return {"trouble": "reading hangs"} in found

            # Another process that holds the state file: nothing can be committed.
            with sqlite3.connect(state, isolation_level=None) as other:
                other.execute("begin exclusive")
                stage.log("failed")
                until(failing, "the outside is told")
                other.execute("rollback")
            other.close()
            count = len(outside.requests)
            until(
                lambda: any(not r.path.endswith("/fail") for r in outside.requests[count:]),
                "it is well again",
            )
