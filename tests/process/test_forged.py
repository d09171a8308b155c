"""A stranger's header in a real server's access log, which the daemon watches, tells nobody."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.daemon import RULES as SHIPPED, until
from support.live import CONFIG, staged

APP = """\
def app(environ, start_response):
    start_response("404 Not Found", [("Content-Length", "0")])
    return []
"""
RULES = """\
groups:
  - name: g
    rules:
      - alert: PaymentFailing
        match: ['status="payment_failure"']
        by: [org_id]
        condition: count() >= 1
        within: 30d
        resolve: {match: ['status="billing_period_paid"']}
        labels: {severity: critical}
      - alert: WebhookConfigError
        match: ['status="config_error"']
        condition: count() >= 1
        within: 1h
        labels: {severity: critical}
"""
PAID = "WEBHOOK_METRIC: {'event_type': 'e', 'status': 'billing_period_paid', 'org_id': 'org_1'}"
UNPAID = "Org org_3 subscription is unpaid and past 3-day grace period. Demoting to free"
BROKEN = "WEBHOOK_METRIC: {'event_type': 'e', 'status': 'config_error'}"


@contextmanager
def gunicorn(folder: Path) -> Iterator[str]:
    """Serve 404s with gunicorn's own access log in logs/; yield the address."""
    (folder / "web.py").write_text(APP)
    command = [
        sys.executable, "-m", "gunicorn", "--chdir", str(folder), "--bind", "127.0.0.1:0",
        "--no-control-socket", "--access-logfile", str(folder / "logs" / "access.log"), "web:app",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            said = (re.search(r"Listening at: (http://\S+)", line) for line in server.stderr)
            yield next(found[1] for found in said if found)
        finally:
            server.terminate()
            server.stderr.read()


def curl(*arguments: str) -> str:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--noproxy", "*", "--write-out", "%{http_code}",
         *arguments],
        check=True, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    return done.stdout


def test_a_header_ends_no_alert_and_begins_none(tmp_path: Path) -> None:
    config = CONFIG + f'pattern_files: ["{SHIPPED}/*.patterns.yaml"]\n'
    with staged(tmp_path, config=config, rules=RULES) as stage, gunicorn(tmp_path) as address:
        stage.log("payment_failure", "org_1")
        stage.counted(1)
        until(lambda: stage.told("PaymentFailing") == 1, "the alert is told")
        for header in (PAID, BROKEN):
            assert curl("-A", header, f"{address}/") == "404"
        # The server's own log holds the name that a stranger logs in by, without quotes.
        assert curl("-u", f"{UNPAID}:x", f"{address}/") == "404"
        assert PAID in (tmp_path / "logs" / "access.log").read_text()
        foreign = 'sidecar_foreign_total{reason="before"}'
        until(lambda: stage.daemon.samples()[foreign] == 2, "both lines are read")
        assert UNPAID in (tmp_path / "logs" / "access.log").read_text()
        rejected = [n for name, n in stage.daemon.samples().items() if "rejects_total" in name]
        assert sum(rejected) == 0
        # What the host itself says next is told, and nothing was before it.
        stage.log("payment_failure", "org_2")
        until(lambda: stage.told("org_2") == 1, "the next alert is told")
        assert sum(stage.daemon.events().values()) == 2
        assert len(stage.slack.requests) == 2
        assert stage.told("RESOLVED") == stage.told("WebhookConfigError") == 0
        assert [line for line in stage.daemon.log if '"foreign_marker"' in line]


CALL = '"POST /v4/stripe-webhook HTTP/1.1" 200 2 "-" "-"'


def test_an_access_line_is_the_call_it_is_and_no_other(tmp_path: Path) -> None:
    config = CONFIG + f'pattern_files: ["{SHIPPED}/access-log.patterns.yaml"]\n'
    with staged(tmp_path, config=config, rules=RULES) as stage, gunicorn(tmp_path) as address:
        line = f"10.0.0.1 - - [22/Nov/2026:02:02:16 +0000] {CALL}"
        for stranger in (line, f'" 200 2 "-" "-"\\" {CALL}', 'x\\" 200 2 "-" "-"\\'):
            for said in (("-A", stranger), ("-e", stranger), ("-u", f"{stranger}\n{line}\n:x")):
                assert curl("-X", "POST", *said, f"{address}/other?{CALL[:5]}") == "404"
        assert curl("-X", "POST", "-A", "Stripe/1.0", f"{address}/v4/stripe-webhook?a=1") == "404"
        stage.log("payment_failure", "org_1")  # behind all of them
        until(lambda: stage.told("PaymentFailing") == 1, "all is read")
        until(lambda: sum(stage.daemon.events().values()) == 2, "the call is counted")
        assert stage.daemon.events()["stripe", "http.request", "4xx"] == 1
