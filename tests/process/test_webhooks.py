"""A thousand events of Stripe's, signed by its own package, posted as badly as the world does."""

import random
import re
import signal
import ssl
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from support.daemon import DaemonProcess, running, until
from support.setup import EACH, slack_to
from support.sinks import CERTIFICATE, SlackSink
from support.stripe import encoded, event, free_port, signed

EVENTS, ORGS = 400, 20
KILLS, RELOADS = 4, 3
OLD, NEW, WRONG = "whsec_old", "whsec_new", "whsec_wrong"
RULES = """\
groups:
  - name: g
    rules:
      - alert: PaymentFailing
        match: ['event_type="invoice.payment_failed"', 'sidecar_source="stripe"']
        by: [org_id]
        condition: count() >= 3
        within: 30d
        labels: {severity: critical}
"""
CONFIG = """\
sources:
  - stripe_webhook:
      listen: "127.0.0.1:{port}"
      path: /stripe
      secrets_file: secrets
      org_id: [metadata.org_id]
rule_files: ["*.rules.yaml"]
state: {{path: state.db}}
http: {{listen: "127.0.0.1:0"}}
stale_after: 3650d
route: {{receiver: team, {each}}}
receivers: [{{name: team, {slack}}}]
"""
ORG = re.compile(r"org_\d+")
PAUSE = threading.Event()  # never set: before what was not answered is sent again


def made(now: int) -> list[bytes]:
    """Return the events: 20 of each organisation, 3 of them failures of every fifth, else 2."""
    return [
        encoded(
            event(
                number, _type_of(number), created=now - EVENTS + number,
                metadata={"org_id": f"org_{number % ORGS}"},
            )
        )
        for number in range(EVENTS)
    ]  # fmt: skip


def _type_of(number: int) -> str:
    org, turn = number % ORGS, number // ORGS
    failures = 3 if org % 5 == 0 else 2
    return "invoice.payment_failed" if turn >= 20 - failures else "customer.updated"


class Provider:
    """Posts bodies until each is answered with 200, in any order, some of them more than once."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self.url, self.chance = url, chance
        self.codes: Counter[int] = Counter()
        self.client = httpx.Client(trust_env=False, timeout=30)

    def deliver(self, body: bytes) -> None:
        secret = self.chance.choice([OLD, NEW])
        if self.chance.random() < 0.1:  # a stranger, and somebody who has overheard it
            assert self._post(body, WRONG, time.time()) in (400, 0)
            assert self._post(body, secret, time.time() - 3600) in (400, 0)
        while self._post(body, secret, time.time()) != 200:
            PAUSE.wait(0.1)

    def _post(self, body: bytes, secret: str, at: float) -> int:
        try:
            code = self.client.post(
                self.url, content=body, headers=signed(body, secret, at)
            ).status_code
        except httpx.TransportError:
            return 0
        self.codes[code] += 1
        return code


def test_each_event_counts_once_through_kills_and_reloads(tmp_path: Path) -> None:
    chance = random.Random(18)
    bodies = made(int(time.time()))
    posts = bodies + chance.choices(bodies, k=EVENTS // 2)
    chance.shuffle(posts)
    (tmp_path / "secrets").write_text(f"{NEW}\n{OLD}\n")
    (tmp_path / "a.rules.yaml").write_text(RULES)
    port = free_port()
    with SlackSink() as slack, ThreadPoolExecutor(8) as pool:
        config = CONFIG.format(port=port, each=EACH, slack=slack_to(slack.url))
        (tmp_path / "sidecar.yaml").write_text(config)
        provider = Provider(f"http://127.0.0.1:{port}/stripe", chance)
        marks = [len(posts) * life // (KILLS + 1) for life in range(KILLS + 2)]
        for begin, end in pairwise(marks):
            delivered = [pool.submit(provider.deliver, body) for body in posts[begin:end]]
            with running(tmp_path / "sidecar.yaml") as daemon:
                _wait(delivered, len(delivered) // 2)
                _reload(daemon)
                if end < len(posts):
                    daemon.stop(signal.SIGKILL)
                else:
                    _wait(delivered, len(delivered))
                    _is_right(daemon, slack)
    provider.client.close()
    assert provider.codes.keys() <= {200, 400, 503}


def _wait(delivered: Sequence[Future[None]], enough: int) -> None:
    until(lambda: sum(one.done() for one in delivered) >= enough, f"{enough} are delivered", 60)
    for one in delivered:
        assert not one.done() or one.exception() is None, one.exception()


def _reload(daemon: DaemonProcess) -> None:
    for _ in range(RELOADS):
        daemon.process.send_signal(signal.SIGHUP)
        PAUSE.wait(0.05)


def _is_right(daemon: DaemonProcess, slack: SlackSink) -> None:
    failures = sum(3 if org % 5 == 0 else 2 for org in range(ORGS))
    counted = daemon.events()
    assert sum(counted.values()) == EVENTS
    assert counted["stripe", "invoice.payment_failed", "payment_failure"] == failures
    firing = {f"org_{org}" for org in range(0, ORGS, 5)}
    until(lambda: daemon.samples()["sidecar_outbox_pending"] == 0, "all is told")
    told = {org for post in slack.requests for org in ORG.findall(post.body.decode())}
    assert told == firing


def test_webhooks_come_by_tls_and_a_new_secret_without_a_restart(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text(OLD)
    (tmp_path / "a.rules.yaml").write_text(RULES)
    port = free_port()
    tls = f"{{cert_file: {CERTIFICATE}, key_file: {CERTIFICATE.with_suffix('.key')}}}"
    config = CONFIG.format(port=port, each=EACH, slack="slack_configs: []")
    config = config.replace(", slack_configs: []", "")
    config = config.replace("path: /stripe", f"path: /stripe\n      tls_server_config: {tls}")
    (tmp_path / "sidecar.yaml").write_text(config)
    body = encoded(event(1, created=int(time.time())))
    trusting = ssl.create_default_context(cafile=CERTIFICATE)
    with (
        running(tmp_path / "sidecar.yaml") as daemon,
        httpx.Client(verify=trusting, trust_env=False) as client,
    ):
        until(lambda: any("webhooks_listening" in line for line in daemon.log), "it listens")
        url = f"https://localhost:{port}/stripe"
        assert client.post(url, content=body, headers=signed(body, NEW)).text == "bad_signature\n"
        (tmp_path / "secrets").write_text(f"{OLD}\n{NEW}\n")
        until(
            lambda: client.post(url, content=body, headers=signed(body, NEW)).is_success, "rolled"
        )
        matched = 'sidecar_webhook_secret_matches_total{index="1",path="/stripe"}'
        assert daemon.samples()[matched] == 1
        with pytest.raises(httpx.TransportError):
            httpx.post(f"http://127.0.0.1:{port}/stripe", content=body, trust_env=False)
