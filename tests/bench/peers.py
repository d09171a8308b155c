"""The peers: Debian's mtail, prometheus and prometheus-alertmanager, as their users run them."""

import os
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from bench.daemon import Spent, counted, rest

PACKAGES = ("mtail", "sec", "prometheus", "prometheus-alertmanager")
_COUNT = """\
counter webhook_events_total by provider, event_type, status
/{quote}webhook_provider{quote}: {quote}(?P<provider>[^{quote}]*){quote}, \
{quote}event_type{quote}: {quote}(?P<event_type>[^{quote}]*){quote}, \
{quote}status{quote}: {quote}(?P<status>[^{quote}]*){quote}/ {{
  webhook_events_total[$provider][$event_type][$status]++
}}
"""
# What rules/agentops.patterns.yaml reads of the sentences in the sample.
_SENTENCES = """\
/Org \\S+ has failed payment, attempt #\\d+/ {
  webhook_events_total["stripe"]["invoice.payment_failed"]["payment_failure"]++
}
/CRITICAL: Org \\S+ has \\d+ failed payment attempts/ {
  webhook_events_total["stripe"]["invoice.payment_failed"]["critical_payment_failure"]++
}
/Org \\S+ subscription is (?P<status>\\w+)\\. \\d+ days left in grace period/ {
  webhook_events_total["stripe"]["customer.subscription.grace_period"][$status]++
}
/Error processing webhook (?P<event_type>[\\w.]+): / {
  webhook_events_total["stripe"][$event_type]["processing_error"]++
}
/ - BILLING_WEBHOOK_ERROR/ {
  webhook_events_total["stripe"]["unknown"]["billing_webhook_error"]++
}
/No org found with subscription_id: sub_/ {
  webhook_events_total["stripe"]["unknown"]["subscription_unknown"]++
}
/Invalid webhook signature: / {
  webhook_events_total["stripe"]["unknown"]["invalid_signature"]++
}
/STRIPE_WEBHOOK_SECRET is not configured - Cannot verify webhook signatures/ {
  webhook_events_total["stripe"]["unknown"]["config_error"]++
}
/Subscription updated for org \\S+: status=(?P<status>\\w+)/ {
  webhook_events_total["stripe"]["customer.subscription.updated"][$status]++
}
/Org \\S+ subscription is \\w+ and past \\d+-day grace period. Demoting to free/ {
  webhook_events_total["stripe"]["customer.subscription.grace_ended"]["demoting"]++
}
/Removed all licenses for org \\S+ due to subscription cancellation/ {
  webhook_events_total["stripe"]["customer.subscription.licenses_removed"]["licenses_removed"]++
}
"""
_FAILURES = """\
gauge payment_failure_attempts by org_id
/"status": "payment_failure".*"org_id": "(?P<org_id>[^"]*)", "attempt_count": (?P<attempts>\\d+)/ {
  payment_failure_attempts[$org_id] = $attempts
}
"""
# One threshold an organisation, never reached, in memory only.
_THRESHOLDS = """\
type=SingleWithThreshold
ptype=RegExp
pattern="event_type": "invoice\\.payment_failed", "status": "payment_failure".*"org_id": "([^"]*)"
desc=payment fails $1
action=write - $1
window=2592000
thresh=100000
"""
_PROMETHEUS = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
scrape_configs:
  - job_name: mtail
    static_configs: [{{targets: ["127.0.0.1:{mtail}"]}}]
rule_files: [rules.yml]
alerting:
  alertmanagers:
    - static_configs: [{{targets: ["127.0.0.1:{alertmanager}"]}}]
"""
_RULES = """\
groups:
  - name: billing
    rules:
      - {alert: PaymentFailing, expr: payment_failure_attempts >= 3, labels: {severity: critical}}
"""
_ALERTMANAGER = """\
route: {{receiver: sink, group_by: [alertname, org_id], group_wait: 0s, group_interval: 1s}}
receivers:
  - name: sink
    webhook_configs: [{{url: "{url}", send_resolved: false}}]
"""


def missing(*packages: str) -> list[str]:
    """Return which of `packages` are not here, after trying to install them when root."""
    absent = [name for name in packages if shutil.which(name) is None]
    if absent and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(
            ["apt-get", "install", "-y", "--no-install-recommends", *absent],
            check=False,
            capture_output=True,
        )
    return [name for name in absent if shutil.which(name) is None]


def version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    first = (done.stdout + done.stderr).splitlines()[0]
    return first.split(" (")[0].split(" git revision")[0]


def mtail_seconds(log: Path, quote: str, expected: int, *, sentences: bool = False) -> Spent:
    """Return what mtail needs to read `log` once and print its metrics.

    It counts records whose texts stand in `quote`; and `sentences`, as the shipped patterns do.
    """
    with tempfile.TemporaryDirectory() as folder:
        program = _COUNT.format(quote=quote) + (_SENTENCES if sentences else "")
        (Path(folder) / "webhook.mtail").write_text(program)
        command = ["mtail", "--one_shot", "--one_shot_format=prometheus", "--progs", folder,
                   "--logs", str(log), "--log_dir", folder]  # fmt: skip
        before, started = _cpu_of_children(), time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        spent = Spent(time.perf_counter() - started, _cpu_of_children() - before)
        found = counted(done.stdout)
        if found != expected:
            raise SystemExit(f"mtail counted {found} of {expected}")
        return spent


def sec_seconds(folder: Path, log: Path) -> Spent:
    """Return what Debian's sec needs to read `log` once."""
    rules = folder / "sec.conf"
    rules.write_text(_THRESHOLDS)
    command = ["sec", f"--conf={rules}", f"--input={log}", "--fromstart", "--notail",
               "--nointevents", "--log=/dev/null"]  # fmt: skip
    before, started = _cpu_of_children(), time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return Spent(time.perf_counter() - started, _cpu_of_children() - before)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def stack(folder: Path, log: Path, url: str) -> Iterator[None]:
    """Run mtail, Prometheus and Alertmanager, tuned to one-second intervals, telling `url`."""
    mtail, prometheus, alertmanager = _free_ports(3)
    progs = folder / "progs"
    progs.mkdir()
    (progs / "failures.mtail").write_text(_FAILURES)
    (folder / "prometheus.yml").write_text(
        _PROMETHEUS.format(mtail=mtail, alertmanager=alertmanager)
    )
    (folder / "rules.yml").write_text(_RULES)
    (folder / "alertmanager.yml").write_text(_ALERTMANAGER.format(url=url))
    commands = [
        ["mtail", "--progs", str(progs), "--logs", str(log), "--log_dir", str(folder),
         "--address", "127.0.0.1", "--port", str(mtail), "--poll_interval=250ms"],
        ["prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml",
         f"--storage.path={folder}/am", "--cluster.listen-address=",
         f"--web.listen-address=127.0.0.1:{alertmanager}"],
        ["prometheus", f"--config.file={folder}/prometheus.yml",
         f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{prometheus}"],
    ]  # fmt: skip
    with ExitStack() as running:
        for command in commands:
            running.enter_context(_process(command))
        for path in (f"{mtail}/metrics", f"{alertmanager}/-/ready", f"{prometheus}/-/ready"):
            _wait_for(f"http://127.0.0.1:{path}")
        rest(3.0)  # the first scrapes
        yield


@contextmanager
def _process(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _wait_for(url: str, seconds: float = 30.0) -> None:
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        try:
            with urlopen(url, timeout=2) as answer:  # noqa: S310 - our own http://127.0.0.1
                if answer.status == 200:
                    return
        except (URLError, OSError):
            rest(0.1)
    raise SystemExit(f"{url} does not answer")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
