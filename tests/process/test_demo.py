"""`sidecar demo` as a user starts it."""

import re
import subprocess
import sys


def test_the_demo_shows_line_counter_slack_and_mail_and_ends_with_a_summary() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", "demo", "--seconds", "5", "--port", "0"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"metrics at http://127\.0\.0\.1:\d+/metrics", done.stdout)
    assert "'status': 'payment_failure'" in done.stdout
    assert re.search(r'count webhook_payment_failures_total\{form="",.*\} 3', done.stdout)
    assert re.search(r"Slack #critical-alerts\n(  │.*\n)*.*Payment failed 3 times", done.stdout)
    assert re.search(r"mail to oncall@demo\.invalid: \[FIRING:1\] PaymentFailing", done.stdout)
    # The host's line holds the key, as hosts do; nothing that was sent does.
    told = [line for line in done.stdout.splitlines() if line.startswith("  │")]
    assert told
    assert not [line for line in told if "sk_live_" in line]
    assert re.search(r"\d+ Slack messages", done.stdout)
