"""A storm: 5,000 organisations fail within a minute, and something else breaks in the middle.

Their ids are random, as a host's are: what is stored by organisation is scattered. A real Slack
takes a message a second. A reader counts: what each message says that fires.
"""

import json
import random
import re
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from bench import lines
from bench.daemon import Daemon, rest, running, write_config
from bench.table import Row, within
from support.sinks import Answer, Request, SlackSink

ORGS = 5_000
SECONDS = 60.0  # in which they fail
OTHER_AT = 0.5  # so far into the storm the other alert comes
_TOLD = re.compile(r"\[FIRING:(\d+)")
_RULES = """\
groups:
  - name: storm
    rules:
      - alert: Failing
        match: ['event_type="storm"']
        by: [org_id]
        condition: count() >= 1
        within: 1h
        labels: {severity: critical}
      - alert: Other
        match: ['event_type="other"']
        condition: count() >= 1
        within: 1h
        labels: {severity: critical}
"""
_RECEIVERS = """\
route: {{receiver: on-call, group_by: [alertname, org_id], group_wait: 0s}}
receivers:
  - name: on-call
    slack_configs: [{{channel: "#on-call", api_url: "{url}"}}]
"""


class _Slack(SlackSink):
    """Knows how many alerts it was told that fire, and when of the other one."""

    def __init__(self) -> None:
        super().__init__()
        self.told = 0
        self.messages = 0
        self.other_at: float | None = None

    def _accepted(self, request: Request) -> Answer:
        text = str(request.json["text"])
        self.messages += 1
        if found := _TOLD.search(text):
            self.told += int(found[1])
        if self.other_at is None and "Other" in request.body.decode():
            self.other_at = time.monotonic()
        return Answer()


class Result(NamedTuple):
    """`written`: MB a second on the disk while it stormed; `told`: seconds until all were told."""

    other: float
    messages: int
    first_minute: int
    told: float
    written: float
    resident: float


def _write(log: Path, stop: threading.Event, said: list[float]) -> None:
    """Let the organisations fail, evenly, and in the middle the other thing."""
    begun = time.monotonic()
    chance = random.Random(ORGS)  # the same in each run
    with log.open("a") as out:
        for number in range(ORGS):
            _event(out, "storm", org_id=f"org_{chance.getrandbits(64):016x}")
            if number == int(ORGS * OTHER_AT):
                _event(out, "other")
                said.append(time.monotonic())
            out.flush()
            stop.wait(max(0.0, begun + SECONDS * number / ORGS - time.monotonic()))


def _event(out: object, kind: str, **fields: str) -> None:
    at = datetime.now(UTC).replace(tzinfo=None)
    out.write(json.dumps(lines.event(at, kind, "failed", **fields)) + "\n")  # type: ignore[attr-defined]


def _written(daemon: Daemon) -> int:
    text = Path(f"/proc/{daemon.process.pid}/io").read_text()
    return next(int(li.split()[1]) for li in text.splitlines() if li.startswith("write_bytes:"))


def storm(folder: Path, timeout: float = 240.0) -> Result:
    log, rules = folder / "storm.log", folder / "storm.rules.yaml"
    log.touch()
    rules.write_text(_RULES)
    with _Slack() as slack:
        receivers = _RECEIVERS.format(url=slack.url)
        config = write_config(folder, log, rule_files=[rules], receivers=receivers)
        with running(config) as daemon:
            daemon.wait_listening()
            said: list[float] = []
            begun, before = time.monotonic(), _written(daemon)
            host = threading.Thread(target=_write, args=(log, threading.Event(), said))
            host.start()
            resident, first_minute = 0.0, 0
            while slack.told < ORGS + 1 and time.monotonic() - begun < timeout:
                rest(0.1)
                resident = max(resident, daemon.resident())
                if time.monotonic() - begun < SECONDS:
                    first_minute = slack.messages
            took = time.monotonic() - begun
            written = (_written(daemon) - before) / 1e6 / took
            host.join()
    other = timeout if slack.other_at is None else slack.other_at - said[0]
    return Result(other, slack.messages, first_minute, took, written, resident)


def measure(folder: Path) -> list[Row]:
    home = folder / "storm"
    home.mkdir()
    return rows_of([storm(home)])


def rows_of(results: Sequence[Result]) -> list[Row]:
    name = f"{ORGS:,} organisations fail in a minute"
    costs = (
        ("another critical alert in the middle", "other", 5, 3, "s"),
        ("until all are accounted for", "told", 120, 90, "s"),
        ("messages to Slack", "messages", 60, 20, "messages"),
        ("messages in the first minute", "first_minute", 40, 15, "messages"),
        ("written to the disk", "written", 0.2, 0.1, "MB/s"),
        ("resident memory", "resident", 120, 100, "MB"),
    )
    return [
        within(f"{name}: {what}", [getattr(one, field) for one in results], must, aim, unit)
        for what, field, must, aim, unit in costs
    ]


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as found:
        for row in measure(Path(found)):
            print(row.measured, row.result, row.verdict)
