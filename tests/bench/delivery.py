"""What reaches people when a third of the attempts fail and the daemon is killed every few seconds.

Alerts fire and are resolved, each told in Slack and by mail. Both servers are real, and fail as
servers do. A reader is believed: what he heard, how often, and what he heard last.
"""

import json
import random
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from aiosmtpd.smtp import Envelope, Session

from bench import lines
from bench.daemon import rest, running, write_config
from bench.table import Row, within
from sidecar.rows import AMBIGUOUS
from support.sinks import Answer, Ending, Hangup, Request, SlackSink, SmtpSink

FAILING = 0.35
ALERTS = 300
_TOLD = re.compile(r"\[([A-Z ]+?)(?::\d+)?\].*?(org-\d+)", re.DOTALL)
_ORG = re.compile(r"org-\d+")
_RULES = """\
groups:
  - name: delivery
    rules:
      - alert: Late
        match: ['event_type="delivery"']
        by: [org_id]
        condition: last(status) == bad
        labels: {severity: warning}
"""
# Nothing is folded into a digest: a burst holds more than may ever wait.
_RECEIVERS = """\
global:
  smtp_smarthost: "127.0.0.1:{port}"
  smtp_from: sidecar@example.com
  smtp_require_tls: false
route: {{receiver: both, group_by: [org_id], group_wait: 0s, group_interval: 1s, cooldown: 0s}}
receivers:
  - name: both
    quick_retries: 3
    slack_configs:
      - {{channel: "#bench", api_url: "{url}", rate: {{per_second: 100, burst: 1000}}}}
    email_configs:
      - {{to: team@example.com, rate: {{per_second: 100, burst: 1000}}}}
"""


class Heard(NamedTuple):
    """One alert in one message."""

    org: str
    ended: bool


class Reader:
    """What somebody heard."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []

    def hear(self, text: str) -> None:
        found = _TOLD.search(text)
        assert found, text
        assert len(set(_ORG.findall(text))) == 1, f"a message of its own for each alert: {text}"
        word, org = found.groups()
        self.heard.append(Heard(org, word != "FIRING"))

    def last(self) -> dict[str, bool]:
        """Return for each alert whether it has ended, as far as is known here."""
        return {heard.org: heard.ended for heard in self.heard}

    def out_of_order(self) -> int:
        """Return how often an alert was called firing after its end."""
        ended: set[str] = set()
        wrong = 0
        for heard in self.heard:
            wrong += not heard.ended and heard.org in ended
            ended |= {heard.org} if heard.ended else set()
        return wrong

    def repeats(self, doubted: set[str]) -> tuple[int, int]:
        """Return how many messages said what was said before, and how many of them for no reason.

        The reason: an attempt at telling of the alert is noted as ambiguous.
        """
        told = Counter((heard.org, heard.ended) for heard in self.heard)
        again = {which: times - 1 for which, times in told.items()}
        return sum(again.values()), sum(n for (org, _), n in again.items() if org not in doubted)


class _Slack(SlackSink):
    def __init__(self, reader: Reader, pick: random.Random) -> None:
        super().__init__()
        self._reader, self._pick = reader, pick

    def _accepted(self, request: Request) -> Answer:
        text = request.body.decode()
        if self._pick.random() >= FAILING:
            self._reader.hear(text)
            return Answer()
        answer = self._pick.choice(_FAILURES)
        if answer.ending is Ending.DROP:  # after it was read
            self._reader.hear(text)
        return answer


_FAILURES = (
    Answer(500, body="oops"), Answer(502, body="<html>proxy</html>"), Answer(403, body="<html>"),
    Answer(429, {"Retry-After": "1"}), Answer(200, body="{}"), Answer(ending=Ending.DROP),
    Answer(ending=Ending.CUT),
)  # fmt: skip


class _Mail(SmtpSink):
    def __init__(self, reader: Reader, pick: random.Random) -> None:
        super().__init__()
        self._reader, self._pick = reader, pick

    def scripted(self, verb: str) -> str | Hangup | None:
        if verb not in ("CONNECT", "MAIL", "RCPT", "END") or self._pick.random() >= FAILING / 4:
            return None
        return self._pick.choice(("451 4.3.0 not now", "421 4.3.2 closing", Hangup.DROP))

    def accept(self, envelope: Envelope, session: Session) -> None:
        super().accept(envelope, session)
        mail = self.messages[-1]
        self._reader.hear(mail.subject + "\n" + mail.text)


class Result(NamedTuple):
    """What came of it; `drained`: seconds from the last line until everybody knew all ends.

    `doubted`: of which alerts each reader may have heard without an answer, as the sender says.
    """

    kills: int
    readers: list[Reader]
    doubted: list[set[str]]
    drained: float


def _write(log: Path, stop: threading.Event) -> None:
    """Let each alert fire, and end some seconds later."""
    with log.open("a") as out:
        for number in range(ALERTS + 50):
            for org, status in ((number, "bad"), (number - 50, "good")):
                if 0 <= org < ALERTS:
                    at = datetime.now(UTC).replace(tzinfo=None)
                    event = lines.event(at, "delivery", status, org_id=f"org-{org}")
                    out.write(json.dumps(event) + "\n")
            out.flush()
            stop.wait(0.1)


@contextmanager
def _servers() -> Iterator[tuple[_Slack, _Mail, list[Reader]]]:
    readers = [Reader(), Reader()]
    pick = random.Random(12)
    with _Slack(readers[0], pick) as slack, _Mail(readers[1], pick) as mail:
        yield slack, mail, readers


def delivery(folder: Path, timeout: float = 240.0) -> Result:
    log, rules = folder / "delivery.log", folder / "delivery.rules.yaml"
    log.touch()
    rules.write_text(_RULES)
    pick, kills = random.Random(5), 0
    with _servers() as (slack, mail, readers):
        receivers = _RECEIVERS.format(url=slack.url, port=mail.port)
        config = write_config(folder, log, rule_files=[rules], receivers=receivers)
        stop = threading.Event()
        host = threading.Thread(target=_write, args=(log, stop))
        host.start()
        while host.is_alive():
            with running(config):
                rest(pick.uniform(2.0, 5.0))
                kills += 1
        written = time.monotonic()
        with running(config):
            while not _known(readers) and time.monotonic() - written < timeout:
                rest(0.1)
        drained = time.monotonic() - written
    doubted = [_doubted(folder / "state.db", kind) for kind in ("slack", "email")]
    return Result(kills, readers, doubted, drained)


def _doubted(state: Path, kind: str) -> set[str]:
    with closing(sqlite3.connect(state)) as db:
        rows = db.execute("SELECT group_id, detail FROM outbox WHERE integration = ?", [kind])
        return {_ORG.findall(group)[0] for group, detail in rows if detail.startswith(AMBIGUOUS)}


def _known(readers: list[Reader]) -> bool:
    return all(len(r.last()) == ALERTS and all(r.last().values()) for r in readers)


def measure(folder: Path) -> list[Row]:
    home = folder / "delivery"
    home.mkdir()
    kills, readers, doubted, drained = delivery(home)
    untold = sum(ALERTS - sum(reader.last().values()) for reader in readers)
    repeats = [reader.repeats(of) for reader, of in zip(readers, doubted, strict=True)]
    name = f"{ALERTS} alerts fired and ended, 35 % failures, {kills} x kill -9"
    sent = sum(len(reader.heard) for reader in readers)
    return [
        within(f"{name}: ends that Slack or mail never told", [untold], 0, 0, "alerts"),
        within(f"the same: firing told after its end, of {sent}", [
            sum(reader.out_of_order() for reader in readers)], 0, 0, "messages"),
        within(
            f"the same: repeats without a reason, of {sum(r for r, _ in repeats)}",
            [sum(without for _, without in repeats)], 0, 0, "messages",
        ),
        within("the same: from the last line until all was told", [drained], 120, 30, "s"),
    ]  # fmt: skip
