"""Ten thousand mixed lines: the daemon's counters and `sidecar parse` account for each, alike."""

import random
import re
from collections import Counter
from pathlib import Path

from click.testing import CliRunner

from sidecar.cli import main
from support.daemon import running, until
from support.live import staged

EVENT = "WEBHOOK_METRIC: {'event_type': 'e', 'status': 's'}"
OBJECT = '{"metric_type": "WEBHOOK_METRIC", "event_type": "e", "status": "s"}'
STAMP = "2026-11-20 08:07:00"
LINES = (
    f"{STAMP} - INFO - {EVENT}",
    OBJECT,
    f"{OBJECT}{OBJECT}",
    f"{OBJECT[:50]}{OBJECT}",
    f"{STAMP} - INFO - WEBHOOK_METRIC: {{'event_type': 'e'}}",
    f"{STAMP} - WARNING - Unknown coupon code: {EVENT}",
    "WEBHOOK_METRIC exporter is on",
    "GET /health 200",
    f"2026-11-20T08:07:00Z stdout P {EVENT[:20]}",
    f"2026-11-20T08:07:00Z stdout F {EVENT[20:]}",
)
METRICS = {
    "events": "sidecar_event_lines_total",
    "rejects": "sidecar_rejects_total",
    "foreign": "sidecar_foreign_total",
    "not_understood": "sidecar_not_understood_total",
    "pieces": "sidecar_piece_lines_total",
    "ignored": "sidecar_ignored_lines_total",
}


def test_each_of_ten_thousand_lines_is_counted_once(tmp_path: Path) -> None:
    lines = random.Random(22).choices(LINES, k=9_999)
    lines += ["2026-11-20T08:07:00Z stdout F end"]
    with staged(tmp_path) as stage:
        log = tmp_path / "logs" / "app.log"
        log.write_text("".join(f"{line}\n" for line in lines))
        until(lambda: stage.daemon.samples()["sidecar_read_lines_total"] == len(lines), "all read")
        found: Counter[str] = Counter()
        for name, value in stage.daemon.samples().items():
            for outcome, metric in METRICS.items():
                found[outcome] += int(value) if name.split("{")[0] == metric else 0
        assert found.total() == len(lines)
        assert all(found.values())
        said = CliRunner().invoke(main, ["parse", "-c", str(tmp_path / "sidecar.yaml"), str(log)])
        _, _, summary = said.output.rpartition(f"\n{len(lines):,} lines\n")
        told = re.findall(r"^(\w+) +([\d,]+)$", summary, re.MULTILINE)
        assert {name: int(count.replace(",", "")) for name, count in told} == found


def test_a_repeat_weighs_what_it_says_after_a_restart(tmp_path: Path) -> None:
    def again(times: int, name: str = "app.log") -> None:
        with (tmp_path / "logs" / name).open("a") as file:
            file.write(f"Nov 20 08:07:30 web last message repeated {times} times\n")

    with staged(tmp_path) as stage:
        (tmp_path / "logs" / "app.log").write_text(f"Nov 20 08:07:00 web app[12]: {EVENT}\n")
        again(2)
        stage.counted(3)
        stage.daemon.stop()
        again(4)
        with running(tmp_path / "sidecar.yaml") as daemon:
            until(lambda: sum(daemon.events().values()) == 7, "what came while it was down")
            again(5)
            until(lambda: sum(daemon.events().values()) == 12, "what comes while it reads")
            again(6, "new.log")
            said = 'sidecar_not_understood_total{reason="repeated"}'
            until(lambda: daemon.samples()[said] == 1, "that of another file is not known")
            assert any("marker_not_understood" in line for line in daemon.log)
