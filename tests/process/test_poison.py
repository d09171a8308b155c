"""A line that ends the process is found and passed over; no other line is."""

import json
import signal
from collections import Counter
from pathlib import Path

import pytest

from sidecar.rows import MetaRow
from support.crash import Boundary, Life, counted, run, stored
from support.daemon import RULES, running, until
from support.setup import configure, record

KILLED = -signal.SIGKILL

CUT = 16 * 1024  # where Docker cuts


def line(status: str, number: int, note: str = "") -> str:
    return json.dumps(record(status, note=note, event_id=f"evt_{number}")) + "\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return configure(tmp_path, logs="*.log", rules=RULES / "billing.rules.yaml")


def test_the_line_that_kills_the_process_is_set_aside_and_all_others_count(config: Path) -> None:
    folder = config.parent
    before = "".join(line("before", n) for n in range(400))
    after = "".join(line("after", n) for n in range(400))
    (folder / "app.log").write_text(before + line("deadly", 0) + after)
    (folder / "other.log").write_text("".join(line("other", n) for n in range(800)))
    life = Life(config, deadly=b"deadly")
    assert [run(life) for _ in range(6)] == [KILLED] * 5 + [0]
    assert counted(folder / "state.db") == Counter(before=400, after=400, other=800)
    assert [entry for entry in said(config) if '"reason": "poison"' in entry]


def test_two_deadly_lines_are_both_found(config: Path) -> None:
    lines = [line("deadly" if n in (3, 5) else "fine", n) for n in range(9)]
    (config.parent / "app.log").write_text("".join(lines))
    life = Life(config, deadly=b"deadly")
    codes = [run(life) for _ in range(9)]
    assert codes == [KILLED] * 8 + [0]
    assert counted(config.parent / "state.db") == Counter(fine=7)


@pytest.mark.parametrize("boundary", [Boundary.BEFORE_READING, Boundary.BEFORE_COMMIT])
def test_kills_that_are_no_lines_fault_cost_no_line(config: Path, boundary: Boundary) -> None:
    (config.parent / "app.log").write_text("".join(line("fine", n) for n in range(50)))
    killed = [run(Life(config, boundary=boundary)) for _ in range(5)]
    assert killed == [KILLED] * 5
    assert run(Life(config)) == 0
    assert counted(config.parent / "state.db") == Counter(fine=50)


def test_a_deadly_line_in_docker_pieces_takes_no_other_with_it(config: Path) -> None:
    long = "x" * CUT
    pieces = [line("fine", 0, long), line("deadly", 0, long), line("fine", 1, long)]
    text = ""
    for whole in pieces:
        for part in (whole[:CUT], whole[CUT:]):
            text += (
                json.dumps({"log": part, "stream": "stdout", "time": "2026-11-02T08:00:00Z"}) + "\n"
            )
    (config.parent / "app.log").write_text(text)
    life = Life(config, deadly=b"deadly")
    assert [run(life) for _ in range(6)] == [KILLED] * 5 + [0]
    assert counted(config.parent / "state.db") == Counter(fine=2)


def test_an_ordinary_run_leaves_no_trace(config: Path) -> None:
    (config.parent / "app.log").write_text(line("fine", 0))
    assert run(Life(config)) == 0
    assert not [row for row in stored(config.parent / "state.db", MetaRow) if row.name == "running"]


def test_lines_that_raise_are_rejects_at_once_and_the_daemon_ends_as_asked(config: Path) -> None:
    values = ("Decimal(1.5)", "Decimal((0,(1,2),3))", "timezone()", "<a: Decimal(1.5)>")
    with running(config) as daemon, (config.parent / "app.log").open("a") as log:
        for number, value in enumerate(values):
            log.write(line("fine", number))
            log.write(f"WEBHOOK_METRIC: {{'event_type': 'a', 'status': 'b', 'amount': {value}}}\n")
            log.flush()
            poison = 'sidecar_rejects_total{reason="poison"}'
            until(lambda: daemon.samples()[poison] == number + 1, "the line is a reject")  # noqa: B023
        until(lambda: sum(daemon.events().values()) == len(values), "all others count")
        assert daemon.stop() == 0
    assert counted(config.parent / "state.db") == Counter(fine=len(values))


def said(config: Path) -> list[str]:
    return config.with_name("sidecar.yaml.said").read_text().splitlines()
