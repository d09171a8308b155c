"""Eight processes of a host write signed lines through rotations; a stranger writes among them."""

import json
import subprocess
import sys
import threading
from pathlib import Path

from sidecar.host import webhook_metric
from support.daemon import until
from support.live import CONFIG, staged

PAUSE = threading.Event()  # never set: between two looks at the writers
WRITERS, LINES = 8, 4_000
HOST = f"""\
import sys
sys.path.append({str(Path(webhook_metric.__file__).parent)!r})
from webhook_metric import configure, lost, metric
configure(sys.argv[1])
for number in range({LINES}):
    metric("invoice.paid", "paid", writer=sys.argv[2], number=number)
sys.exit(lost())
"""
STRANGER = {"metric_type": "WEBHOOK_METRIC", "event_type": "invoice.paid", "status": "failed"}
FORGED = json.dumps({**STRANGER, "org_id": "org_1", "hmac": "0" * 64}) + "\n"


def test_each_signed_line_counts_once_and_no_other_one_does(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("shared\n")
    log = tmp_path / "logs" / "app.log"
    config = CONFIG.replace("start_at: beginning", f'start_at: beginning, key_file: "{key}"')
    with staged(tmp_path, config=config) as stage:
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", HOST, str(log), str(number)],
                env={webhook_metric.KEY_FILE: str(key)},
            )
            for number in range(WRITERS)
        ]
        rotated = forged = 0
        while any(writer.poll() is None for writer in writers):
            with log.open("a") as stranger:
                stranger.write(FORGED)
            forged += 1
            PAUSE.wait(0.005)
            if log.stat().st_size > 1_500_000:
                rotated += 1
                log.rename(log.with_name(f"app.log.{rotated}"))
        assert [writer.returncode for writer in writers] == [0] * WRITERS
        assert rotated >= 3
        refused = 'sidecar_foreign_total{reason="unsigned"}'
        until(lambda: stage.daemon.samples()[refused] == forged, "all forged are refused", 60)
        counted = {("stripe", "invoice.paid", "paid"): WRITERS * LINES}
        until(lambda: stage.daemon.events() == counted, "all signed are counted", 60)
        assert not stage.slack.requests
